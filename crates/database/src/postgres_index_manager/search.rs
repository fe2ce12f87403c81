//! Which indexes would make a workload cheaper: candidates from the statements, tried by the planner with HypoPG,
//! chosen one after the other by what each saves for its bytes.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::adapters::postgres::{PlanSession, catalogue, literal};
use crate::engine::candidates::{IndexSpec, candidates};
use crate::engine::catalogue::{Catalogue, quoted};
use crate::engine::rules;
use crate::engine::sql_text::{Engine, Reading, parse, read};
use crate::postgres_query_optimizer::explain_in;
use crate::{
    ChangeId, ChangeKind, Confidence, DatabaseError, Fingerprint, IndexBudget, IndexChange, IndexPlan,
    ObservedQuery, PostgresPool, QueryPlan, Rule, Workload,
};

/// So many of the costliest statements are looked at.
const MOST_QUERIES: usize = 50;
/// What saves less of the workload's time is not worth an index.
const LEAST_SAVING: f64 = 0.01;

const HAS_HYPOPG: &str = "SELECT count(*)::text AS json FROM pg_extension WHERE extname = 'hypopg'";
const REMEMBERED: &str =
    "SELECT to_json(coalesce(to_regclass('wavequill_index_change')::text, ''))::text AS json";
const ROLLED_BACK: &str =
    "SELECT to_json(index_name)::text AS json FROM wavequill_index_change WHERE state = 'rolled_back'";

/// A statement of the workload, with its plan as things are.
struct Subject<'a> {
    query: &'a ObservedQuery,
    reading: Reading,
    plan: QueryPlan,
    /// Seconds of the workload for each unit of the planner's cost.
    weight: f64,
    cost: f64,
}

/// A candidate that the planner has picked.
struct Tried {
    spec: IndexSpec,
    bytes: u64,
}

pub(super) async fn propose(
    pool: &PostgresPool,
    workload: &Workload,
    budget: &IndexBudget,
) -> Result<IndexPlan, DatabaseError> {
    let mut session = pool.plan_session("index proposals").await?;
    let catalogue = catalogue(&mut session).await?;
    let mut plan = IndexPlan { schema: catalogue.fingerprint(), ..IndexPlan::default() };
    let subjects = subjects(&mut session, &catalogue, workload, &mut plan.notes).await?;
    let rejected = rejected(&mut session).await?;
    let hypothetical = session.json(HAS_HYPOPG).await?.first().and_then(Value::as_u64).unwrap_or(0) > 0;
    let total: f64 = subjects.iter().map(|subject| subject.weight * subject.cost).sum();
    let mut search =
        Search { session, subjects, explains: budget.explains, budget: budget.bytes, rejected, total };
    if hypothetical {
        plan.changes = search.with_hypopg(&catalogue, &mut plan.notes).await?;
        search.reset().await?;
    } else {
        plan.changes = search.by_rule(&catalogue);
        plan.notes.push(
            "without the extension hypopg proposals follow rules and nobody has tried them; CREATE EXTENSION hypopg"
                .to_owned(),
        );
    }
    for change in &plan.changes {
        let written = workload.writes.get(&change.table).map_or(0, crate::TableWrites::total);
        if written > 0 {
            plan.notes.push(format!(
                "{}: {written} rows of {} were written; each will cost more",
                change.id, change.table
            ));
        }
    }
    search.session.end().await?;
    Ok(plan)
}

/// Indexes that were tried for good and did not help are not proposed again.
async fn rejected(session: &mut PlanSession) -> Result<BTreeSet<String>, DatabaseError> {
    let table = session.json(REMEMBERED).await?;
    if table.first().and_then(Value::as_str).unwrap_or("").is_empty() {
        return Ok(BTreeSet::new());
    }
    let names = session.json(ROLLED_BACK).await?;
    Ok(names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

async fn subjects<'a>(
    session: &mut PlanSession,
    catalogue: &Catalogue,
    workload: &'a Workload,
    notes: &mut Vec<String>,
) -> Result<Vec<Subject<'a>>, DatabaseError> {
    let mut subjects = Vec::new();
    for query in workload.queries.iter().take(MOST_QUERIES) {
        let statement = match parse(&query.text, Engine::Postgres) {
            Ok(statement) => statement,
            Err(reason) => {
                notes.push(format!("{} was left out: {reason}", query.fingerprint));
                continue;
            }
        };
        let reading = read(&statement, catalogue);
        if reading.uses.is_empty() {
            continue;
        }
        match explain_in(session, query).await {
            Ok(plan) => {
                let cost = plan.cost.unwrap_or(0.0).max(f64::MIN_POSITIVE);
                let weight = query.total.as_secs_f64() / cost;
                subjects.push(Subject { query, reading, plan, weight, cost });
            }
            Err(DatabaseError::NotExplainable { reason }) => {
                notes.push(format!("{} was left out: {reason}", query.fingerprint));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(subjects)
}

struct Search<'a> {
    session: PlanSession,
    subjects: Vec<Subject<'a>>,
    explains: u32,
    budget: u64,
    rejected: BTreeSet<String>,
    /// Seconds of the workload as things are.
    total: f64,
}

impl Search<'_> {
    async fn with_hypopg(
        &mut self,
        catalogue: &Catalogue,
        notes: &mut Vec<String>,
    ) -> Result<Vec<IndexChange>, DatabaseError> {
        let mut tried = self.peel(catalogue).await?;
        let mut chosen: Vec<Tried> = Vec::new();
        let mut costs: Vec<f64> = self.subjects.iter().map(|subject| subject.cost).collect();
        let mut changes = Vec::new();
        while let Some((at, now)) = self.best(&tried, &chosen, &costs).await? {
            let next = tried.remove(at);
            let change = self.change(&next, changes.len() as u32 + 1, &costs, &now);
            if change.saving < LEAST_SAVING {
                break;
            }
            self.budget -= next.bytes;
            costs = now;
            chosen.push(next);
            changes.push(change);
        }
        if self.explains == 0 {
            notes.push("the budget of plans was used up: there may be better indexes".to_owned());
        }
        Ok(changes)
    }

    /// Of each statement's candidates those that the planner picks: all are there, what it picks is kept and taken
    /// away, and it picks again.
    async fn peel(&mut self, catalogue: &Catalogue) -> Result<Vec<Tried>, DatabaseError> {
        let mut kept: Vec<Tried> = Vec::new();
        for at in 0..self.subjects.len() {
            let Some(subject) = self.subjects.get(at) else { break };
            let mut open = candidates(&subject.reading, catalogue);
            open.retain(|spec| !self.rejected.contains(&spec.full_name()));
            for _ in 0..3 {
                let picked = self.picked(at, &open).await?;
                if picked.is_empty() {
                    break;
                }
                open.retain(|spec| !picked.iter().any(|it| it.spec == *spec));
                kept.extend(picked);
            }
        }
        kept.sort_by(|a, b| a.spec.cmp(&b.spec));
        kept.dedup_by(|a, b| a.spec == b.spec);
        Ok(kept)
    }

    async fn picked(&mut self, at: usize, specs: &[IndexSpec]) -> Result<Vec<Tried>, DatabaseError> {
        let mut made = Vec::new();
        self.reset().await?;
        for spec in specs {
            if let Some((name, oid)) = self.hypothetical(spec).await? {
                made.push((name, oid, spec));
            }
        }
        let Some(plan) = self.plan(at).await? else { return Ok(Vec::new()) };
        let used: Vec<_> = plan.nodes().into_iter().filter_map(|node| node.index.clone()).collect();
        let mut picked = Vec::new();
        for (name, oid, spec) in made {
            if used.contains(&name) {
                let size =
                    self.session.json(&format!("SELECT hypopg_relation_size({oid})::text AS json")).await?;
                let bytes = size.first().and_then(Value::as_u64).unwrap_or(0);
                picked.push(Tried { spec: spec.clone(), bytes });
            }
        }
        Ok(picked)
    }

    async fn reset(&mut self) -> Result<(), DatabaseError> {
        self.session.json("SELECT 'null' AS json FROM hypopg_reset()").await.map(drop)
    }

    /// Its name and its number, unless the type of a column has no such index.
    async fn hypothetical(&mut self, spec: &IndexSpec) -> Result<Option<(String, u64)>, DatabaseError> {
        let make = literal(&format!("CREATE INDEX {}", spec.body()));
        let made = self
            .session
            .json_or_none(&format!(
                "SELECT json_build_object('name', indexname, 'oid', indexrelid::bigint)::text AS json \
                 FROM hypopg_create_index({make})"
            ))
            .await?;
        let name = made.as_ref().and_then(|made| made.get("name")).and_then(Value::as_str).map(str::to_owned);
        let oid = made.as_ref().and_then(|made| made.get("oid")).and_then(Value::as_u64);
        Ok(name.zip(oid))
    }

    async fn plan(&mut self, at: usize) -> Result<Option<QueryPlan>, DatabaseError> {
        let Some(subject) = self.subjects.get(at) else { return Ok(None) };
        if self.explains == 0 {
            return Ok(None);
        }
        self.explains -= 1;
        explain_in(&mut self.session, subject.query).await.map(Some)
    }

    /// The candidate that saves most for its bytes, with the costs of all statements if it is there.
    async fn best(
        &mut self,
        tried: &[Tried],
        chosen: &[Tried],
        costs: &[f64],
    ) -> Result<Option<(usize, Vec<f64>)>, DatabaseError> {
        let mut best: Option<(f64, usize, Vec<f64>)> = None;
        for (at, candidate) in tried.iter().enumerate() {
            if candidate.bytes > self.budget {
                continue;
            }
            self.reset().await?;
            for it in chosen.iter().chain([candidate]) {
                self.hypothetical(&it.spec).await?;
            }
            let mut now = costs.to_vec();
            for (subject, cost) in now.iter_mut().enumerate() {
                let concerned = self.subjects.get(subject).is_some_and(|it| {
                    it.reading.uses.iter().any(|table| table.table == candidate.spec.table)
                });
                if concerned {
                    let Some(plan) = self.plan(subject).await? else { return Ok(None) };
                    *cost = plan.cost.unwrap_or(*cost).min(*cost);
                }
            }
            let saved = self.seconds(costs) - self.seconds(&now);
            let worth = saved / (candidate.bytes.max(8_192) as f64).sqrt();
            if saved > 0.0 && best.as_ref().is_none_or(|(most, _, _)| worth > *most) {
                best = Some((worth, at, now));
            }
        }
        Ok(best.map(|(_, at, now)| (at, now)))
    }

    fn seconds(&self, costs: &[f64]) -> f64 {
        self.subjects.iter().zip(costs).map(|(subject, cost)| subject.weight * cost).sum()
    }

    fn change(&self, tried: &Tried, number: u32, before: &[f64], after: &[f64]) -> IndexChange {
        let saved = self.seconds(before) - self.seconds(after);
        let helped: Vec<_> = self
            .subjects
            .iter()
            .zip(before.iter().zip(after))
            .filter(|(_, (before, after))| **after < **before * 0.9)
            .collect();
        let queries: Vec<_> =
            helped.iter().map(|(subject, _)| (subject.query.fingerprint, subject.query.mean())).collect();
        let (was, is) = helped.iter().fold((0.0, 0.0), |(was, is), (_, (b, a))| (was + **b, is + **a));
        let evidence =
            format!("the planner's cost of {} statements falls from {was:.0} to {is:.0}", helped.len());
        create(
            &tried.spec,
            number,
            tried.bytes,
            saved / self.total.max(f64::MIN_POSITIVE),
            evidence,
            Confidence::Medium,
            queries,
        )
    }

    /// For each scan that leaves out most of a large table, the most specific candidate.
    fn by_rule(&self, catalogue: &Catalogue) -> Vec<IndexChange> {
        let statistics = catalogue.statistics();
        let mut changes: Vec<(IndexSpec, IndexChange)> = Vec::new();
        for subject in &self.subjects {
            let findings = rules::diagnose(&subject.plan, &statistics, &subject.reading);
            let scans =
                findings.iter().filter(|it| matches!(it.rule, Rule::FilteringScan | Rule::ScanInLoop));
            for scan in scans {
                let all = candidates(&subject.reading, catalogue);
                let serves = |spec: &&IndexSpec| scan.node.ends_with(&format!(" on {}", spec.table));
                let Some(spec) = all.iter().find(serves) else { continue };
                let known = changes.iter().any(|(it, _)| it == spec);
                if known || self.rejected.contains(&spec.full_name()) {
                    continue;
                }
                let gain = scan.gain.unwrap_or(0.0) * subject.weight * subject.cost
                    / self.total.max(f64::MIN_POSITIVE);
                let queries = vec![(subject.query.fingerprint, subject.query.mean())];
                let made = create(spec, 0, 0, gain, scan.evidence.clone(), Confidence::Low, queries);
                changes.push((spec.clone(), made));
            }
        }
        changes.sort_by(|a, b| b.1.saving.total_cmp(&a.1.saving).then(a.0.cmp(&b.0)));
        let numbered = changes.into_iter().zip(1..);
        numbered.map(|((_, change), number)| IndexChange { id: ChangeId::new(number), ..change }).collect()
    }
}

fn create(
    spec: &IndexSpec,
    number: u32,
    bytes: u64,
    saving: f64,
    evidence: String,
    confidence: Confidence,
    queries: Vec<(Fingerprint, Duration)>,
) -> IndexChange {
    let index = spec.full_name();
    IndexChange {
        id: ChangeId::new(number),
        kind: ChangeKind::Create,
        sql: format!("CREATE INDEX CONCURRENTLY {} {}", quoted(&spec.name()), spec.body()),
        undo: format!("DROP INDEX CONCURRENTLY IF EXISTS {}", quoted(&index)),
        table: spec.table.clone(),
        reason: format!("it would save {:.0} % of the workload's time", saving * 100.0),
        index,
        evidence,
        saving,
        bytes,
        confidence,
        queries,
    }
}
