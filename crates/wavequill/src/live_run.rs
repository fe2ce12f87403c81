//! What one run of this process tells those who hold its handle.

use std::sync::Arc;

use tokio::sync::watch;
use wavequill_processing::{Progress, ProgressSender, ProgressWatch, Transcript};

use crate::WavequillError;

/// How a run ended.
pub(crate) type Outcome = Result<Arc<Transcript>, WavequillError>;

/// A run that may not have begun, goes on, or has ended.
#[derive(Debug)]
pub(crate) struct LiveRun {
    progress: ProgressSender,
    outcome: watch::Sender<Option<Outcome>>,
    cancelled: watch::Sender<Cancelled>,
}

/// Ends a run as shut down if nothing else has ended it: its task was aborted, or panicked.
#[derive(Debug)]
pub(crate) struct EndGuard(pub(crate) Arc<LiveRun>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        if self.0.outcome().is_none() {
            self.0.end(Err(WavequillError::ShutDown));
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cancelled {
    No,
    Yes,
}

impl LiveRun {
    pub(crate) fn new() -> Arc<Self> {
        let (progress, _) = ProgressWatch::channel();
        let (outcome, cancelled) = (watch::Sender::new(None), watch::Sender::new(Cancelled::No));
        Arc::new(Self { progress, outcome, cancelled })
    }

    pub(crate) fn progress(&self) -> &ProgressSender {
        &self.progress
    }

    pub(crate) fn show(&self, progress: Progress) {
        self.progress.modify(|shown| *shown = progress);
    }

    /// The job is tried again: what it failed with before counts no more.
    pub(crate) fn begin(&self) {
        self.outcome.send_replace(None);
    }

    pub(crate) fn end(&self, outcome: Outcome) {
        self.outcome.send_replace(Some(outcome));
    }

    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.outcome.borrow().clone()
    }

    /// Waits for the end of a run of this process.
    pub(crate) async fn ended(&self) -> Outcome {
        let mut outcome = self.outcome.subscribe();
        match outcome.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone().unwrap_or(Err(WavequillError::ShutDown)),
            Err(_) => Err(WavequillError::ShutDown),
        }
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.send_replace(Cancelled::Yes);
    }

    /// Waits until the holder of a handle cancels it.
    pub(crate) async fn cancelled(&self) {
        let mut cancelled = self.cancelled.subscribe();
        if cancelled.wait_for(|cancelled| *cancelled == Cancelled::Yes).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
