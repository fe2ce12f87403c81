//! What a handler's end means, given what it was told: pure.

use std::time::Duration;

use crate::handler::{FailureKind, HandlerEnd};
use crate::{FailureCause, Json, StopReason};

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Conclusion {
    Completed { result: Option<Json> },
    Failed { cause: FailureCause, retry_after: Option<Duration>, message: String },
    Snoozed { after: Duration },
    Cancelled,
    LeaseLost,
}

pub(super) fn conclude(end: HandlerEnd, stop: Option<StopReason>, limit: Duration) -> Conclusion {
    let failed = |cause, message| Conclusion::Failed { cause, retry_after: None, message };
    match (end, stop) {
        (_, Some(StopReason::LeaseLost)) => Conclusion::LeaseLost,
        // What is done is done, also if it was to be stopped.
        (HandlerEnd::Done(result), _) => Conclusion::Completed { result },
        (_, Some(StopReason::Cancelled)) => Conclusion::Cancelled,
        (HandlerEnd::Panicked(message), _) => failed(FailureCause::Panicked, message),
        (_, Some(StopReason::TimedOut)) => {
            failed(FailureCause::TimedOut, format!("it took longer than {limit:?}"))
        }
        (HandlerEnd::Failed(failure), stop) => match (failure.kind, stop) {
            (FailureKind::Failed { cause: FailureCause::Permanent, .. }, _) => {
                failed(FailureCause::Permanent, failure.message)
            }
            // Whatever else fails while the worker shuts down may have failed because of that.
            (_, Some(StopReason::Shutdown)) => failed(FailureCause::Interrupted, failure.message),
            (FailureKind::Failed { cause, retry_after }, _) => {
                Conclusion::Failed { cause, retry_after, message: failure.message }
            }
            (FailureKind::Snooze { after }, _) => Conclusion::Snoozed { after },
            (FailureKind::Cancelled, _) => Conclusion::Cancelled,
        },
        (HandlerEnd::Dropped, _) => {
            failed(FailureCause::Interrupted, "the worker was shut down while it ran".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JobFailure;

    const LIMIT: Duration = Duration::from_secs(9);

    fn cause(conclusion: &Conclusion) -> Option<FailureCause> {
        match conclusion {
            Conclusion::Failed { cause, .. } => Some(*cause),
            _ => None,
        }
    }

    #[test]
    fn what_is_done_counts_unless_the_lease_is_lost() {
        for stop in
            [None, Some(StopReason::Cancelled), Some(StopReason::TimedOut), Some(StopReason::Shutdown)]
        {
            let conclusion = conclude(HandlerEnd::Done(None), stop, LIMIT);
            assert_eq!(conclusion, Conclusion::Completed { result: None });
        }
        let lost = conclude(HandlerEnd::Done(None), Some(StopReason::LeaseLost), LIMIT);
        assert_eq!(lost, Conclusion::LeaseLost);
    }

    #[test]
    fn a_failure_during_a_shutdown_is_an_interruption_unless_it_is_permanent() {
        let failed = |failure| conclude(HandlerEnd::Failed(failure), Some(StopReason::Shutdown), LIMIT);
        assert_eq!(cause(&failed(JobFailure::transient("x"))), Some(FailureCause::Interrupted));
        assert_eq!(cause(&failed(JobFailure::cancelled())), Some(FailureCause::Interrupted));
        assert_eq!(cause(&failed(JobFailure::permanent("x"))), Some(FailureCause::Permanent));
    }

    #[test]
    fn a_handler_that_does_not_stop_is_judged_by_why_it_should_have() {
        let dropped = |stop| conclude(HandlerEnd::Dropped, Some(stop), LIMIT);
        assert_eq!(dropped(StopReason::Cancelled), Conclusion::Cancelled);
        assert_eq!(cause(&dropped(StopReason::TimedOut)), Some(FailureCause::TimedOut));
        assert_eq!(cause(&dropped(StopReason::Shutdown)), Some(FailureCause::Interrupted));
    }
}
