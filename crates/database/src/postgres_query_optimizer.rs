//! The optimizer for PostgreSQL: statements from `pg_stat_statements`, or the pool's own recording where the extension
//! is missing; plans from `EXPLAIN`, which runs nothing.
//!
//! Today it judges plans by the planner's estimates: measured runs are not looked at yet.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use crate::adapters::postgres::{PlanSession, catalogue};
use crate::engine::catalogue::Catalogue;
use crate::engine::sql_text::{Engine, is_about_the_catalogue, parse, read};
use crate::engine::{plan_reader, row_by_row, rules};
use crate::{
    DatabaseError, Finding, Fingerprint, ObservedQuery, PostgresPool, QueryOptimizer, QueryPlan,
    TableStatistics, Window, Workload, WorkloadSource,
};

/// Finds the statements of a PostgreSQL database that cost most, and says why.
///
/// ```no_run
/// use wavequill_database::{PostgresPool, PostgresQueryOptimizer, QueryOptimizer, Window};
///
/// # async fn report(pool: PostgresPool) -> Result<(), Box<dyn std::error::Error>> {
/// let report = PostgresQueryOptimizer::new(pool).report(&Window::All, 10).await?;
/// for finding in report.findings {
///     eprintln!("{}: {}; {}", finding.node, finding.evidence, finding.action);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct PostgresQueryOptimizer {
    pool: PostgresPool,
}

/// Statements of this database that pg_stat_statements knows, as far as this role may see them.
const STATEMENTS: &str = "
SELECT json_build_object('text', query, 'calls', calls, 'total_ms', total_exec_time, 'max_ms', max_exec_time,
                         'rows', rows)::text
       AS json
FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid AND d.datname = current_database()
WHERE query <> '<insufficient privilege>' AND toplevel
ORDER BY total_exec_time DESC LIMIT 1000";

const HIDDEN: &str = "
SELECT count(*)::text AS json FROM pg_stat_statements s
JOIN pg_database d ON d.oid = s.dbid AND d.datname = current_database()
WHERE query = '<insufficient privilege>'";

const HAS_EXTENSION: &str =
    "SELECT count(*)::text AS json FROM pg_extension WHERE extname = 'pg_stat_statements'";

impl PostgresQueryOptimizer {
    /// Looks at the database that the pool is connected to.
    pub fn new(pool: PostgresPool) -> Self {
        Self { pool }
    }

    async fn look(&self, session: &mut PlanSession) -> Result<Workload, DatabaseError> {
        let known = session.json(HAS_EXTENSION).await?.first().and_then(Value::as_u64).unwrap_or(0);
        let mut workload = if known == 0 {
            let mut own = self.pool.recorded();
            own.notes.push(
                "only this process's statements are known; for all clients': CREATE EXTENSION pg_stat_statements, \
                 and shared_preload_libraries = 'pg_stat_statements'"
                    .to_owned(),
            );
            own
        } else {
            self.of_the_server(session).await?
        };
        workload.writes = catalogue(session).await?.writes();
        Ok(workload)
    }

    async fn of_the_server(&self, session: &mut PlanSession) -> Result<Workload, DatabaseError> {
        let rows = session.json(STATEMENTS).await?;
        let (own, queries): (Vec<_>, Vec<_>) = rows
            .iter()
            .filter_map(observed)
            .partition(|query| is_about_the_catalogue(&query.text, Engine::Postgres));
        let mut workload = Workload::new(WorkloadSource::PgStatStatements, queries);
        if !own.is_empty() {
            workload.notes.push(format!("{} statements about the catalogue were left out", own.len()));
        }
        // The server does not know who called; the pool does, for the statements that went through it.
        let recorded = self.pool.recorded();
        let repeats: HashMap<&str, u32> =
            recorded.queries.iter().filter_map(|query| Some((query.text.as_str(), query.repeats?))).collect();
        for query in &mut workload.queries {
            query.repeats = repeats.get(query.text.as_str()).copied();
        }
        let hidden = session.json(HIDDEN).await?.first().and_then(Value::as_u64).unwrap_or(0);
        if hidden > 0 {
            let role = "GRANT pg_read_all_stats TO this role";
            workload
                .notes
                .push(format!("{hidden} statements of other roles are hidden; to see them: {role}"));
        }
        Ok(workload)
    }
}

/// A row of pg_stat_statements, unless it is about transactions or settings.
fn observed(row: &Value) -> Option<ObservedQuery> {
    let text = row.get("text")?.as_str()?;
    let ms = |key: &str| row.get(key).and_then(Value::as_f64).unwrap_or(0.0).max(0.0);
    let first = text.split_whitespace().next()?.to_uppercase();
    if !["SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "VALUES", "TABLE", "MERGE"].contains(&first.as_str())
    {
        return None;
    }
    let fingerprint = Fingerprint::new(xxh3_64(text.as_bytes()));
    let total = Duration::from_secs_f64(ms("total_ms") / 1_000.0);
    let max = Duration::from_secs_f64(ms("max_ms") / 1_000.0);
    let rows = row.get("rows").and_then(Value::as_u64);
    let calls = row.get("calls")?.as_u64()?;
    Some(ObservedQuery { max, rows, ..ObservedQuery::new(fingerprint, text, calls, total) })
}

#[async_trait]
impl QueryOptimizer for PostgresQueryOptimizer {
    async fn workload(&self, window: &Window) -> Result<Workload, DatabaseError> {
        let mut session = self.pool.plan_session("workload").await?;
        let workload = self.look(&mut session).await?;
        session.end().await?;
        Ok(window.cut(workload))
    }

    async fn patterns(&self, workload: &Workload) -> Result<Vec<Finding>, DatabaseError> {
        let mut session = self.pool.plan_session("statement patterns").await?;
        let catalogue = catalogue(&mut session).await?;
        session.end().await?;
        Ok(row_by_row::find(workload, &catalogue, Engine::Postgres))
    }

    async fn explain(&self, query: &ObservedQuery) -> Result<QueryPlan, DatabaseError> {
        parse(&query.text, Engine::Postgres).map_err(|reason| DatabaseError::NotExplainable { reason })?;
        let mut session = self.pool.plan_session("explain").await?;
        let plan = explain_in(&mut session, query).await;
        session.end().await?;
        plan
    }

    async fn statistics(&self, plan: &QueryPlan) -> Result<TableStatistics, DatabaseError> {
        let mut session = self.pool.plan_session("statistics").await?;
        let catalogue = catalogue(&mut session).await?;
        session.end().await?;
        let mut statistics = catalogue.statistics();
        let named: Vec<_> = plan.nodes().into_iter().filter_map(|node| node.relation.clone()).collect();
        statistics.tables.retain(|table, _| named.contains(table));
        Ok(statistics)
    }

    fn diagnose(&self, plan: &QueryPlan, statistics: &TableStatistics) -> Vec<Finding> {
        let reading = parse(&plan.text, Engine::Postgres).map(|it| read(&it, &Catalogue::default()));
        rules::diagnose(plan, statistics, &reading.unwrap_or_default())
    }
}

/// The plan of a statement, with whatever hypothetical indexes the session has.
pub(crate) async fn explain_in(
    session: &mut PlanSession,
    query: &ObservedQuery,
) -> Result<QueryPlan, DatabaseError> {
    let explained = session.explain(&query.text).await?;
    let root = plan_reader::from_postgres(&explained)
        .ok_or_else(|| DatabaseError::NotExplainable { reason: "the plan has no steps".to_owned() })?;
    Ok(QueryPlan::new(query, root))
}
