//! Which indexes SQLite's planner would use if they were there, and what that saves in rows read.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::has_table;
use crate::adapters::sqlite::{SchemaCopy, SqlitePool, Trial, TrialIndex, catalogue};
use crate::engine::candidates::{IndexSpec, candidates};
use crate::engine::catalogue::{Catalogue, quoted};
use crate::engine::sql_text::{Engine, Reading, parse, read};
use crate::engine::trial_text::{TrialText, trial_text};
use crate::sqlite_query_optimizer::plan_of;
use crate::{
    ChangeId, ChangeKind, Confidence, DatabaseError, IndexBudget, IndexChange, IndexPlan, ObservedQuery,
    QueryPlan, TableWrites, Workload,
};

const MOST_QUERIES: usize = 50;
/// What saves less of the workload's time is not worth an index.
const LEAST_SAVING: f64 = 0.01;
/// An index must save at least this share of the rows that its statement reads.
const LEAST_GAIN: f64 = 0.5;
/// So many rows tell how a column's values are spread.
const SAMPLE: u32 = 20_000;

/// A candidate with what a sample says of it.
struct Sampled {
    spec: IndexSpec,
    /// How many rows share each prefix of its columns, on average, in the whole table.
    alike: Vec<f64>,
    bytes: u64,
}

pub(super) async fn propose(
    pool: &SqlitePool,
    workload: &Workload,
    budget: &IndexBudget,
) -> Result<IndexPlan, DatabaseError> {
    let catalogue = catalogue(pool).await?;
    let mut plan = IndexPlan { schema: catalogue.fingerprint(), ..IndexPlan::default() };
    let copy = copy(pool, &catalogue).await?;
    let rejected = rejected(pool).await?;
    let total: f64 = workload.queries.iter().map(|query| query.total.as_secs_f64()).sum();
    let mut found: Vec<(IndexSpec, IndexChange)> = Vec::new();
    let mut subjects = Vec::new();
    let mut explains = budget.explains;
    for query in workload.queries.iter().take(MOST_QUERIES) {
        let statement = match parse(&query.text, Engine::Sqlite) {
            Ok(statement) => statement,
            Err(reason) => {
                plan.notes.push(format!("{} was left out: {reason}", query.fingerprint));
                continue;
            }
        };
        let reading = read(&statement, &catalogue);
        let mut specs = candidates(&reading, &catalogue);
        // SQLite's indexes carry nothing besides their keys.
        specs.retain(|spec| spec.include.is_empty() && !rejected.contains(&spec.name()));
        let trial = Planner { pool, catalogue: &catalogue, copy: &copy, query, reading: &reading };
        let picked = trial.picked(&specs, &mut explains).await?;
        if !picked.is_empty() {
            let text = trial_text(&statement, &reading, &catalogue);
            subjects.push(Subject { query, picked, text });
        }
    }
    let timed = time(pool, &subjects, &mut plan.notes).await?;
    for (subject, verdict) in subjects.iter().zip(timed) {
        if let Some((change, spec)) = subject.change(verdict, total) {
            merge(&mut found, change, spec);
        }
    }
    if explains == 0 {
        plan.notes.push("the budget of plans was used up: there may be better indexes".to_owned());
    }
    found.retain(|(_, change)| change.saving >= LEAST_SAVING);
    found.sort_by(|a, b| b.1.saving.total_cmp(&a.1.saving).then(a.0.cmp(&b.0)));
    let mut left = budget.bytes;
    for (_, mut change) in found {
        if change.bytes <= left {
            left -= change.bytes;
            change.id = ChangeId::new(plan.changes.len() as u32 + 1);
            let written = workload.writes.get(&change.table).map_or(0, TableWrites::total);
            if written > 0 {
                plan.notes.push(format!("{}: {written} rows of {} were written", change.id, change.table));
            }
            plan.changes.push(change);
        }
    }
    Ok(plan)
}

/// Two statements that want the same index share it.
fn merge(found: &mut Vec<(IndexSpec, IndexChange)>, change: IndexChange, spec: IndexSpec) {
    if let Some((_, known)) = found.iter_mut().find(|(it, _)| *it == spec) {
        known.saving += change.saving;
        known.queries.extend(change.queries);
        known.reason = reason(known.saving);
    } else {
        found.push((spec, change));
    }
}

fn reason(saving: f64) -> String {
    format!("it would save about {:.0} % of the workload's time", saving * 100.0)
}

async fn rejected(pool: &SqlitePool) -> Result<BTreeSet<String>, DatabaseError> {
    if !has_table(pool, "wavequill_index_change").await? {
        return Ok(BTreeSet::new());
    }
    let names =
        "SELECT json_quote(index_name) AS json FROM wavequill_index_change WHERE state = 'rolled_back'";
    Ok(pool.json(names.to_owned()).await?.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// The schema, with the statistics that the database has; tables it has none of are as large as they are.
async fn copy(pool: &SqlitePool, catalogue: &Catalogue) -> Result<SchemaCopy, DatabaseError> {
    let schema = "SELECT json_quote(sql) AS json FROM sqlite_schema
                  WHERE sql IS NOT NULL AND type IN ('table', 'index') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
                  ORDER BY type DESC, name";
    let schema = pool.json(schema.to_owned()).await?;
    let schema = schema.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let mut statistics = Vec::new();
    if has_table(pool, "sqlite_stat1").await? {
        let rows = "SELECT json_array(tbl, coalesce(idx, ''), stat) AS json FROM sqlite_stat1";
        for row in pool.json(rows.to_owned()).await? {
            let text = |at: usize| row.get(at).and_then(Value::as_str).map(str::to_owned);
            if let (Some(table), Some(index), Some(statistic)) = (text(0), text(1), text(2)) {
                statistics.push((table, index, statistic));
            }
        }
    }
    for table in catalogue.tables.values() {
        if !statistics.iter().any(|(known, _, _)| *known == table.name) {
            statistics.push((table.name.clone(), String::new(), format!("{:.0}", table.rows)));
        }
    }
    Ok(SchemaCopy { schema, statistics })
}

struct Planner<'a> {
    pool: &'a SqlitePool,
    catalogue: &'a Catalogue,
    copy: &'a SchemaCopy,
    query: &'a ObservedQuery,
    reading: &'a Reading,
}

impl Planner<'_> {
    /// The candidates that the planner would use and that save enough, each with the share of the rows that it
    /// saves, the best first.
    async fn picked(
        &self,
        specs: &[IndexSpec],
        explains: &mut u32,
    ) -> Result<Vec<(Sampled, f64)>, DatabaseError> {
        let mut picked: Vec<(Sampled, f64)> = Vec::new();
        let Some(now) = self.plan(None, explains).await? else { return Ok(picked) };
        let reads_now = self.rows_read(&now, &BTreeMap::new());
        for spec in specs {
            let sampled = self.sample(spec).await?;
            let Some(plan) = self.plan(Some(&sampled), explains).await? else { continue };
            let name = spec.name();
            if !plan.nodes().iter().any(|node| node.index.as_deref() == Some(name.as_str())) {
                continue;
            }
            let alike = [(name, sampled.alike.clone())].into_iter().collect();
            let gain = 1.0 - self.rows_read(&plan, &alike) / reads_now.max(1.0);
            if gain >= LEAST_GAIN {
                picked.push((sampled, gain));
            }
        }
        // Gains to a tenth of a percent: below that the smaller index is the better one.
        let rank = |gain: f64| (gain * 1_000.0).round() as i64;
        picked.sort_by_key(|(sampled, gain)| (std::cmp::Reverse(rank(*gain)), sampled.bytes));
        Ok(picked)
    }

    async fn plan(
        &self,
        with: Option<&Sampled>,
        explains: &mut u32,
    ) -> Result<Option<QueryPlan>, DatabaseError> {
        if *explains == 0 {
            return Ok(None);
        }
        *explains -= 1;
        let mut copy = self.copy.clone();
        if let Some(sampled) = with {
            let spec = &sampled.spec;
            let rows = self.rows(&spec.table);
            let alike: Vec<_> =
                sampled.alike.iter().map(|rows| format!("{:.0}", rows.ceil().max(1.0))).collect();
            copy.schema.push(format!("CREATE INDEX {} {}", quoted(&spec.name()), spec.body()));
            copy.statistics.push((spec.table.clone(), spec.name(), format!("{rows:.0} {}", alike.join(" "))));
        }
        let plans = self.pool.explain_on_copy(copy, vec![self.query.text.clone()]).await?;
        let steps = plans.into_iter().next().flatten();
        Ok(steps.map(|steps| plan_of(self.query, &steps, self.reading, self.catalogue)))
    }

    fn rows(&self, table: &str) -> f64 {
        self.catalogue.tables.get(table).map_or(0.0, |table| table.rows)
    }

    /// How the values of the candidate's columns are spread, by the first rows of the table.
    async fn sample(&self, spec: &IndexSpec) -> Result<Sampled, DatabaseError> {
        let names: Vec<_> = spec.columns.iter().map(|by| quoted_column(&by.column)).collect();
        let predicate = spec.predicate.as_ref().map(|rows| format!(" WHERE {rows}")).unwrap_or_default();
        let rows =
            format!("SELECT {} FROM {}{predicate} LIMIT {SAMPLE}", names.join(", "), quoted(&spec.table));
        let mut counts = vec!["(SELECT count(*) FROM s)".to_owned()];
        for end in 1..=names.len() {
            let prefix = names.get(..end).unwrap_or_default().join(", ");
            counts.push(format!("(SELECT count(*) FROM (SELECT DISTINCT {prefix} FROM s))"));
        }
        counts.push(format!("(SELECT coalesce(sum(length({})), 0) FROM s)", names.join(" || ")));
        let counted = self
            .pool
            .json(format!("WITH s AS ({rows}) SELECT json_array({}) AS json", counts.join(", ")))
            .await?;
        let number =
            |at: usize| counted.first().and_then(|row| row.get(at)).and_then(Value::as_f64).unwrap_or(0.0);
        let (sampled, table) = (number(0).max(1.0), self.rows(&spec.table));
        let whole = if sampled < f64::from(SAMPLE) { sampled } else { table };
        // A value that is new with every row stays so in the whole table; one that repeats has all its values here.
        let alike = (1..=names.len()).map(|at| {
            let distinct = number(at).max(1.0);
            if distinct > sampled * 0.9 { 1.0 } else { whole / distinct }
        });
        let entry = number(names.len() + 1) / sampled + 12.0;
        Ok(Sampled { spec: spec.clone(), alike: alike.collect(), bytes: (whole * entry) as u64 })
    }

    /// About how many rows a plan reads: each table as a whole, or as many as a search finds alike; a sort reads its
    /// rows again. What needs no sort and is limited ends early.
    fn rows_read(&self, plan: &QueryPlan, alike: &BTreeMap<String, Vec<f64>>) -> f64 {
        let nodes = plan.nodes();
        let sorts = nodes.iter().any(|node| node.operation.starts_with("USE TEMP B-TREE FOR ORDER BY"));
        let mut read = 0.0;
        for node in &nodes {
            let Some(table) = &node.relation else { continue };
            let rows = self.rows(table);
            let equal = node.operation.matches("=?").count();
            let known = node.index.as_ref().and_then(|index| alike.get(index));
            let reads = if node.operation.starts_with("SCAN") || equal == 0 {
                if node.operation.starts_with("SCAN") { rows } else { rows / 3.0 }
            } else {
                known.and_then(|alike| alike.get(equal - 1)).copied().unwrap_or(rows.sqrt())
            };
            let ends_early = self.reading.limited && !sorts && node.index.is_some();
            read += if ends_early { reads.min(100.0) } else { reads };
        }
        if sorts { read * 2.0 } else { read }
    }
}

/// A statement with the indexes that the planner would use for it.
struct Subject<'a> {
    query: &'a ObservedQuery,
    picked: Vec<(Sampled, f64)>,
    /// How it can be run, if that is known.
    text: Option<TrialText>,
}

/// What timing a statement's candidates on a copy came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timed {
    /// This candidate keeps at least half of what it promised.
    Confirmed(usize),
    /// None does.
    Refuted,
    /// It could not be run there.
    Not,
}

/// Runs the statements on a copy of the database, with each candidate until one is confirmed.
async fn time(
    pool: &SqlitePool,
    subjects: &[Subject<'_>],
    notes: &mut Vec<String>,
) -> Result<Vec<Timed>, DatabaseError> {
    let trials: Vec<Option<Trial>> = subjects.iter().map(Subject::trial).collect();
    let wanted: Vec<Trial> = trials.iter().flatten().cloned().collect();
    let results = if wanted.is_empty() { None } else { pool.time_on_copy(wanted).await? };
    let mut results = results.unwrap_or_default().into_iter();
    let mut timed = Vec::with_capacity(subjects.len());
    for (subject, trial) in subjects.iter().zip(&trials) {
        let result = trial.as_ref().and_then(|_| results.next());
        let verdict = match result.flatten() {
            Some(Some(at)) => Timed::Confirmed(at),
            Some(None) => Timed::Refuted,
            None => Timed::Not,
        };
        let fingerprint = subject.query.fingerprint;
        match verdict {
            Timed::Refuted => notes.push(format!(
                "{fingerprint}: the planner would use another index, and on a copy of the data none made it \
                 faster by half of what was expected"
            )),
            Timed::Not => notes.push(format!("{fingerprint} could not be timed on a copy of the data")),
            Timed::Confirmed(_) => {}
        }
        timed.push(verdict);
    }
    Ok(timed)
}

impl Subject<'_> {
    fn trial(&self) -> Option<Trial> {
        let text = self.text.clone()?;
        let index = |(sampled, gain): &(Sampled, f64)| TrialIndex {
            create: create(&sampled.spec),
            drop: format!("DROP INDEX {}", quoted(&sampled.spec.name())),
            most: 1.0 - gain / 2.0,
        };
        Some(Trial { text, indexes: self.picked.iter().map(index).collect() })
    }

    fn change(&self, timed: Timed, total: f64) -> Option<(IndexChange, IndexSpec)> {
        let (at, confidence, how) = match timed {
            Timed::Confirmed(at) => {
                (at, Confidence::High, "; run on a copy of the data, it kept at least half of that")
            }
            Timed::Not => (0, Confidence::Low, "; it was not run"),
            Timed::Refuted => return None,
        };
        let (sampled, gain) = self.picked.get(at)?;
        let saving = gain * self.query.total.as_secs_f64() / total.max(f64::MIN_POSITIVE);
        let (spec, name) = (&sampled.spec, sampled.spec.name());
        let change = IndexChange {
            id: ChangeId::new(0),
            kind: ChangeKind::Create,
            sql: create(spec),
            undo: format!("DROP INDEX IF EXISTS {}", quoted(&name)),
            table: spec.table.clone(),
            reason: reason(saving),
            index: name,
            evidence: format!("SQLite would use it, and read about {:.0} % fewer rows{how}", gain * 100.0),
            saving,
            bytes: sampled.bytes,
            confidence,
            queries: vec![(self.query.fingerprint, self.query.mean())],
        };
        Some((change, spec.clone()))
    }
}

fn create(spec: &IndexSpec) -> String {
    format!("CREATE INDEX {} {}", quoted(&spec.name()), spec.body())
}

fn quoted_column(column: &str) -> String {
    format!("\"{}\"", column.replace('"', "\"\""))
}
