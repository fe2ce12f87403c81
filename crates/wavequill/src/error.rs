//! What can go wrong with a transcription, in the words of the context that it went wrong in.

use std::sync::Arc;

use wavequill_caching::CacheError;
use wavequill_database::DatabaseError;
use wavequill_external::ExternalError;
use wavequill_kernel::{ErrorClass, InvalidValue, Retryable};
use wavequill_monitoring::MonitoringError;
use wavequill_processing::{ProcessingError, Transcript};
use wavequill_queue::QueueError;

/// What can go wrong with a transcription.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WavequillError {
    /// A setting was refused.
    #[error("a setting was refused")]
    InvalidConfig {
        /// Which one, and what would do.
        #[source]
        source: InvalidValue,
    },
    /// The folder of the store cannot be made or used.
    #[error("cannot use the store in {path}: name a folder that may be written to")]
    Store {
        /// Which folder.
        path: String,
        /// Why.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The recording could not be opened, cut, recognised or joined.
    #[error(transparent)]
    Processing {
        /// What went wrong.
        source: ProcessingError,
    },
    /// The speech API's client was refused its configuration, or is closed.
    #[error(transparent)]
    External {
        /// What went wrong.
        source: ExternalError,
    },
    /// The cache failed.
    #[error(transparent)]
    Cache {
        /// What went wrong.
        source: CacheError,
    },
    /// The queue failed.
    #[error(transparent)]
    Queue {
        /// What went wrong.
        source: QueueError,
    },
    /// The database failed.
    #[error(transparent)]
    Database {
        /// What went wrong.
        source: DatabaseError,
    },
    /// The metrics could not be added up.
    #[error(transparent)]
    Monitoring {
        /// What went wrong.
        source: MonitoringError,
    },
    /// Some of the recording could not be transcribed, and gaps were not allowed. What was heard is kept: to ask again sends
    /// only the rest.
    #[error("{} could not be transcribed; allow gaps to take the rest", ranges(transcript))]
    Incomplete {
        /// What was heard, with the gaps.
        transcript: Arc<Transcript>,
    },
    /// It was cancelled. What was heard is kept: to ask again sends only the rest.
    #[error("it was cancelled; start it again to go on where it was")]
    Cancelled,
    /// The job was given up, in this process or in another one that shares the store.
    #[error("the job was given up: {reason}")]
    GivenUp {
        /// What its last attempt failed with.
        reason: String,
    },
    /// The service was shut down before the transcript was there. The job goes on at the next start.
    #[error("the service was shut down; the job goes on when it is started again")]
    ShutDown,
}

/// The gaps as people read them: `0:00-0:12, 1:03:10-1:03:44`.
fn ranges(transcript: &Transcript) -> String {
    let clock = |at| {
        let seconds = transcript.time_of(at).as_secs();
        let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        if hours > 0 {
            format!("{hours}:{minutes:02}:{seconds:02}")
        } else {
            format!("{minutes}:{seconds:02}")
        }
    };
    let ranges: Vec<String> = transcript
        .gaps
        .iter()
        .map(|gap| format!("{}-{} ({})", clock(gap.span.start()), clock(gap.span.end()), gap.cause))
        .collect();
    ranges.join(", ")
}

impl Retryable for WavequillError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::InvalidConfig { .. } | Self::GivenUp { .. } => ErrorClass::Permanent,
            Self::Incomplete { .. } => ErrorClass::Exhausted,
            Self::Store { .. } | Self::Cancelled | Self::ShutDown => ErrorClass::Transient,
            Self::Processing { source } => source.class(),
            Self::External { source } => source.class(),
            Self::Cache { source } => source.class(),
            Self::Queue { source } => source.class(),
            Self::Database { source } => source.class(),
            Self::Monitoring { source } => source.class(),
        }
    }
}

macro_rules! from_context {
    ($($variant:ident($error:ty)),* $(,)?) => {$(
        impl From<$error> for WavequillError {
            fn from(source: $error) -> Self {
                Self::$variant { source }
            }
        }
    )*};
}

from_context! {
    InvalidConfig(InvalidValue),
    Processing(ProcessingError),
    External(ExternalError),
    Cache(CacheError),
    Queue(QueueError),
    Database(DatabaseError),
    Monitoring(MonitoringError),
}

#[cfg(test)]
mod tests {
    use wavequill_processing::{Gap, GapCause, SampleIndex, SampleRate, SampleSpan};

    use super::*;

    #[test]
    fn missing_ranges_are_named_as_people_read_time() {
        let rate = SampleRate::new(8_000).unwrap();
        let at = |seconds: u64| SampleIndex::new(seconds * 8_000);
        let gap = |from, to| Gap { span: SampleSpan::new(at(from), at(to)), cause: GapCause::Failed };
        let transcript = Transcript {
            text: String::new(),
            language: None,
            rate,
            span: SampleSpan::of_file(8_000 * 4_000),
            words: Vec::new(),
            segments: Vec::new(),
            gaps: vec![gap(0, 12), gap(3_790, 3_824)],
            warnings: Vec::new(),
            reused: std::time::Duration::ZERO,
            chunks: 3,
            costs: wavequill_processing::RunCosts::default(),
        };
        let error = WavequillError::Incomplete { transcript: Arc::new(transcript) };
        assert_eq!(
            error.to_string(),
            "0:00-0:12 (failed), 1:03:10-1:03:44 (failed) could not be transcribed; allow gaps to take the rest"
        );
    }
}
