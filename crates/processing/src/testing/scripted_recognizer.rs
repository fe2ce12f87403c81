//! A recognizer that answers as it is told, and remembers what it was asked.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::{
    ChunkTranscript, HeardWord, RecognitionError, RecognitionRequest, RecognizerProfile, SampleSpan,
    SpeechRecognizer,
};

/// What a [`ScriptedRecognizer`] does with a request.
#[derive(Debug)]
pub enum Step {
    /// Answers after a while.
    Answer(Duration, ChunkTranscript),
    /// Fails after a while.
    Fail(Duration, RecognitionError),
    /// Never answers.
    Hang,
    /// Panics.
    Panic,
}

/// What was asked: for the assertions of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The chunk's place in its plan.
    pub chunk: usize,
    /// What it answers for.
    pub owned: SampleSpan,
    /// Which attempt at it.
    pub attempt: u32,
    /// When, from the recognizer's making.
    pub at: Duration,
}

type Script = dyn Fn(&RecognitionRequest) -> Step + Send + Sync;

/// Answers as it is told, in tokio's time, and remembers what it was asked. Without a script it answers each chunk after
/// 10 ms, with a word a second: `c3w0` is the first word of chunk 3.
#[derive(Clone)]
pub struct ScriptedRecognizer {
    script: Arc<Script>,
    profile: RecognizerProfile,
    seen: Arc<Mutex<Seen>>,
    started: Instant,
}

#[derive(Debug, Default)]
struct Seen {
    calls: Vec<Call>,
    now: Load,
    peak: Load,
    finished: usize,
}

/// What is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests.
    pub requests: usize,
    /// Their body bytes.
    pub bytes: u64,
}

impl ScriptedRecognizer {
    /// Without a script.
    pub fn new() -> Self {
        Self::answering(|request| Step::Answer(Duration::from_millis(10), words_of(request)))
    }

    /// Does what `script` says.
    pub fn answering(script: impl Fn(&RecognitionRequest) -> Step + Send + Sync + 'static) -> Self {
        Self {
            script: Arc::new(script),
            profile: RecognizerProfile::default(),
            seen: Arc::default(),
            started: Instant::now(),
        }
    }

    /// Every request so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// What is on its way now.
    pub fn load(&self) -> Load {
        self.lock().now
    }

    /// The most that was ever on its way at once, each by itself.
    pub fn peak(&self) -> Load {
        self.lock().peak
    }

    /// How many requests ended by themselves, and were not dropped.
    pub fn finished(&self) -> usize {
        self.lock().finished
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ScriptedRecognizer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ScriptedRecognizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedRecognizer").field("load", &self.load()).finish_non_exhaustive()
    }
}

#[async_trait]
impl SpeechRecognizer for ScriptedRecognizer {
    fn profile(&self) -> RecognizerProfile {
        self.profile.clone()
    }

    async fn recognize(&self, request: RecognitionRequest) -> Result<ChunkTranscript, RecognitionError> {
        let _flight = Flight::begin(self, &request);
        let outcome = match (self.script)(&request) {
            Step::Answer(after, heard) => {
                tokio::time::sleep(after).await;
                Ok(heard)
            }
            Step::Fail(after, error) => {
                tokio::time::sleep(after).await;
                Err(error)
            }
            Step::Hang => std::future::pending().await,
            #[expect(clippy::panic, reason = "the script asks for it")]
            Step::Panic => panic!("the script says so"),
        };
        self.lock().finished += 1;
        outcome
    }
}

/// Counts a request in and out.
struct Flight {
    recognizer: ScriptedRecognizer,
    bytes: u64,
}

impl Flight {
    fn begin(recognizer: &ScriptedRecognizer, request: &RecognitionRequest) -> Self {
        let bytes = request.chunk.content_length();
        let mut seen = recognizer.lock();
        seen.calls.push(Call {
            chunk: request.chunk.index(),
            owned: request.chunk.owned(),
            attempt: request.attempt,
            at: recognizer.started.elapsed(),
        });
        seen.now.requests += 1;
        seen.now.bytes += bytes;
        seen.peak.requests = seen.peak.requests.max(seen.now.requests);
        seen.peak.bytes = seen.peak.bytes.max(seen.now.bytes);
        drop(seen);
        Self { recognizer: recognizer.clone(), bytes }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut seen = self.recognizer.lock();
        seen.now.requests -= 1;
        seen.now.bytes -= self.bytes;
    }
}

/// A word a second: `c3w0` is the first word of chunk 3.
pub fn words_of(request: &RecognitionRequest) -> ChunkTranscript {
    let chunk = &request.chunk;
    let from_start = chunk.rate().duration_of(chunk.pre_roll());
    let words = (0..chunk.duration().as_secs())
        .map(|second| {
            let start = from_start + Duration::from_secs(second);
            HeardWord::new(
                format!("c{}w{second}", chunk.index()),
                start + Duration::from_millis(200),
                start + Duration::from_millis(700),
            )
        })
        .collect();
    ChunkTranscript { language: Some("en".to_owned()), ..ChunkTranscript::of_words(words) }
}
