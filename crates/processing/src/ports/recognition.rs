//! Who turns audio into text: one attempt at a time. Trying again is the orchestrator's business alone.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use wavequill_kernel::{ErrorClass, Retryable};

use crate::{AudioChunk, ByteSize, ChunkTranscript, Gap, Grant, ProcessingTask, RecognizerProfile};

/// Turns one chunk into text: a speech API, a local model.
///
/// # Cancellation
/// Dropping the future ends the attempt: the upload stops, and what it holds is given back.
///
/// # Contract
/// 1. One call is one attempt. It may send again what never reached the server, and nothing else.
/// 2. Times in the answer count from the first sample of the chunk that was sent.
/// 3. An error says by its class whether the same chunk may be tried again, and by its scope whether it is the chunk's
///    or everybody's.
/// 4. A chunk that is too long or too large gives an error for which [`RecognitionError::too_large`] is not `None`.
/// 5. The answer is whole or an error: never half a text.
#[async_trait]
pub trait SpeechRecognizer: Debug + Send + Sync + 'static {
    /// What it takes and gives.
    fn profile(&self) -> RecognizerProfile;

    /// Hears one chunk.
    ///
    /// # Errors
    /// [`RecognitionError`].
    async fn recognize(&self, request: RecognitionRequest) -> Result<ChunkTranscript, RecognitionError>;
}

#[async_trait]
impl<T: SpeechRecognizer + ?Sized> SpeechRecognizer for Arc<T> {
    fn profile(&self) -> RecognizerProfile {
        (**self).profile()
    }

    async fn recognize(&self, request: RecognitionRequest) -> Result<ChunkTranscript, RecognitionError> {
        (**self).recognize(request).await
    }
}

#[async_trait]
impl<T: SpeechRecognizer + ?Sized> SpeechRecognizer for Box<T> {
    fn profile(&self) -> RecognizerProfile {
        (**self).profile()
    }

    async fn recognize(&self, request: RecognitionRequest) -> Result<ChunkTranscript, RecognitionError> {
        (**self).recognize(request).await
    }
}

/// What a recognizer is asked.
#[derive(Debug)]
pub struct RecognitionRequest {
    /// The audio. Its bytes are read while they are sent, and from the start for each attempt.
    pub chunk: AudioChunk,
    /// How to hear it.
    pub options: RecognitionOptions,
    /// The same for all attempts at one chunk of one run: a server that knows it does not bill twice.
    pub idempotency_key: String,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// What the admission gave for it, to be handed on to the client that spends it.
    pub grant: Option<Grant>,
}

/// How to hear the audio. All of it belongs into the key under which answers are kept.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct RecognitionOptions {
    /// The model, by the recognizer's name for it. Default: the recognizer's own.
    pub model: Option<String>,
    /// The language that is spoken, as an ISO 639-1 code. Default: it is guessed.
    pub language: Option<String>,
    /// A text that the audio might go on from, or names that may come up. Default: none.
    pub prompt: Option<String>,
    /// The sampling temperature, 0 to 1. Default: the recognizer's own.
    pub temperature: Option<f32>,
}

/// Why a chunk was not heard.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct RecognitionError {
    message: String,
    class: ErrorClass,
    scope: ErrorScope,
    too_large: Option<TooLarge>,
    #[source]
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// Whom an error concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorScope {
    /// The chunk: others may pass.
    Chunk,
    /// Everything that is asked with this key: a refused credential, no credit left.
    Run,
}

/// The limit that a chunk was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TooLarge {
    /// Too many bytes.
    Bytes {
        /// The most that is accepted, if the recognizer says.
        limit: Option<ByteSize>,
    },
    /// Too long.
    Duration {
        /// The longest that is accepted, if the recognizer says.
        limit: Option<Duration>,
    },
}

impl RecognitionError {
    /// The same call fails again.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::of(ErrorClass::Permanent, message)
    }

    /// The same call may succeed a little later.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::of(ErrorClass::Transient, message)
    }

    /// The server asks for patience, for so long if it says.
    pub fn throttled(retry_after: Option<Duration>, message: impl Into<String>) -> Self {
        Self::of(ErrorClass::Throttled { retry_after }, message)
    }

    /// The chunk is over a limit: smaller ones may pass.
    pub fn too_large(limit: TooLarge, message: impl Into<String>) -> Self {
        Self { too_large: Some(limit), ..Self::of(ErrorClass::Permanent, message) }
    }

    /// An error of the given class.
    pub fn of(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { message: message.into(), class, scope: ErrorScope::Chunk, too_large: None, source: None }
    }

    /// Says that everything that is asked with this key will fail alike.
    #[must_use]
    pub fn for_the_run(mut self) -> Self {
        self.scope = ErrorScope::Run;
        self
    }

    /// Says what caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Whom it concerns.
    pub fn scope(&self) -> ErrorScope {
        self.scope
    }

    /// The limit that the chunk was over, if that is what is wrong.
    pub fn limit_exceeded(&self) -> Option<TooLarge> {
        self.too_large
    }
}

impl Retryable for RecognitionError {
    fn class(&self) -> ErrorClass {
        self.class
    }
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes { limit: Some(limit) } => write!(f, "larger than {limit}"),
            Self::Bytes { limit: None } => f.write_str("too large"),
            Self::Duration { limit: Some(limit) } => write!(f, "longer than {} s", limit.as_secs_f64()),
            Self::Duration { limit: None } => f.write_str("too long"),
        }
    }
}

/// What an orchestrator does with a chunk. [`RecognizingProcessor`](crate::RecognizingProcessor) asks a recognizer.
///
/// # Contract
/// 1. [`process`](Self::process) is one attempt; dropping its future ends it.
/// 2. [`split`](Self::split) gives chunks that cover exactly what the given one owns, in order, each shorter.
/// 3. [`split`](Self::split) and [`audit`](Self::audit) give the same for the same arguments.
#[async_trait]
pub trait ChunkProcessor: Debug + Send + Sync + 'static {
    /// Makes one attempt at a chunk.
    ///
    /// # Errors
    /// [`RecognitionError`].
    async fn process(&self, attempt: ChunkAttempt) -> Result<ChunkTranscript, RecognitionError>;

    /// What to try in place of a chunk: at least two smaller ones; none if it cannot be cut. Default: none.
    async fn split(&self, task: &ProcessingTask, why: SplitCause) -> Vec<AudioChunk> {
        let _ = (task, why);
        Vec::new()
    }

    /// Speech in the chunk that the answer says nothing about. Default: nobody listens, so nothing is found.
    async fn audit(&self, task: &ProcessingTask, heard: &ChunkTranscript) -> Vec<Gap> {
        let _ = (task, heard);
        Vec::new()
    }

    /// Chunks to ask for once more, with other cuts, where [`audit`](Self::audit) found gaps. Each is within what the
    /// task owns; none: nothing is asked again. Default: none.
    async fn reask(&self, task: &ProcessingTask, gaps: &[Gap]) -> Vec<AudioChunk> {
        let _ = (task, gaps);
        Vec::new()
    }
}

#[async_trait]
impl<T: ChunkProcessor + ?Sized> ChunkProcessor for Arc<T> {
    async fn process(&self, attempt: ChunkAttempt) -> Result<ChunkTranscript, RecognitionError> {
        (**self).process(attempt).await
    }

    async fn split(&self, task: &ProcessingTask, why: SplitCause) -> Vec<AudioChunk> {
        (**self).split(task, why).await
    }

    async fn audit(&self, task: &ProcessingTask, heard: &ChunkTranscript) -> Vec<Gap> {
        (**self).audit(task, heard).await
    }

    async fn reask(&self, task: &ProcessingTask, gaps: &[Gap]) -> Vec<AudioChunk> {
        (**self).reask(task, gaps).await
    }
}

/// One attempt at a chunk.
#[derive(Debug)]
pub struct ChunkAttempt {
    /// Which task.
    pub task: ProcessingTask,
    /// Which attempt, from 1. Attempts that were throttled count here, though not against the configured most.
    pub number: u32,
    /// What the admission gave for it.
    pub grant: Option<Grant>,
}

/// Why a chunk is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SplitCause {
    /// It is over a limit.
    TooLarge(TooLarge),
    /// Each attempt took too long.
    TimedOut,
}
