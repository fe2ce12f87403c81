//! The optimizer for SQLite: statements as the pool has recorded them, plans from `EXPLAIN QUERY PLAN`, which runs
//! nothing.
//!
//! SQLite tells neither costs nor expected rows, so the rules go by what its plans say in words and by the sizes of the
//! tables. Today statements of other processes are not known.

use async_trait::async_trait;

use crate::adapters::sqlite::catalogue;
use crate::engine::catalogue::Catalogue;
use crate::engine::plan_reader::{SqliteStep, from_sqlite};
use crate::engine::sql_text::{Engine, Reading, parse, read};
use crate::engine::{row_by_row, rules};
use crate::{
    DatabaseError, Finding, ObservedQuery, QueryOptimizer, QueryPlan, SqlitePool, TableStatistics, Window,
    Workload,
};

/// Finds the statements of an SQLite database that cost most, and says why.
///
/// ```
/// use wavequill_database::{QueryOptimizer, SqlitePool, SqliteQueryOptimizer, Window};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = SqlitePool::open_in_memory().await?;
/// let report = SqliteQueryOptimizer::new(pool).report(&Window::All, 10).await?;
/// assert!(report.findings.is_empty(), "nothing has run yet");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct SqliteQueryOptimizer {
    pool: SqlitePool,
}

impl SqliteQueryOptimizer {
    /// Looks at the database of the pool.
    pub fn new(pool: SqlitePool) -> Self {
        Self { pool }
    }
}

#[async_trait]
impl QueryOptimizer for SqliteQueryOptimizer {
    async fn workload(&self, window: &Window) -> Result<Workload, DatabaseError> {
        let mut workload = self.pool.recorded();
        workload.queries.retain(|query| parse(&query.text, Engine::Sqlite).is_ok());
        workload.notes.push("only this process's statements are known".to_owned());
        Ok(window.cut(workload))
    }

    async fn patterns(&self, workload: &Workload) -> Result<Vec<Finding>, DatabaseError> {
        Ok(row_by_row::find(workload, &catalogue(&self.pool).await?, Engine::Sqlite))
    }

    async fn explain(&self, query: &ObservedQuery) -> Result<QueryPlan, DatabaseError> {
        let statement =
            parse(&query.text, Engine::Sqlite).map_err(|reason| DatabaseError::NotExplainable { reason })?;
        let steps = self.pool.explain(&query.text).await?;
        let catalogue = catalogue(&self.pool).await?;
        Ok(plan_of(query, &steps, &read(&statement, &catalogue), &catalogue))
    }

    async fn statistics(&self, plan: &QueryPlan) -> Result<TableStatistics, DatabaseError> {
        let mut statistics = catalogue(&self.pool).await?.statistics();
        let named: Vec<_> = plan.nodes().into_iter().filter_map(|node| node.relation.clone()).collect();
        statistics.tables.retain(|table, _| named.contains(table));
        Ok(statistics)
    }

    fn diagnose(&self, plan: &QueryPlan, statistics: &TableStatistics) -> Vec<Finding> {
        let reading = parse(&plan.text, Engine::Sqlite).map(|it| read(&it, &Catalogue::default()));
        rules::diagnose(plan, statistics, &reading.unwrap_or_default())
    }
}

/// A plan whose tables are named as the schema names them.
pub(crate) fn plan_of(
    query: &ObservedQuery,
    steps: &[SqliteStep],
    reading: &Reading,
    catalogue: &Catalogue,
) -> QueryPlan {
    let table_of = |called: &str| {
        let named = reading.uses.iter().find(|table| table.called == called).map(|table| table.table.clone());
        named.or_else(|| catalogue.find(called).map(|table| table.name.clone()))
    };
    QueryPlan::new(query, from_sqlite(steps, &table_of))
}
