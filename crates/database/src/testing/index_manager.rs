//! The contract of [`IndexManager`].

use crate::{DatabaseError, IndexBudget, IndexManager, TableScope, VerdictOutcome, Workload};

/// Puts a manager through its contract, with a workload that at least one index would make cheaper.
///
/// # Panics
/// If a sentence of the contract does not hold.
pub async fn index_manager<M: IndexManager>(manager: M, workload: &Workload) {
    let before = expect("audit", manager.audit(&TableScope::All).await);
    let plan = expect("propose", manager.propose(workload, &IndexBudget::default()).await);
    let again = expect("propose", manager.propose(workload, &IndexBudget::default()).await);
    assert_eq!(plan, again, "1: the same input, another plan");
    assert_eq!(
        before,
        expect("audit", manager.audit(&TableScope::All).await),
        "1: to propose has changed something"
    );
    let Some(first) = plan.changes.first() else { panic!("nothing was proposed: {plan:?}") };
    assert!(
        plan.changes.iter().all(|change| change.saving <= first.saving + 0.5),
        "2: the best is not first"
    );
    let none = expect("propose", manager.propose(workload, &IndexBudget::default().with_bytes(0)).await);
    assert!(
        none.changes.iter().all(|change| change.bytes == 0),
        "2: the budget of bytes was exceeded: {none:?}"
    );

    let approved = expect("approve", plan.approve(&[first.id]));
    let report = expect("apply", manager.apply(&approved).await);
    assert!(report.failed.is_none(), "3: {report:?}");
    assert_eq!(report.applied.len(), 1, "3: one change was approved: {report:?}");
    let stale = manager.apply(&approved).await;
    assert!(matches!(stale, Err(DatabaseError::StalePlan)), "3: an old plan was applied: {stale:?}");
    let later = expect("propose", manager.propose(workload, &IndexBudget::default()).await);
    assert!(
        later.changes.iter().all(|change| change.index != first.index),
        "what is there was proposed again"
    );

    let nothing_since = Workload::of(Vec::new());
    let verdicts = expect("verify", manager.verify(&report, &nothing_since).await);
    let early = verdicts.iter().all(|verdict| verdict.outcome == VerdictOutcome::TooEarly);
    assert!(early, "6: a change was judged that nobody has used: {verdicts:?}");
    let recovered = expect("recover", manager.recover().await);
    assert!(recovered.dropped.is_empty(), "4: an index that is well was dropped: {recovered:?}");
}

fn expect<T>(step: &str, result: Result<T, DatabaseError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{step} failed: {error}"),
    }
}
