//! Containers, codecs, and how a file of each is named when it is sent.

use std::fmt;

/// How the file wraps its audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Container {
    /// RIFF, RF64 or BW64.
    Wav,
    /// Native FLAC.
    Flac,
    /// MPEG audio frames, with or without tags.
    Mp3,
    /// MP4, M4A or QuickTime, with its index in one place or in fragments.
    Mp4,
    /// Ogg.
    Ogg,
    /// Matroska or WebM.
    Matroska,
}

/// How the audio is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Codec {
    /// Uncompressed or companded samples.
    Pcm,
    /// FLAC.
    Flac,
    /// MPEG audio, layer III.
    Mp3,
    /// AAC of low complexity, with or without spectral band replication.
    Aac,
    /// Opus.
    Opus,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wav => "WAV",
            Self::Flac => "FLAC",
            Self::Mp3 => "MP3",
            Self::Mp4 => "MP4",
            Self::Ogg => "Ogg",
            Self::Matroska => "Matroska",
        })
    }
}

/// The format of a file that is sent to a recognizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum AudioFormat {
    /// WAV.
    Wav,
    /// Native FLAC.
    Flac,
    /// MP3.
    Mp3,
    /// MP4 with AAC.
    M4a,
    /// Ogg with Opus.
    Ogg,
}

impl AudioFormat {
    /// The usual end of the file's name, without a dot. Recognizers tell formats by it.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Flac => "flac",
            Self::Mp3 => "mp3",
            Self::M4a => "m4a",
            Self::Ogg => "ogg",
        }
    }

    /// The media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Wav => "audio/wav",
            Self::Flac => "audio/flac",
            Self::Mp3 => "audio/mpeg",
            Self::M4a => "audio/mp4",
            Self::Ogg => "audio/ogg",
        }
    }
}

impl fmt::Display for AudioFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.extension())
    }
}
