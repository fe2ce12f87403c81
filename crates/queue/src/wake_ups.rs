//! Hints from a store to those who wait for a change. They may be lost or doubled: who waits polls too.

use tokio::sync::{broadcast, watch};

use crate::JobId;

/// How many ended jobs a slow listener may fall behind before it has to look for itself.
const ENDED_BACKLOG: usize = 1_024;

/// The side of a store.
#[derive(Debug)]
pub(crate) struct Hints {
    ready: watch::Sender<u64>,
    cancel: watch::Sender<u64>,
    ended: broadcast::Sender<Option<JobId>>,
}

impl Hints {
    pub(crate) fn new() -> Self {
        Self {
            ready: watch::Sender::new(0),
            cancel: watch::Sender::new(0),
            ended: broadcast::Sender::new(ENDED_BACKLOG),
        }
    }

    /// Jobs may be claimable that were not.
    pub(crate) fn ready(&self) {
        self.ready.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// A running job is to be cancelled.
    pub(crate) fn cancel(&self) {
        self.cancel.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// A job has ended.
    pub(crate) fn ended(&self, job: JobId) {
        // An error says that nobody listens.
        let _ = self.ended.send(Some(job));
    }

    /// Some jobs have ended: who waits for one has to look.
    #[cfg(feature = "postgres")]
    pub(crate) fn some_ended(&self) {
        // An error says that nobody listens.
        let _ = self.ended.send(None);
    }

    pub(crate) fn subscribe(&self) -> WakeUps {
        WakeUps {
            ready: self.ready.subscribe(),
            cancel: self.cancel.subscribe(),
            ended: self.ended.subscribe(),
        }
    }
}

/// Hints of what changed since this was made. For those who write a store: [`WakeUps::silent`] gives none.
#[derive(Debug)]
pub struct WakeUps {
    ready: watch::Receiver<u64>,
    cancel: watch::Receiver<u64>,
    ended: broadcast::Receiver<Option<JobId>>,
}

impl WakeUps {
    /// Never a hint: everything is found by polling.
    pub fn silent() -> Self {
        Hints::new().subscribe()
    }

    /// Waits until jobs may be claimable that were not.
    ///
    /// # Cancellation
    /// Safe: no hint is lost.
    pub async fn ready(&mut self) {
        if self.ready.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until a running job may have to be cancelled.
    ///
    /// # Cancellation
    /// Safe: no hint is lost.
    pub async fn cancel(&mut self) {
        if self.cancel.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until this job may have ended.
    ///
    /// # Cancellation
    /// Safe: no hint is lost.
    pub async fn ended(&mut self, job: JobId) {
        loop {
            match self.ended.recv().await {
                Ok(ended) if ended.is_none_or(|ended| ended == job) => return,
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => return,
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_hint_given_before_the_wait_is_not_lost_and_one_of_another_job_is_not_taken() {
        let hints = Hints::new();
        let mut wake_ups = hints.subscribe();
        hints.ready();
        assert!(wake_ups.ready().now_or_never().is_some());
        assert!(wake_ups.ready().now_or_never().is_none());
        hints.ended(JobId::new(7));
        assert!(wake_ups.ended(JobId::new(8)).now_or_never().is_none());
        hints.ended(JobId::new(8));
        assert!(wake_ups.ended(JobId::new(8)).now_or_never().is_some());
    }
}
