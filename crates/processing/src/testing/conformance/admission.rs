//! The contract of [`Admission`].

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::{Admission, AttemptOutcome, AttemptSeen, ByteSize, Permit};

const AUDIO: Duration = Duration::from_secs(60);
const BYTES: ByteSize = ByteSize::new(960_000);

/// Puts an admission through its contract, in paused time. It has to be new, and nobody else may use it.
///
/// # Panics
/// If a sentence is broken.
pub async fn admission(admission: &dyn Admission) {
    let limit = admission.limit();
    assert!(limit >= 1, "1: at least one request may be made");
    let mut permits: Vec<Permit> = Vec::new();
    while let Some(permit) = admission.try_admit(AUDIO, BYTES) {
        permits.push(permit);
        assert!(permits.len() <= limit, "1: there are more permits than the limit of {limit}");
    }
    assert_eq!(permits.len(), limit, "1: as many permits as the limit says can be had");
    let waits = timeout(Duration::from_millis(1), admission.admit(AUDIO, BYTES)).await;
    assert!(waits.is_err(), "1: one more has to wait");
    permits.pop();
    let next = timeout(Duration::from_secs(1), admission.admit(AUDIO, BYTES)).await;
    assert!(next.is_ok_and(|admitted| admitted.is_ok()), "3: a permit that is given back can be had again");
    drop(permits);
    pauses(admission).await;
    let hour = admission.expected(Duration::from_secs(3_600));
    assert!(admission.expected(AUDIO) > Duration::ZERO, "a request takes some time");
    assert!(hour >= admission.expected(AUDIO), "more audio does not take less time");
}

async fn pauses(admission: &dyn Admission) {
    let asked = Duration::from_secs(5);
    let outcome = AttemptOutcome::Throttled { retry_after: Some(asked) };
    admission.observe(&AttemptSeen { audio: AUDIO, elapsed: Duration::ZERO, outcome });
    assert!(admission.try_admit(AUDIO, BYTES).is_none(), "4: nobody is admitted during a pause");
    let start = Instant::now();
    let admitted = timeout(Duration::from_secs(60), admission.admit(AUDIO, BYTES)).await;
    assert!(admitted.is_ok_and(|admitted| admitted.is_ok()), "4: a pause ends");
    assert!(start.elapsed() >= asked, "4: not before the time that the server asked for is over");
}
