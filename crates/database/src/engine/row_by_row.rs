//! Finds statements that are asked for row by row of another one's result ("N+1"). It only looks at counts.
//!
//! Two things show it: one holder of a connection called the same search many times in a row (the pool recorded it),
//! or a search was called as often as another statement returned rows (the server counted both). The second may be
//! chance, and says so.

use crate::engine::catalogue::Catalogue;
use crate::engine::sql_text::{Engine, Reading, parse, read};
use crate::{Confidence, Finding, ObservedQuery, Rule, Severity, Workload};

/// More calls in a row than this are no page of a few details.
const MOST_REPEATS: u32 = 20;
/// Fewer calls than this may be as many as another's rows by chance.
const FEWEST_CALLS: u64 = 200;
/// How far calls and rows may be apart: statements under way when the counts were read.
const TOLERANCE: f64 = 0.02;

/// A statement that reads rows, with the tables that it names.
struct Reader<'a> {
    query: &'a ObservedQuery,
    reading: Reading,
}

/// The statements of a workload that are asked for row by row.
pub(crate) fn find(workload: &Workload, catalogue: &Catalogue, engine: Engine) -> Vec<Finding> {
    let readers: Vec<_> =
        workload.queries.iter().filter_map(|query| reader(query, catalogue, engine)).collect();
    readers.iter().filter_map(|it| judge(it, &readers)).collect()
}

fn reader<'a>(query: &'a ObservedQuery, catalogue: &Catalogue, engine: Engine) -> Option<Reader<'a>> {
    let statement = parse(&query.text, engine).ok()?;
    let reads = matches!(&statement, sqlparser::ast::Statement::Query(query) if query.locks.is_empty());
    let reading = read(&statement, catalogue);
    (reads && !reading.uses.is_empty()).then_some(Reader { query, reading })
}

fn judge(reader: &Reader<'_>, all: &[Reader<'_>]) -> Option<Finding> {
    let [table] = reader.reading.uses.as_slice() else { return None };
    let column = table.equal.first()?;
    let query = reader.query;
    let (evidence, confidence) = if let Some(repeats) = query.repeats.filter(|&it| it > MOST_REPEATS) {
        let evidence = format!("one holder of a connection called it {repeats} times in a row");
        (evidence, Confidence::High)
    } else {
        let parent = all.iter().filter(|other| is_parent(other, reader)).min_by_key(|it| it.query.calls)?;
        let (rows, calls) = (parent.query.rows?, parent.query.calls);
        let evidence = format!(
            "it was called {} times, and {} returned {rows} rows in {calls} calls: once for each, it seems",
            query.calls, parent.query.fingerprint
        );
        (evidence, Confidence::Low)
    };
    Some(Finding {
        rule: Rule::RowByRow,
        fingerprint: query.fingerprint,
        node: format!("search of {} by {column}", table.table),
        evidence,
        action: format!("join {}, or ask for many at once: WHERE {column} IN (…)", table.table),
        gain: None,
        severity: Severity::Warn,
        confidence,
    })
}

fn is_parent(parent: &Reader<'_>, child: &Reader<'_>) -> bool {
    let (Some(rows), calls) = (parent.query.rows, child.query.calls) else { return false };
    let apart = (rows as f64 - calls as f64).abs();
    let table = child.reading.uses.first().map(|it| &it.table);
    calls >= FEWEST_CALLS
        && parent.query.calls.saturating_mul(u64::from(MOST_REPEATS)) < rows
        && apart <= TOLERANCE * calls as f64
        && parent.reading.uses.iter().all(|it| Some(&it.table) != table)
}

#[cfg(test)]
#[cfg(feature = "postgres")]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Fingerprint;
    use crate::engine::catalogue::Table;

    fn catalogue() -> Catalogue {
        let table = |name: &str, columns: &[&str]| Table {
            name: format!("public.{name}"),
            columns: columns.iter().map(|&it| it.to_owned()).collect(),
            ..Table::default()
        };
        let tables = [table("orders", &["id", "day"]), table("lines", &["order_id", "item"])];
        Catalogue {
            tables: tables.into_iter().map(|it| (it.name.clone(), it)).collect(),
            ..Catalogue::default()
        }
    }

    fn query(hash: u64, text: &str, calls: u64, rows: u64) -> ObservedQuery {
        let query = ObservedQuery::new(Fingerprint::new(hash), text, calls, Duration::from_secs(1));
        ObservedQuery { rows: Some(rows), ..query }
    }

    fn found(queries: Vec<ObservedQuery>) -> Vec<(u64, Confidence)> {
        let number = |it: Finding| (u64::from(it.fingerprint == Fingerprint::new(2)) + 1, it.confidence);
        find(&Workload::of(queries), &catalogue(), Engine::Postgres).into_iter().map(number).collect()
    }

    const ORDERS: &str = "SELECT id FROM orders WHERE day = $1";
    const LINES: &str = "SELECT item FROM lines WHERE order_id = $1";

    #[test]
    fn a_search_called_as_often_as_another_returned_rows_is_found() {
        let parent = query(1, ORDERS, 10, 1_000);
        assert_eq!(found(vec![parent.clone(), query(2, LINES, 1_000, 3_000)]), [(2, Confidence::Low)]);
        assert!(found(vec![parent.clone(), query(2, LINES, 1_500, 3_000)]).is_empty(), "another count");
        assert!(found(vec![parent, query(2, "SELECT count(*) FROM lines", 1_000, 1_000)]).is_empty());
        let few = query(1, ORDERS, 400, 1_000);
        assert!(found(vec![few, query(2, LINES, 1_000, 3_000)]).is_empty(), "2.5 rows a call");
    }

    #[test]
    fn many_calls_of_one_holder_in_a_row_are_found_but_not_of_writes() {
        let repeated = |text, repeats| ObservedQuery { repeats: Some(repeats), ..query(2, text, 500, 500) };
        assert_eq!(found(vec![repeated(LINES, 50)]), [(2, Confidence::High)]);
        assert!(found(vec![repeated(LINES, 5)]).is_empty());
        assert!(found(vec![repeated("DELETE FROM lines WHERE order_id = $1", 50)]).is_empty());
        assert!(
            found(vec![repeated("SELECT item FROM lines WHERE order_id = $1 FOR UPDATE", 50)]).is_empty()
        );
    }
}
