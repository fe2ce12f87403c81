//! A recording that has been opened: what it is, and where its packets lie.

use std::fmt::{self, Debug};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::recipe::Recipe;
use crate::{
    AudioChunk, AudioFormat, AudioSource, ByteSize, Codec, Container, FileAudioSource, PlannedChunk,
    ProcessingError, SampleIndex, SampleRate, SampleSpan, blocking, container,
};

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

    /// The start of the packet behind the one that starts at `at`.
    fn next_packet_start(&self, at: SampleIndex) -> SampleIndex;

    /// How many samples a decoder makes of what [`cut`](Self::cut) makes of `span`.
    fn whole_samples(&self, span: SampleSpan) -> u64;

    /// How many bytes of packets `span` holds.
    fn payload_bytes(&self, span: SampleSpan) -> u64;

    /// How many bytes [`cut`](Self::cut) makes of `span`, without making them.
    fn content_length(&self, span: SampleSpan) -> u64;

    /// How a file of its own is made of `span`.
    fn cut(&self, span: SampleSpan) -> Cut;

    /// The format of such files.
    fn format(&self) -> AudioFormat;

    /// What a decoder must know beside the packets: part of a chunk's identity.
    fn identity(&self) -> Vec<u8>;
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
    /// Opens a recording: finds out what it is by its content, and where its packets lie.
    ///
    /// It is read once from start to end (a WAV file: its headers only), on tokio's blocking threads and in bounded
    /// memory. What is kept is two to five bytes a packet, and nothing for a WAV file.
    ///
    /// # Errors
    /// [`ProcessingError::UnsupportedFormat`], [`Corrupt`](ProcessingError::Corrupt), [`Read`](ProcessingError::Read)
    /// or [`SourceChanged`](ProcessingError::SourceChanged).
    ///
    /// # Cancellation
    /// Dropping the future ends the reading.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn open(source: impl AudioSource) -> Result<Self, ProcessingError> {
        let source: Arc<dyn AudioSource> = Arc::new(source);
        blocking::read(Arc::clone(&source), |reading| container::open(source, reading)).await
    }

    /// Opens the recording in a file.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// # Cancellation
    /// As [`open`](Self::open).
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn open_path(path: impl Into<PathBuf>) -> Result<Self, ProcessingError> {
        let path = path.into();
        let source = blocking::run(move || FileAudioSource::open(path)).await?;
        Self::open(source).await
    }

    pub(crate) fn new(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// Makes one chunk: reads its packets once to know what it holds. A plan makes all of its chunks itself.
    ///
    /// # Errors
    /// [`ProcessingError::Read`] or [`SourceChanged`](ProcessingError::SourceChanged).
    ///
    /// # Cancellation
    /// Dropping the future ends the reading.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn chunk(&self, index: usize, planned: PlannedChunk) -> Result<AudioChunk, ProcessingError> {
        let file = self.clone();
        let make = move |reading: &dyn AudioSource| AudioChunk::make(&file, index, planned, reading);
        blocking::read(Arc::clone(self.source()), make).await
    }

    /// How many bytes a file of its own of `span` has, headers and pre-roll included.
    pub fn chunk_size(&self, span: SampleSpan) -> ByteSize {
        ByteSize::new(self.inner.track.content_length(span))
    }

    /// How many samples a decoder makes of a chunk of `span`: its pre-roll and the rest of its last packet included.
    pub fn whole_samples(&self, span: SampleSpan) -> u64 {
        self.inner.track.whole_samples(span)
    }

    /// The start of the packet that holds `at`: the nearest place before it where a chunk can start without a part
    /// of a packet. In PCM every sample is one.
    pub fn packet_start(&self, at: SampleIndex) -> SampleIndex {
        self.inner.track.packet_start(at)
    }

    /// The format that its chunks have.
    pub fn chunk_format(&self) -> AudioFormat {
        self.inner.track.format()
    }

    pub(crate) fn track(&self) -> &dyn Track {
        &*self.inner.track
    }

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
