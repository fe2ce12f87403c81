//! The contract of [`QueryOptimizer`].

use std::time::Duration;

use crate::{DatabaseError, Fingerprint, ObservedQuery, QueryOptimizer, Window};

/// Puts an optimizer through its contract.
///
/// `select` is a statement whose plan has a finding, such as a filter on a column without an index in a table of more
/// than 10,000 rows; `delete` is one that would change rows if it were run. That it was not run is for the caller to
/// see.
///
/// # Panics
/// If a sentence of the contract does not hold.
pub async fn query_optimizer<O: QueryOptimizer>(optimizer: O, select: &str, delete: &str) {
    for text in ["DROP TABLE t", "SELECT 1; SELECT 2", "this is no statement", ""] {
        let refused = optimizer.explain(&observed(text)).await;
        assert!(matches!(refused, Err(DatabaseError::NotExplainable { .. })), "1: {text:?}: {refused:?}");
    }
    let explained = optimizer.explain(&observed(delete)).await;
    assert!(
        explained.is_ok(),
        "1: a statement that writes can be explained without running it: {explained:?}"
    );

    let plan = match optimizer.explain(&observed(select)).await {
        Ok(plan) => plan,
        Err(error) => panic!("the statement cannot be explained: {error}"),
    };
    let statistics = match optimizer.statistics(&plan).await {
        Ok(statistics) => statistics,
        Err(error) => panic!("the tables of a plan are not known: {error}"),
    };
    let findings = optimizer.diagnose(&plan, &statistics);
    assert!(!findings.is_empty(), "2: nothing was found in {plan:?} with {statistics:?}");
    let complete = findings.iter().all(|finding| !finding.evidence.is_empty() && !finding.action.is_empty());
    assert!(complete, "2: a finding has no evidence or no action: {findings:?}");
    assert_eq!(findings, optimizer.diagnose(&plan, &statistics), "the same plan, other findings");

    match optimizer.workload(&Window::All).await {
        Ok(workload) => {
            let sorted = workload.queries.is_sorted_by(|a, b| a.total >= b.total);
            assert!(sorted, "the costliest statement is not first: {workload:?}");
            assert!(optimizer.slow_queries(&workload, 1).len() <= 1, "more statements than were asked for");
            assert!(
                optimizer.regressions(&workload, &workload).is_empty(),
                "nothing became slower than itself"
            );
        }
        Err(error) => panic!("there is no workload: {error}"),
    }
}

fn observed(text: &str) -> ObservedQuery {
    ObservedQuery::new(Fingerprint::new(1), text, 100, Duration::from_secs(1))
}
