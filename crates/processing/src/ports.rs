//! What this context needs from outside: traits that it owns, with the plain implementations that need no driver.

pub(crate) mod admission;
pub(crate) mod audio;
pub(crate) mod keeping;
pub(crate) mod recognition;

pub use admission::{Admission, AttemptOutcome, AttemptSeen, Grant, Permit};
pub use audio::{
    AudioDecoder, AudioSource, FileAudioSource, FirstAudioDecoder, MemoryAudioSource, SampleReader,
    VoiceDetector,
};
pub use keeping::{JournalEntry, NoopRunJournal, NoopTranscriptStore, Recalled, RunJournal, TranscriptStore};
pub use recognition::{
    ChunkAttempt, ChunkProcessor, ErrorScope, RecognitionError, RecognitionOptions, RecognitionRequest,
    SpeechRecognizer, SplitCause, TooLarge,
};
