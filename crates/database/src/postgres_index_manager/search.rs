//! Which indexes would make a workload cheaper: candidates from the statements, tried by the planner with HypoPG. How
//! they are chosen is in [`choice`](super::choice).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::PostgresIndexManagerConfig;
use super::writes::Writes;
use crate::adapters::postgres::{PlanSession, catalogue, literal};
use crate::engine::candidates::{IndexSpec, candidates};
use crate::engine::catalogue::{Catalogue, quoted};
use crate::engine::index_prices::{MOST_CANDIDATES, Prices, Set, bit, members};
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
/// A statement below this cost reads a handful of pages: it needs no index of its own.
const CHEAP: f64 = 25.0;
/// How often the planner picks again among what it has not picked.
const PEELED: u32 = 4;

const HAS_HYPOPG: &str = "SELECT count(*)::text AS json FROM pg_extension WHERE extname = 'hypopg'";
const REMEMBERED: &str =
    "SELECT to_json(coalesce(to_regclass('wavequill_index_change')::text, ''))::text AS json";
const ROLLED_BACK: &str =
    "SELECT to_json(index_name)::text AS json FROM wavequill_index_change WHERE state = 'rolled_back'";

/// A statement of the workload, with its plan as things are.
pub(super) struct Subject<'a> {
    query: &'a ObservedQuery,
    reading: Reading,
    plan: QueryPlan,
    /// Seconds of the workload for each unit of the planner's cost.
    weight: f64,
    cost: f64,
    prices: Prices,
}

/// A candidate that the planner has picked.
pub(super) struct Tried {
    spec: IndexSpec,
    bytes: u64,
    /// The statements, by number, that the planner picks it for; to the others it is taken to make no difference.
    picked_for: BTreeSet<usize>,
}

pub(super) async fn propose(
    pool: &PostgresPool,
    config: &PostgresIndexManagerConfig,
    workload: &Workload,
    budget: &IndexBudget,
) -> Result<IndexPlan, DatabaseError> {
    let mut session = pool.plan_session("index proposals").await?;
    let catalogue = catalogue(&mut session).await?;
    let mut plan = IndexPlan { schema: catalogue.fingerprint(), ..IndexPlan::default() };
    let subjects = subjects(&mut session, &catalogue, workload, &mut plan.notes).await?;
    let rejected = rejected(&mut session).await?;
    let hypothetical = session.json(HAS_HYPOPG).await?.first().and_then(Value::as_u64).unwrap_or(0) > 0;
    if !workload.one_span {
        plan.notes.push(
            "what writes lose was not weighed: statements are known since the pool was opened, writes for longer; take \
             a workload by Window::Since"
                .to_owned(),
        );
    }
    let total: f64 = subjects.iter().map(|subject| subject.weight * subject.cost).sum();
    let writes = Writes::new(workload, config);
    let (explains, budget) = (budget.explains, budget.bytes);
    let mut search = Search {
        session,
        subjects,
        explains,
        budget,
        rejected,
        total,
        writes,
        tried: Vec::new(),
        there: None,
    };
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
                subjects.push(Subject { query, reading, plan, weight, cost, prices: Prices::new(0, cost) });
            }
            Err(DatabaseError::NotExplainable { reason }) => {
                notes.push(format!("{} was left out: {reason}", query.fingerprint));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(subjects)
}

pub(super) struct Search<'a> {
    session: PlanSession,
    subjects: Vec<Subject<'a>>,
    explains: u32,
    pub(super) budget: u64,
    rejected: BTreeSet<String>,
    /// Seconds of the workload as things are.
    total: f64,
    writes: Writes,
    /// The candidates that the planner picks for some statement.
    tried: Vec<Tried>,
    /// The hypothetical indexes that the session has now, by name.
    there: Option<(Set, BTreeMap<String, Set>)>,
}

impl Search<'_> {
    async fn with_hypopg(
        &mut self,
        catalogue: &Catalogue,
        notes: &mut Vec<String>,
    ) -> Result<Vec<IndexChange>, DatabaseError> {
        self.tried = self.peel(catalogue).await?;
        self.there = None;
        for (at, subject) in self.subjects.iter_mut().enumerate() {
            let its = self.tried.iter().enumerate().filter(|(_, it)| it.picked_for.contains(&at));
            let relevant = its.map(|(number, _)| bit(number)).fold(0, |set, it| set | it);
            subject.prices = Prices::new(relevant, subject.cost);
        }
        let chosen = self.choose().await?;
        let changes = self.in_order(chosen).await?;
        if self.explains == 0 {
            notes.push("the budget of plans was used up: there may be better indexes".to_owned());
        }
        Ok(changes)
    }

    /// The chosen ones, each as a change, the one that saves most first. What saves too little at its turn is left out.
    async fn in_order(&mut self, chosen: Set) -> Result<Vec<IndexChange>, DatabaseError> {
        let (mut set, mut changes) = (0, Vec::new());
        let mut total = self.total;
        loop {
            let mut best: Option<(f64, usize)> = None;
            for candidate in members(chosen & !set) {
                let cutoff = best.map_or(f64::INFINITY, |(least, _)| least);
                if let Some(with) = self.total(set | bit(candidate), cutoff).await?
                    && with < cutoff
                {
                    best = Some((with, candidate));
                }
            }
            let Some((with, candidate)) = best else { return Ok(changes) };
            if (total - with) / self.total.max(f64::MIN_POSITIVE) < LEAST_SAVING {
                return Ok(changes);
            }
            changes.extend(self.change(candidate, changes.len() as u32 + 1, set, total - with));
            set |= bit(candidate);
            total = with;
        }
    }

    pub(super) fn all(&self) -> Set {
        (0..self.tried.len()).map(bit).fold(0, |set, it| set | it)
    }

    pub(super) fn bytes(&self, set: Set) -> u64 {
        members(set).filter_map(|number| self.tried.get(number)).map(|it| it.bytes).sum()
    }

    /// Seconds that writes lose to the indexes of a set.
    fn lost(&self, set: Set) -> f64 {
        members(set).filter_map(|number| self.tried.get(number)).map(|it| self.writes.seconds(&it.spec)).sum()
    }

    /// The least that the workload can take under a set, by what is known.
    pub(super) fn least(&self, set: Set) -> f64 {
        self.lost(set) + self.subjects.iter().map(|it| it.weight * it.prices.least(set)).sum::<f64>()
    }

    /// The most that it can take.
    pub(super) fn most(&self, set: Set) -> f64 {
        self.lost(set) + self.subjects.iter().map(|it| it.weight * it.prices.most(set)).sum::<f64>()
    }

    /// What the workload takes under a set; `None` if that is not below the cutoff, or too many plans were asked for.
    pub(super) async fn total(&mut self, set: Set, cutoff: f64) -> Result<Option<f64>, DatabaseError> {
        loop {
            if self.least(set) >= cutoff {
                return Ok(None);
            }
            // First the one of which least is known: it is the likeliest to end the question.
            let open = (0..self.subjects.len()).filter_map(|at| {
                let subject = self.subjects.get(at)?;
                let prices = &subject.prices;
                let width = subject.weight * (prices.most(set) - prices.least(set));
                prices.known(set).is_none().then_some((width, at))
            });
            let Some((_, at)) = open.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1))) else {
                let known =
                    self.subjects.iter().map(|it| it.weight * it.prices.known(set).unwrap_or(it.cost));
                return Ok(Some(known.sum::<f64>() + self.lost(set)));
            };
            if !self.learn(at, set).await? {
                return Ok(None);
            }
        }
    }

    /// Plans a statement under a set. `false` if too many plans were asked for.
    async fn learn(&mut self, at: usize, set: Set) -> Result<bool, DatabaseError> {
        let Some(set) = self.subjects.get(at).map(|subject| subject.prices.relevant(set)) else {
            return Ok(false);
        };
        self.make(set).await?;
        let Some(plan) = self.plan(at).await? else { return Ok(false) };
        let names = self.there.as_ref().map(|(_, names)| names);
        let used = plan.nodes().into_iter().filter_map(|node| names?.get(node.index.as_ref()?));
        let used = used.fold(0, |used, it| used | it);
        if let Some(subject) = self.subjects.get_mut(at) {
            let cost = plan.cost.unwrap_or(subject.cost);
            subject.prices.learn(set, used, cost);
        }
        Ok(true)
    }

    /// Lets the session have the hypothetical indexes of a set, and no others.
    async fn make(&mut self, set: Set) -> Result<(), DatabaseError> {
        if self.there.as_ref().is_some_and(|(there, _)| *there == set) {
            return Ok(());
        }
        self.reset().await?;
        let mut names = BTreeMap::new();
        let wanted: Vec<_> =
            members(set).filter_map(|number| Some((bit(number), self.tried.get(number)?))).collect();
        if !wanted.is_empty() {
            let statements: Vec<_> =
                wanted.iter().map(|(_, it)| literal(&format!("CREATE INDEX {}", it.spec.body()))).collect();
            let made = self
                .session
                .json(&format!(
                    "SELECT to_json(made.indexname)::text AS json
                     FROM unnest(ARRAY[{}]) WITH ORDINALITY wanted (sql, number),
                          LATERAL hypopg_create_index(wanted.sql) made ORDER BY wanted.number",
                    statements.join(", ")
                ))
                .await?;
            let made = made.iter().filter_map(Value::as_str).map(str::to_owned);
            names = made.zip(wanted.iter().map(|(it, _)| *it)).collect();
        }
        self.there = Some((set, names));
        Ok(())
    }

    /// Of each statement's candidates those that the planner picks: all are there, what it picks is kept and taken
    /// away, and it picks again.
    async fn peel(&mut self, catalogue: &Catalogue) -> Result<Vec<Tried>, DatabaseError> {
        let mut kept: Vec<Tried> = Vec::new();
        for at in 0..self.subjects.len() {
            let Some(subject) = self.subjects.get(at) else { break };
            if subject.cost < CHEAP {
                continue;
            }
            let mut open = candidates(&subject.reading, catalogue);
            open.retain(|spec| !self.rejected.contains(&spec.full_name()));
            for _ in 0..PEELED {
                let picked = self.picked(at, &open).await?;
                if picked.is_empty() {
                    break;
                }
                open.retain(|spec| !picked.iter().any(|it| it.spec == *spec));
                for it in picked {
                    match kept.iter_mut().find(|known| known.spec == it.spec) {
                        Some(known) => known.picked_for.extend(it.picked_for),
                        None => kept.push(it),
                    }
                }
            }
        }
        // Statements come in the order of their time: of too many candidates the last ones matter least.
        kept.truncate(MOST_CANDIDATES);
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
                picked.push(Tried { spec: spec.clone(), bytes, picked_for: BTreeSet::from([at]) });
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

    fn change(&self, candidate: usize, number: u32, before: Set, saved: f64) -> Option<IndexChange> {
        let tried = self.tried.get(candidate)?;
        let after = before | bit(candidate);
        let price = |subject: &Subject<'_>, set| subject.prices.known(set).unwrap_or(subject.cost);
        let costs = self.subjects.iter().map(|it| (it, price(it, before), price(it, after)));
        let helped: Vec<_> = costs.filter(|(_, before, after)| *after < before * 0.9).collect();
        let queries: Vec<_> =
            helped.iter().map(|(subject, _, _)| (subject.query.fingerprint, subject.query.mean())).collect();
        let (was, is) = helped.iter().fold((0.0, 0.0), |(was, is), (_, b, a)| (was + b, is + a));
        let lost = self.writes.seconds(&tried.spec);
        let writes =
            if lost > 0.0 { format!("; writes lose about {lost:.3} s to it") } else { String::new() };
        let evidence = format!(
            "the planner's cost of {} statements falls from {was:.0} to {is:.0}{writes}",
            helped.len()
        );
        let saving = saved / self.total.max(f64::MIN_POSITIVE);
        Some(create(&tried.spec, number, tried.bytes, saving, evidence, Confidence::Medium, queries))
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
                // What nobody has tried is kept small.
                let small = |spec: &&IndexSpec| spec.include.is_empty() && serves(spec);
                let Some(spec) = all.iter().find(small) else { continue };
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
