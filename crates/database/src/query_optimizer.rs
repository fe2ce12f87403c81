//! The role of a query optimizer.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    DatabaseError, Finding, ObservedQuery, QueryPlan, QueryReport, Regression, TableStatistics, Window,
    Workload, regression,
};

/// Finds the statements that cost most, and says why.
///
/// # Contract
/// 1. It only reads the catalogue and asks for plans, read-only and within 5 s each: no statement that it looks at
///    is run.
/// 2. Each finding has its evidence and an action.
/// 3. What was left out, and why, is in the notes.
/// 4. No bound value is kept or shown.
#[async_trait]
pub trait QueryOptimizer: Debug + Send + Sync + 'static {
    /// The statements of a window with what they cost, and the writes by table.
    ///
    /// # Errors
    /// What the database refused, or the pool.
    async fn workload(&self, window: &Window) -> Result<Workload, DatabaseError>;

    /// How the database would run a statement.
    ///
    /// # Errors
    /// [`DatabaseError::NotExplainable`] for what is not one statement that reads or changes rows, or that the
    /// database cannot plan without values.
    async fn explain(&self, query: &ObservedQuery) -> Result<QueryPlan, DatabaseError>;

    /// What is known of the tables of a plan.
    ///
    /// # Errors
    /// What the database refused, or the pool.
    async fn statistics(&self, plan: &QueryPlan) -> Result<TableStatistics, DatabaseError>;

    /// What costs time in a plan, what matters most first.
    fn diagnose(&self, plan: &QueryPlan, statistics: &TableStatistics) -> Vec<Finding>;

    /// What shows only when statements are seen together: one that is asked for row by row of another one's result.
    ///
    /// # Errors
    /// What the database refused, or the pool.
    async fn patterns(&self, workload: &Workload) -> Result<Vec<Finding>, DatabaseError>;

    /// The statements that take most time in all, at most so many.
    fn slow_queries(&self, workload: &Workload, most: usize) -> Vec<ObservedQuery> {
        workload.queries.iter().take(most).cloned().collect()
    }

    /// The statements that have become slower, the most time lost first.
    fn regressions(&self, before: &Workload, after: &Workload) -> Vec<Regression> {
        regression::regressions(before, after)
    }

    /// The costliest statements of a window, at most so many, and what is wrong with their plans.
    ///
    /// # Errors
    /// As [`workload`](Self::workload); a statement that cannot be explained is a note.
    async fn report(&self, window: &Window, most: usize) -> Result<QueryReport, DatabaseError> {
        self.report_on(&self.workload(window).await?, most).await
    }

    /// The costliest statements of a workload, at most so many, and what is wrong with their plans.
    ///
    /// # Errors
    /// As [`workload`](Self::workload); a statement that cannot be explained is a note.
    async fn report_on(&self, workload: &Workload, most: usize) -> Result<QueryReport, DatabaseError> {
        let slow = self.slow_queries(workload, most);
        let (mut findings, mut notes) = (self.patterns(workload).await?, workload.notes.clone());
        for query in &slow {
            let plan = match self.explain(query).await {
                Ok(plan) => plan,
                Err(DatabaseError::NotExplainable { reason }) => {
                    notes.push(format!("{} was not explained: {reason}", query.fingerprint));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let statistics = self.statistics(&plan).await?;
            findings.extend(self.diagnose(&plan, &statistics));
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Ok(QueryReport { slow, findings, notes })
    }
}

macro_rules! forward {
    ($pointer:ident) => {
        #[async_trait]
        impl<T: QueryOptimizer + ?Sized> QueryOptimizer for $pointer<T> {
            async fn workload(&self, window: &Window) -> Result<Workload, DatabaseError> {
                (**self).workload(window).await
            }

            async fn explain(&self, query: &ObservedQuery) -> Result<QueryPlan, DatabaseError> {
                (**self).explain(query).await
            }

            async fn statistics(&self, plan: &QueryPlan) -> Result<TableStatistics, DatabaseError> {
                (**self).statistics(plan).await
            }

            fn diagnose(&self, plan: &QueryPlan, statistics: &TableStatistics) -> Vec<Finding> {
                (**self).diagnose(plan, statistics)
            }

            async fn patterns(&self, workload: &Workload) -> Result<Vec<Finding>, DatabaseError> {
                (**self).patterns(workload).await
            }

            fn slow_queries(&self, workload: &Workload, most: usize) -> Vec<ObservedQuery> {
                (**self).slow_queries(workload, most)
            }

            fn regressions(&self, before: &Workload, after: &Workload) -> Vec<Regression> {
                (**self).regressions(before, after)
            }

            async fn report(&self, window: &Window, most: usize) -> Result<QueryReport, DatabaseError> {
                (**self).report(window, most).await
            }

            async fn report_on(
                &self,
                workload: &Workload,
                most: usize,
            ) -> Result<QueryReport, DatabaseError> {
                (**self).report_on(workload, most).await
            }
        }
    };
}

forward!(Arc);
forward!(Box);
