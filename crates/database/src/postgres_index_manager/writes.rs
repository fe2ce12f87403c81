//! What writes lose to an index: a fixed time for each row that makes an entry in it.

use std::collections::BTreeMap;

use super::PostgresIndexManagerConfig;
use crate::engine::candidates::IndexSpec;
use crate::engine::catalogue::plain;
use crate::engine::sql_text::{Engine, parse, updated};
use crate::{TableWrites, Workload};

/// See the module.
#[derive(Debug)]
pub(super) struct Writes {
    tables: BTreeMap<String, TableWrites>,
    /// The UPDATE statements that are known: table, columns that are set, calls.
    updates: Vec<(String, Vec<String>, u64)>,
    seconds_an_entry: f64,
}

impl Writes {
    pub(super) fn new(workload: &Workload, config: &PostgresIndexManagerConfig) -> Self {
        let updates = workload.queries.iter().filter_map(|query| {
            let (table, columns) = updated(&parse(&query.text, Engine::Postgres).ok()?)?;
            Some((plain(&table).to_owned(), columns, query.calls))
        });
        Self {
            tables: if workload.one_span { workload.writes.clone() } else { BTreeMap::new() },
            updates: updates.collect(),
            seconds_an_entry: config.write_cost.as_secs_f64(),
        }
    }

    /// Seconds of the workload that an index costs. Deleting makes no entry: what it leaves is cleaned up later.
    pub(super) fn seconds(&self, spec: &IndexSpec) -> f64 {
        let Some(writes) = self.tables.get(&spec.table) else { return 0.0 };
        let entries = writes.inserts as f64 + writes.updates as f64 * self.share_of_updates(spec);
        entries * self.seconds_an_entry
    }

    /// The share of the updates that change what the index holds; all, if no UPDATE of the table is known.
    fn share_of_updates(&self, spec: &IndexSpec) -> f64 {
        let of_table = || self.updates.iter().filter(|(table, _, _)| table == plain(&spec.table));
        let all: u64 = of_table().map(|(_, _, calls)| calls).sum();
        if all == 0 {
            return 1.0;
        }
        let holds = |column: &String| {
            let key = spec.columns.iter().any(|by| by.column == *column);
            let predicate = spec.predicate.as_ref().is_some_and(|rows| rows.contains(column.as_str()));
            key || predicate || spec.include.contains(column)
        };
        let concerned = of_table().filter(|(_, columns, _)| columns.iter().any(holds));
        concerned.map(|(_, _, calls)| *calls).sum::<u64>() as f64 / all as f64
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::sql_text::Ordered;
    use crate::{Fingerprint, ObservedQuery};

    #[test]
    fn an_index_costs_what_is_inserted_and_the_updates_of_its_columns() {
        let update = |hash, text: &str, calls| {
            ObservedQuery::new(Fingerprint::new(hash), text, calls, Duration::from_secs(1))
        };
        let mut workload = Workload::of(vec![
            update(1, "UPDATE jobs SET state = $1 WHERE id = $2", 300),
            update(2, "UPDATE public.jobs SET (kind, priority) = ($1, $2) WHERE id = $3", 100),
        ]);
        workload.writes.insert("public.jobs".to_owned(), TableWrites::new(1_000, 4_000, 9_000));
        let config = PostgresIndexManagerConfig::default().with_write_cost(Duration::from_millis(1));
        let writes = Writes::new(&workload, &config);
        let index = |column: &str, predicate: Option<&str>| IndexSpec {
            table: "public.jobs".to_owned(),
            columns: vec![Ordered { column: column.to_owned(), descending: false }],
            predicate: predicate.map(str::to_owned),
            include: Vec::new(),
        };
        assert!((writes.seconds(&index("state", None)) - 4.0).abs() < 1e-9);
        assert!((writes.seconds(&index("kind", None)) - 2.0).abs() < 1e-9);
        assert!((writes.seconds(&index("run_at", None)) - 1.0).abs() < 1e-9, "no update sets it");
        assert!((writes.seconds(&index("run_at", Some("state = 'ready'"))) - 4.0).abs() < 1e-9);
        let elsewhere = IndexSpec { table: "public.runs".to_owned(), ..index("id", None) };
        assert_eq!(writes.seconds(&elsewhere), 0.0);
    }
}
