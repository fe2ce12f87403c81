//! A recording that has been opened: what it is, and where its packets lie.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use crate::model::recipe::Recipe;
use crate::{AudioFormat, AudioSource, ByteSize, Codec, Container, SampleIndex, SampleRate, SampleSpan};

/// A recording that has been opened: what it is, and where its packets lie. Cheap to clone.
#[derive(Clone)]
pub struct AudioFile {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) source: Arc<dyn AudioSource>,
    pub(crate) track: Box<dyn Track>,
    pub(crate) container: Container,
    pub(crate) codec: Codec,
    pub(crate) rate: SampleRate,
    pub(crate) channels: u16,
    pub(crate) samples: u64,
    pub(crate) warnings: Vec<Warning>,
}

/// What a container's walker knows about its audio: enough to cut it. No method reads the source.
pub(crate) trait Track: Debug + Send + Sync {
    /// The start of the packet that holds `at`, on the file's sample clock.
    fn packet_start(&self, at: SampleIndex) -> SampleIndex;

    /// How many bytes of packets `span` holds.
    fn payload_bytes(&self, span: SampleSpan) -> u64;

    /// How a file of its own is made of `span`.
    fn cut(&self, span: SampleSpan) -> Cut;

    /// The format of such files.
    fn format(&self) -> AudioFormat;
}

/// How a file of its own is made of a span.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) recipe: Recipe,
    /// Where in the file the first decoded sample lies.
    pub(crate) first_sample: i64,
}

/// Something that was wrong with the input, yet could be helped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Warning {
    /// Where in the file, in bytes from its start.
    pub offset: u64,
    /// What was wrong, and what was made of it.
    pub what: String,
}

impl AudioFile {
    /// How the file wraps its audio.
    pub fn container(&self) -> Container {
        self.inner.container
    }

    /// How the audio is coded.
    pub fn codec(&self) -> Codec {
        self.inner.codec
    }

    /// Sample frames a second.
    pub fn rate(&self) -> SampleRate {
        self.inner.rate
    }

    /// Samples a frame.
    pub fn channels(&self) -> u16 {
        self.inner.channels
    }

    /// The whole recording on its own sample clock.
    pub fn span(&self) -> SampleSpan {
        SampleSpan::of_file(self.inner.samples)
    }

    /// How long it lasts.
    pub fn duration(&self) -> Duration {
        self.span().duration(self.rate())
    }

    /// The size of the file.
    pub fn size_bytes(&self) -> ByteSize {
        ByteSize::new(self.inner.source.len())
    }

    /// Bytes of audio a second, on average; 0 for an empty recording. No position may be computed from it.
    pub fn byte_rate(&self) -> f64 {
        let seconds = self.duration().as_secs_f64();
        if seconds > 0.0 { self.inner.track.payload_bytes(self.span()) as f64 / seconds } else { 0.0 }
    }

    /// What was wrong with the input, yet could be helped.
    pub fn warnings(&self) -> &[Warning] {
        &self.inner.warnings
    }

    /// What it is called in messages.
    pub fn name(&self) -> String {
        self.inner.source.name()
    }

    /// Where it is read from.
    pub fn source(&self) -> &Arc<dyn AudioSource> {
        &self.inner.source
    }
}

impl Debug for AudioFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AudioFile")
            .field("name", &self.name())
            .field("container", &self.container())
            .field("codec", &self.codec())
            .field("rate", &self.rate())
            .field("channels", &self.channels())
            .field("span", &self.span())
            .finish_non_exhaustive()
    }
}
