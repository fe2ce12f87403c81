//! The audio of a request, and the formats that APIs take.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::body::ReplayBody;

/// The container of the audio that is sent. APIs judge it by the name's extension, so it is always sent with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AudioFormat {
    /// FLAC.
    Flac,
    /// MPEG audio layer III.
    Mp3,
    /// MPEG-4, any codec.
    Mp4,
    /// MPEG-4 audio.
    M4a,
    /// Ogg: Vorbis, Opus or FLAC inside.
    Ogg,
    /// RIFF WAVE.
    Wav,
    /// WebM.
    Webm,
}

impl AudioFormat {
    /// The extension of a file's name, without a dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Flac => "flac",
            Self::Mp3 => "mp3",
            Self::Mp4 => "mp4",
            Self::M4a => "m4a",
            Self::Ogg => "ogg",
            Self::Wav => "wav",
            Self::Webm => "webm",
        }
    }

    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Flac => "audio/flac",
            Self::Mp3 => "audio/mpeg",
            Self::Mp4 | Self::M4a => "audio/mp4",
            Self::Ogg => "audio/ogg",
            Self::Wav => "audio/wav",
            Self::Webm => "audio/webm",
        }
    }

    /// The format that a file's extension (in any case, without a dot) stands for.
    pub fn from_extension(extension: &str) -> Option<Self> {
        Some(match extension.to_ascii_lowercase().as_str() {
            "flac" => Self::Flac,
            "mp3" | "mpeg" | "mpga" => Self::Mp3,
            "mp4" => Self::Mp4,
            "m4a" => Self::M4a,
            "ogg" | "oga" | "opus" => Self::Ogg,
            "wav" | "wave" => Self::Wav,
            "webm" => Self::Webm,
            _ => return None,
        })
    }
}

/// Audio to be sent: a body that can be read again, its format, and its exact duration.
#[derive(Clone)]
pub struct SpeechAudio {
    body: Arc<dyn ReplayBody>,
    format: AudioFormat,
    duration: Duration,
}

impl SpeechAudio {
    /// Audio of `duration` that is a whole file of `format`.
    pub fn new(body: Arc<dyn ReplayBody>, format: AudioFormat, duration: Duration) -> Self {
        Self { body, format, duration }
    }

    /// Audio that is in memory.
    pub fn from_bytes(bytes: impl Into<Bytes>, format: AudioFormat, duration: Duration) -> Self {
        Self::new(Arc::new(bytes.into()), format, duration)
    }

    /// What is sent.
    pub fn body(&self) -> &Arc<dyn ReplayBody> {
        &self.body
    }

    /// The container.
    pub fn format(&self) -> AudioFormat {
        self.format
    }

    /// How long it plays. What APIs report instead is a little off, so this is what counts.
    pub fn duration(&self) -> Duration {
        self.duration
    }
}

impl fmt::Debug for SpeechAudio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpeechAudio")
            .field("bytes", &self.body.len())
            .field("format", &self.format)
            .field("duration", &self.duration)
            .finish()
    }
}
