//! Which indexes could serve a statement: equality first, then order, then range. It weighs none of them.

use xxhash_rust::xxh3::xxh3_64;

use crate::engine::catalogue::{Catalogue, Index, plain, quoted};
use crate::engine::sql_text::{Ordered, Reading, TableUse};

/// More columns than this rarely narrow further, and each makes the index larger.
const MOST_COLUMNS: usize = 4;
/// With more it is nearly the table once more.
const MOST_INCLUDED: usize = 6;

/// An index that does not exist yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct IndexSpec {
    pub(crate) table: String,
    pub(crate) columns: Vec<Ordered>,
    /// The rows that it holds, if not all.
    pub(crate) predicate: Option<String>,
    /// Columns that it only carries, so that the table need not be read.
    pub(crate) include: Vec<String>,
}

impl IndexSpec {
    /// A name that says what it is, and is the same for the same index: at most 63 bytes, as PostgreSQL has it.
    pub(crate) fn name(&self) -> String {
        let columns: Vec<_> = self.columns.iter().map(|by| by.column.as_str()).collect();
        let words = format!("wq_{}_{}", plain(&self.table), columns.join("_"));
        let readable: String =
            words.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(50).collect();
        format!("{}_{:08x}", readable.to_lowercase(), xxh3_64(self.body().as_bytes()) as u32)
    }

    /// The name with the schema that it will be in.
    pub(crate) fn full_name(&self) -> String {
        match self.table.rsplit_once('.') {
            Some((schema, _)) => format!("{schema}.{}", self.name()),
            None => self.name(),
        }
    }

    /// From `ON` to the end.
    pub(crate) fn body(&self) -> String {
        let column =
            |by: &Ordered| format!("{}{}", quoted_part(&by.column), if by.descending { " DESC" } else { "" });
        let columns: Vec<_> = self.columns.iter().map(column).collect();
        let predicate = self.predicate.as_ref().map(|rows| format!(" WHERE {rows}")).unwrap_or_default();
        let include: Vec<_> = self.include.iter().map(|column| quoted_part(column)).collect();
        let include =
            if include.is_empty() { String::new() } else { format!(" INCLUDE ({})", include.join(", ")) };
        format!("ON {} ({}){include}{predicate}", quoted(&self.table), columns.join(", "))
    }

    /// Whether an index that exists serves as well: it begins with the same columns in the same order, for all rows.
    fn is_served_by(&self, index: &Index) -> bool {
        let same =
            index.columns.iter().zip(&self.columns).filter(|(theirs, ours)| **theirs == ours.column).count();
        let plain_order = self.columns.len() == 1 || self.columns.iter().all(|by| !by.descending);
        index.valid
            && index.table == self.table
            && same == self.columns.len()
            && plain_order
            && self.include.iter().all(|column| index.columns.contains(column))
            && !index.rest.contains("WHERE")
    }
}

/// A column is one part, whatever is in its name.
fn quoted_part(column: &str) -> String {
    if column.contains('.') { format!("\"{}\"", column.replace('"', "\"\"")) } else { quoted(column) }
}

/// All that could serve, without what exists; the most specific first.
pub(crate) fn candidates(reading: &Reading, catalogue: &Catalogue) -> Vec<IndexSpec> {
    let mut found: Vec<IndexSpec> = Vec::new();
    for table in &reading.uses {
        for spec in of_table(table) {
            let name = spec.full_name();
            let exists = catalogue.indexes.iter().any(|index| index.name == name || spec.is_served_by(index));
            if !exists && !found.contains(&spec) {
                found.push(spec);
            }
        }
    }
    found
}

fn of_table(table: &TableUse) -> Vec<IndexSpec> {
    let equal: Vec<_> = table.equal.iter().map(|column| ascending(column)).collect();
    let mut lists = Vec::new();
    let with_order = joined(&equal, &table.order);
    let range = table.range.iter().map(|column| ascending(column));
    if !table.order.is_empty() {
        lists.push(joined(&with_order, &table.range.iter().map(|it| ascending(it)).collect::<Vec<_>>()));
        lists.push(with_order);
        lists.push(table.order.clone());
    }
    lists.extend(range.clone().map(|range| joined(&equal, &[range])));
    lists.push(equal.clone());
    lists.extend(equal.iter().map(|column| vec![column.clone()]));
    lists.extend(range.map(|range| vec![range]));
    let whole = lists.into_iter().filter(|columns| !columns.is_empty()).map(|columns| IndexSpec {
        table: table.table.clone(),
        columns,
        predicate: None,
        include: Vec::new(),
    });
    let whole: Vec<_> = whole.collect();
    let covering: Vec<_> = whole.iter().filter_map(|spec| covering(spec, table)).collect();
    // A part of the rows, where the statement itself names a constant.
    let partial = table.constant.iter().filter_map(|(column, comparison)| {
        let rest: Vec<_> = equal.iter().filter(|by| by.column != *column).cloned().collect();
        let mut columns = joined(&rest, &table.order);
        if columns.is_empty() {
            columns = table.range.iter().map(|it| ascending(it)).take(1).collect();
        }
        let predicate = Some(format!("{} {comparison}", quoted_part(column)));
        (!columns.is_empty()).then(|| IndexSpec {
            table: table.table.clone(),
            columns,
            predicate,
            include: Vec::new(),
        })
    });
    partial.collect::<Vec<_>>().into_iter().chain(whole).chain(covering).collect()
}

/// The same with all that the statement reads of the table, if that is not much more.
fn covering(spec: &IndexSpec, table: &TableUse) -> Option<IndexSpec> {
    let is_key = |column: &String| spec.columns.iter().any(|by| by.column == *column);
    let include: Vec<_> = table.mentioned.iter().filter(|column| !is_key(column)).cloned().collect();
    let few = !include.is_empty() && include.len() <= MOST_INCLUDED;
    few.then(|| IndexSpec { include, ..spec.clone() })
}

fn ascending(column: &str) -> Ordered {
    Ordered { column: column.to_owned(), descending: false }
}

/// One list after the other, each column once.
fn joined(first: &[Ordered], then: &[Ordered]) -> Vec<Ordered> {
    let mut columns: Vec<Ordered> = first.to_vec();
    for by in then {
        if !columns.iter().any(|it| it.column == by.column) {
            columns.push(by.clone());
        }
    }
    columns.truncate(MOST_COLUMNS);
    columns
}

#[cfg(test)]
#[cfg(feature = "postgres")]
mod tests {
    use super::*;
    use crate::engine::catalogue::Table;
    use crate::engine::sql_text::{Engine, parse, read};

    fn catalogue() -> Catalogue {
        let columns = ["id", "state", "kind", "priority", "run_at"].map(str::to_owned).to_vec();
        let jobs = Table { name: "public.jobs".to_owned(), columns, ..Table::default() };
        let runs =
            Table { name: "public.runs".to_owned(), columns: vec!["job_id".to_owned()], ..Table::default() };
        let tables = [jobs, runs].map(|table| (table.name.clone(), table)).into_iter().collect();
        let primary = Index {
            name: "public.jobs_pkey".to_owned(),
            table: "public.jobs".to_owned(),
            columns: vec!["id".to_owned()],
            valid: true,
            ..Index::default()
        };
        Catalogue { tables, indexes: vec![primary], sort_bytes: None }
    }

    fn bodies(sql: &str) -> Vec<String> {
        let catalogue = catalogue();
        let statement = parse(sql, Engine::Postgres).unwrap();
        candidates(&read(&statement, &catalogue), &catalogue).iter().map(IndexSpec::body).collect()
    }

    #[test]
    fn equality_comes_first_then_the_order_then_the_range() {
        let found = bodies(
            "SELECT * FROM jobs WHERE kind = $1 AND run_at <= $2 AND state = 'ready' ORDER BY priority DESC, id LIMIT 1",
        );
        assert_eq!(found[0], "ON public.jobs (kind, priority DESC, id) WHERE state = 'ready'");
        assert_eq!(found[1], "ON public.jobs (kind, state, priority DESC, id)");
        assert!(found.contains(&"ON public.jobs (kind, state, run_at)".to_owned()), "{found:?}");
    }

    #[test]
    fn what_the_statement_reads_besides_can_be_carried_along_unless_it_reads_everything() {
        let found = bodies("SELECT id, run_at FROM jobs WHERE kind = $1");
        assert!(found.contains(&"ON public.jobs (kind) INCLUDE (id, run_at)".to_owned()), "{found:?}");
        assert!(bodies("SELECT * FROM jobs WHERE kind = $1").iter().all(|it| !it.contains("INCLUDE")));
    }

    #[test]
    fn joins_subqueries_and_updates_are_read_too() {
        let found = bodies("SELECT * FROM runs r JOIN jobs j ON j.id = r.job_id WHERE j.kind = $1");
        assert!(found.contains(&"ON public.runs (job_id)".to_owned()), "{found:?}");
        assert!(found.contains(&"ON public.jobs (kind)".to_owned()), "{found:?}");
        let found = bodies("UPDATE jobs SET state = $1 WHERE id IN (SELECT id FROM jobs WHERE kind = $2)");
        let expected = ["ON public.jobs (kind)", "ON public.jobs (kind) INCLUDE (id)"];
        assert_eq!(found, expected, "the primary key serves the outer one");
    }

    #[test]
    fn what_proposes_nothing() {
        assert!(bodies("SELECT * FROM jobs WHERE id = $1").is_empty(), "there is an index");
        assert!(bodies("SELECT count(*) FROM jobs").is_empty());
        assert!(bodies("SELECT * FROM jobs WHERE kind = $1 OR state = $2").is_empty(), "neither must hold");
        assert!(bodies("SELECT * FROM jobs WHERE priority = run_at").is_empty(), "columns of one row");
    }

    #[test]
    fn several_statements_and_ddl_are_refused() {
        assert_eq!(
            parse("SELECT 1; DELETE FROM jobs", Engine::Postgres).unwrap_err(),
            "it is more than one statement"
        );
        assert!(parse("DROP TABLE jobs", Engine::Postgres).is_err());
        assert!(parse("", Engine::Postgres).is_err());
    }

    #[test]
    fn a_name_is_short_plain_and_the_same_for_the_same_index() {
        let spec = IndexSpec {
            table: "public.Very Long".repeat(9),
            columns: vec![ascending("größe"), ascending("b")],
            predicate: None,
            include: Vec::new(),
        };
        assert!(spec.name().len() <= 63 && spec.name().is_ascii(), "{}", spec.name());
        assert_eq!(spec.name(), spec.clone().name());
    }
}
