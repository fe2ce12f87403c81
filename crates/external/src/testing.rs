//! Everything to test transcription with, to the word and without an account: speech whose words are known, an API
//! that understands it, and a double without a network. For your own tests as well as for ours.
//!
//! | what | for |
//! |---|---|
//! | [`ToneSpeech`] | hours of audio from a seed, with or without pauses, as samples or as WAV, in constant memory |
//! | [`recognize`], [`ToneRecognizer`] | hear its words again, also through MP3, AAC, Opus, Vorbis, FLAC |
//! | [`ToneScore`] | words lost, doubled, garbled, moved, and how far their times are off |
//! | [`SpeechApiSimulator`] | OpenAI's API on loopback, HTTP/1.1 and HTTP/2, with [quotas](Quota) and [faults](Faults) |
//! | [`InMemoryQuotaLog`] | what several [ledgers](crate::SharedQuotaLedger) share, with a line that can be cut |
//! | [`ScriptedSpeechApi`] | a [`SpeechApi`](crate::SpeechApi) that follows a script, for paused time |
//!
//! # Examples
//! A server, a client, and each word in its place:
//! ```
//! # #[cfg(feature = "hyper")] {
//! use std::time::Duration;
//! use wavequill_external::testing::{Quota, SpeechApiSimulator, ToneScore, ToneSpeech};
//! use wavequill_external::{
//!     AudioFormat, BaseUrl, HttpSpeechApi, HyperSpeechApiConfig, ModelId, SpeechApi, SpeechAudio, SpeechRequest,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let simulator = SpeechApiSimulator::new().with_quota(Quota::requests_per_minute(60)).start().await?;
//!
//! let speech = ToneSpeech::new(Duration::from_secs(10));
//! let mut file = Vec::new();
//! speech.write_wav(&mut file)?;
//! let audio = SpeechAudio::from_bytes(file, AudioFormat::Wav, Duration::from_secs(10));
//!
//! let api = HttpSpeechApi::over_hyper(HyperSpeechApiConfig::new(BaseUrl::new(&simulator.base_url())?))?;
//! let answer = api.transcribe(SpeechRequest::new(audio, ModelId::new("whisper-1")?)).await?;
//!
//! let score = ToneScore::of_text(speech.truth(), &answer.text);
//! assert_eq!(score.errors(), 0, "{score}");
//! let report = simulator.shutdown().await;
//! assert_eq!((report.granted, report.audio_billed), (1, Duration::from_secs(10)));
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```
//!
//! A form with `stream=true` gets server-sent events: a delta for each word, and the whole.
//!
//! Whole days of quota pass in no time where the rules are asked without a server, see
//! [`SpeechApiSimulator::answer`]. What goes wrong, and when, is [`Faults`]:
//! ```
//! use std::time::Duration;
//! use wavequill_external::testing::{Fault, Faults, RetryAfterForm, SpeechApiSimulator};
//!
//! let throttled = Fault::throttled(RetryAfterForm::HttpDate, Duration::from_secs(2));
//! let api = SpeechApiSimulator::new()
//!     .with_seed(7)
//!     .with_faults(Faults::none().first(1, throttled).with_chance(0.05, Fault::TruncatedBody));
//! # let _ = api;
//! ```
//!
//! FLAC, MP3 and the rest are decoded by whom you pass to [`SpeechApiSimulator::with_decoder`], so that this crate needs
//! no decoders: a function from the bytes of a file to [`DecodedAudio`], whole or block by block.
//!
//! # How well tones survive codecs
//! Ten minutes each of phrases, of words 60 ms apart and of speech without any gap, made at 16 and at 44.1 kHz and
//! coded by ffmpeg 5.1: every word of 11,844 was heard, at most 2.2 ms off, through FLAC, MP3 at 32 to 128 kbit/s, AAC
//! at 32 and 64 kbit/s and Vorbis. Opus garbled up to 6 words in 1,000 (at 16 and 24 kbit/s from 16 kHz), and was up
//! to 12 ms off; test with another codec where each word counts.

mod adapters;
pub mod conformance;
mod in_memory_quota_log;
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
pub use in_memory_quota_log::InMemoryQuotaLog;
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
