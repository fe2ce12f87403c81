//! What a recognizer takes, gives and costs.

use std::fmt;
use std::time::Duration;

use wavequill_kernel::InvalidValue;

use crate::{AudioFormat, ByteSize};

/// What a recognizer takes, gives and costs. The default is OpenAI's `whisper-1`.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct RecognizerProfile {
    /// The most bytes of audio a request may carry.
    /// Default: 26,148,864 (OpenAI's 25 MiB for the whole multipart body, less 65,536 for its frame).
    pub max_chunk_bytes: ByteSize,
    /// The longest audio a request may carry. Default: 1,380 s (OpenAI's 1,400 s, less 20 s).
    pub max_chunk_duration: Duration,
    /// The formats it reads. Default: all.
    pub formats: Vec<AudioFormat>,
    /// The times it gives. Default: [`Times::Words`].
    pub times: Times,
    /// How long a request takes.
    pub latency: LatencyModel,
    /// How many requests it takes in a time. Default: no limit.
    pub quota: Option<RequestQuota>,
}

impl Default for RecognizerProfile {
    fn default() -> Self {
        Self {
            max_chunk_bytes: ByteSize::new(26_214_400 - 65_536),
            max_chunk_duration: Duration::from_secs(1_380),
            formats: vec![
                AudioFormat::Wav,
                AudioFormat::Flac,
                AudioFormat::Mp3,
                AudioFormat::M4a,
                AudioFormat::Ogg,
            ],
            times: Times::Words,
            latency: LatencyModel::default(),
            quota: None,
        }
    }
}

/// The times that a recognizer gives with its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Times {
    /// A start and an end for each word.
    Words,
    /// A start and an end for each segment.
    Segments,
    /// None.
    None,
}

/// How long a request takes: T(d) = α + β·w·⌈d/w⌉ + bytes/uplink with w = 30 s, and how much it varies.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct LatencyModel {
    /// α: the part that does not depend on the audio. Default: 1.5 s.
    pub per_request: Duration,
    /// β: seconds of work a second of audio. Default: 0.04.
    pub per_audio_second: f64,
    /// σ: standard deviation of the logarithm of a request's time. Default: 0.25.
    pub sigma: f64,
    /// Bytes a second that one request is sent with; `None`: sending costs nothing. Default: none.
    pub uplink_bytes_per_second: Option<f64>,
}

impl Default for LatencyModel {
    fn default() -> Self {
        Self {
            per_request: Duration::from_millis(1_500),
            per_audio_second: 1.0 / 25.0,
            sigma: 0.25,
            uplink_bytes_per_second: None,
        }
    }
}

/// How many requests a recognizer takes in a time.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RequestQuota {
    /// Requests a minute in the long run.
    pub per_minute: f64,
    /// Requests that may be made at once after a rest.
    pub burst: u32,
}

/// How many requests may be in flight: 1 to 1,024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "u16", into = "u16"))]
pub struct ConcurrencyLimit(u16);

impl ConcurrencyLimit {
    /// Checks that the limit is 1 to 1,024.
    ///
    /// # Errors
    /// [`InvalidValue`] if it is not.
    pub fn new(requests: u16) -> Result<Self, InvalidValue> {
        if (1..=1_024).contains(&requests) {
            return Ok(Self(requests));
        }
        Err(InvalidValue::new("concurrency", requests, "1 to 1024"))
    }

    /// How many requests.
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

impl Default for ConcurrencyLimit {
    /// 8.
    fn default() -> Self {
        Self(8)
    }
}

impl TryFrom<u16> for ConcurrencyLimit {
    type Error = InvalidValue;

    fn try_from(requests: u16) -> Result<Self, InvalidValue> {
        Self::new(requests)
    }
}

impl From<ConcurrencyLimit> for u16 {
    fn from(limit: ConcurrencyLimit) -> Self {
        limit.0
    }
}

impl fmt::Display for ConcurrencyLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
