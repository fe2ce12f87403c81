//! queue's `JobHandler` over the processing of one file.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use wavequill_processing::{AudioSource, FileAudioSource, ProcessingError};
use wavequill_queue::{JobContext, JobFailure, JobHandler, StopReason};

use crate::live_run::{LiveRun, Outcome};
use crate::wavequill::Shared;
use crate::{ParallelProcessingService, TranscribeOptions, WavequillError};

/// What a job of transcription is stored as.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FileJob {
    /// An absolute path.
    pub(crate) file: PathBuf,
    pub(crate) options: TranscribeOptions,
}

/// What a finished job tells those who wait in other processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FileDone {
    pub(crate) audio_seconds: f64,
    pub(crate) words: usize,
    pub(crate) gaps: usize,
}

/// Runs the jobs of one facade.
pub(crate) struct FileHandler {
    shared: Weak<Shared>,
}

impl FileHandler {
    pub(crate) fn new(shared: Weak<Shared>) -> Self {
        Self { shared }
    }
}

#[async_trait]
impl JobHandler<FileJob> for FileHandler {
    type Output = FileDone;

    async fn run(&self, job: FileJob, context: JobContext) -> Result<FileDone, JobFailure> {
        // The service must be free to go while its job runs: the worker, and so this future, goes with it.
        let (service, run) = match self.shared.upgrade() {
            Some(shared) => (shared.service().clone(), shared.run_of(context.id())),
            None => return Err(JobFailure::of(&WavequillError::ShutDown)),
        };
        run.begin();
        let outcome = tokio::select! {
            outcome = transcribe(&service, &job, &run) => outcome,
            reason = context.cancelled() => Err(match reason {
                StopReason::Cancelled => WavequillError::Cancelled,
                // The job runs again, here or elsewhere.
                _ => WavequillError::ShutDown,
            }),
        };
        let done = match &outcome {
            Ok(transcript) => Ok(FileDone {
                audio_seconds: transcript.duration().as_secs_f64(),
                words: transcript.words.len(),
                gaps: transcript.gaps.len(),
            }),
            Err(WavequillError::Cancelled | WavequillError::ShutDown) => Err(JobFailure::cancelled()),
            Err(error) => Err(JobFailure::of(error)),
        };
        run.end(outcome);
        done
    }
}

async fn transcribe(service: &ParallelProcessingService, job: &FileJob, run: &LiveRun) -> Outcome {
    let source = open(job.file.clone()).await?;
    service.process(source, &job.options, run).await
}

/// Opening a file may block, on a network drive for long.
pub(crate) async fn open(file: PathBuf) -> Result<Arc<dyn AudioSource>, WavequillError> {
    let opened = tokio::task::spawn_blocking(move || FileAudioSource::open(file)).await;
    match opened {
        Ok(source) => Ok(Arc::new(source?)),
        Err(error) => Err(ProcessingError::Panicked { what: error.to_string() }.into()),
    }
}
