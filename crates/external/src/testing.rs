//! Test kit.

mod adapters;
mod scripted_speech_api;
mod speech_api_simulator;
mod tone_probe;
mod tone_recognizer;
mod tone_run;
mod tone_samples;
mod tone_score;
mod tone_speech;
mod tone_vocabulary;
mod tone_wav;

pub use adapters::hyper_server::SimulatorHandle;
pub use scripted_speech_api::{ScriptedRequest, ScriptedSpeechApi};
pub use speech_api_simulator::{
    Action, AudioDecoder, Begun, DecodedAudio, Ending, Fault, Faults, HeardAudio, Latency, Measure, Outcome,
    Quota, QuotaHeaders, Refusals, RequestId, RequestRecord, RetryAfterForm, SimulatedModel, SimulatorReport,
    SpeechApiSimulator, TranscriptionForm, Upload,
};
pub use tone_recognizer::{ToneRecognizer, recognize};
pub use tone_samples::ToneSamples;
pub use tone_score::ToneScore;
pub use tone_speech::{Pacing, SampleEncoding, SpokenWord, SpokenWords, ToneSpeech};
pub use tone_vocabulary::{ToneCode, ToneVocabulary, ToneWord};
