//! Test kit.

mod tone_probe;
mod tone_recognizer;
mod tone_run;
mod tone_samples;
mod tone_score;
mod tone_speech;
mod tone_vocabulary;
mod tone_wav;

pub use tone_recognizer::{ToneRecognizer, recognize};
pub use tone_samples::ToneSamples;
pub use tone_score::ToneScore;
pub use tone_speech::{Pacing, SampleEncoding, SpokenWord, SpokenWords, ToneSpeech};
pub use tone_vocabulary::{ToneCode, ToneVocabulary, ToneWord};
