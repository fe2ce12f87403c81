//! The handle of one transcription that goes on: its progress, its cancel, its result.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use wavequill_processing::{Progress, ProgressWatch, Transcript};
use wavequill_queue::JobId;

use crate::WavequillError;
use crate::live_run::LiveRun;
use crate::wavequill::Shared;

/// A transcription that goes on, in this process or another one that shares the store.
///
/// Awaiting it gives the transcript. Dropping it changes nothing: a job is finished all the same.
#[derive(Debug)]
pub struct Transcription {
    shared: Arc<Shared>,
    work: Work,
    run: Arc<LiveRun>,
    watch: ProgressWatch,
}

/// What the handle stands for.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// A stored job.
    Job(JobId),
    /// A run of this process alone.
    Here,
}

impl Transcription {
    pub(crate) fn new(shared: Arc<Shared>, work: Work, run: Arc<LiveRun>) -> Self {
        let watch = run.progress().watch();
        Self { shared, work, run, watch }
    }

    /// The stored job; `None` for a recording that is not a file.
    pub fn job(&self) -> Option<JobId> {
        match self.work {
            Work::Job(job) => Some(job),
            Work::Here => None,
        }
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.run.progress().latest()
    }

    /// Waits until there is news, and says how far it is then; `None` once it has ended. While a job runs in another process,
    /// its end is the only news.
    ///
    /// # Cancellation
    /// Safe: no news is lost, the latest counts.
    pub async fn changed(&mut self) -> Option<Progress> {
        let ended = async {
            match self.work {
                // What keeps the end from being seen is told by `result`.
                Work::Job(job) => drop(self.shared.queue().wait(job).await),
                Work::Here => drop(self.run.ended().await),
            }
        };
        tokio::select! {
            biased;
            () = ended => None,
            seen = self.watch.changed() => seen,
        }
    }

    /// Waits until it has ended, well or badly; [`result`](Self::result) then says how at once.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    pub async fn ended(&self) {
        match self.work {
            // What keeps the end from being seen is told by `result`.
            Work::Job(job) => drop(self.shared.queue().wait(job).await),
            Work::Here => drop(self.run.ended().await),
        }
    }

    /// Ends it for every handle of the same job: nothing more is sent, requests in flight are dropped. What was heard is kept; to transcribe the same file
    /// again goes on where this was.
    ///
    /// # Errors
    /// [`WavequillError::Queue`] if the store cannot be told; it has stopped in this process all the same.
    pub async fn cancel(&self) -> Result<(), WavequillError> {
        self.run.cancel();
        if let Work::Job(job) = self.work {
            self.shared.queue().cancel(job).await?;
        }
        Ok(())
    }

    /// Waits for the transcript.
    ///
    /// # Errors
    /// [`WavequillError::Incomplete`] if some of it could not be transcribed and gaps were not allowed; otherwise what it
    /// failed with.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing: a job is finished all the same.
    pub async fn result(self) -> Result<Arc<Transcript>, WavequillError> {
        match self.work {
            Work::Job(job) => self.shared.end_of(job, &self.run).await,
            Work::Here => self.run.ended().await,
        }
    }
}

impl IntoFuture for Transcription {
    type Output = Result<Arc<Transcript>, WavequillError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.result())
    }
}
