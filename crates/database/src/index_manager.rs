//! The role of an index manager.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    ApplyReport, ApprovedPlan, DatabaseError, IndexBudget, IndexFinding, IndexPlan, RecoveryReport,
    TableScope, Verdict, Workload,
};

/// Finds indexes that do not earn their place, proposes those that would, and changes them when it is told to.
///
/// # Contract
/// 1. `audit` and `propose` change nothing; the same input gives the same plan.
/// 2. Proposals come best first, so that any prefix of a plan is a plan; together they stay within the budget.
/// 3. `apply` runs the approved statements and no others, and only if the indexes are as they were when the plan was
///    made.
/// 4. After any end of `apply`, `recover` leaves no invalid index of ours, and touches none of others.
/// 5. No statement of others waits for us longer than the lock time-out.
/// 6. `verify` takes back what saves less than half of what was predicted.
/// 7. What a constraint, a foreign key or replication needs is never proposed to be dropped.
#[async_trait]
pub trait IndexManager: Debug + Send + Sync + 'static {
    /// The indexes that do not earn their place.
    ///
    /// # Errors
    /// What the database refused, or the pool.
    async fn audit(&self, scope: &TableScope) -> Result<Vec<IndexFinding>, DatabaseError>;

    /// Indexes that would make the workload cheaper, best first.
    ///
    /// # Errors
    /// What the database refused, or the pool.
    async fn propose(&self, workload: &Workload, budget: &IndexBudget) -> Result<IndexPlan, DatabaseError>;

    /// Makes the approved changes, one after the other, and stops at the first that fails.
    ///
    /// # Errors
    /// [`DatabaseError::StalePlan`] and [`DatabaseError::NotSafe`], with nothing done; a change that fails is in the
    /// report.
    async fn apply(&self, plan: &ApprovedPlan) -> Result<ApplyReport, DatabaseError>;

    /// Looks whether applied changes help, by a workload that came after them, and takes back what does not.
    ///
    /// # Errors
    /// What the database refused, or the pool.
    async fn verify(&self, applied: &ApplyReport, since: &Workload) -> Result<Vec<Verdict>, DatabaseError>;

    /// Cleans up after changes that did not end.
    ///
    /// # Errors
    /// What the database refused, or the pool.
    async fn recover(&self) -> Result<RecoveryReport, DatabaseError>;
}

macro_rules! forward {
    ($pointer:ident) => {
        #[async_trait]
        impl<T: IndexManager + ?Sized> IndexManager for $pointer<T> {
            async fn audit(&self, scope: &TableScope) -> Result<Vec<IndexFinding>, DatabaseError> {
                (**self).audit(scope).await
            }

            async fn propose(
                &self,
                workload: &Workload,
                budget: &IndexBudget,
            ) -> Result<IndexPlan, DatabaseError> {
                (**self).propose(workload, budget).await
            }

            async fn apply(&self, plan: &ApprovedPlan) -> Result<ApplyReport, DatabaseError> {
                (**self).apply(plan).await
            }

            async fn verify(
                &self,
                applied: &ApplyReport,
                since: &Workload,
            ) -> Result<Vec<Verdict>, DatabaseError> {
                (**self).verify(applied, since).await
            }

            async fn recover(&self) -> Result<RecoveryReport, DatabaseError> {
                (**self).recover().await
            }
        }
    };
}

forward!(Arc);
forward!(Box);
