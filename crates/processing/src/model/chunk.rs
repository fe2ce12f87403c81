//! A piece of a recording that is sent on its own: a recipe, not a copy.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use wavequill_kernel::ContentHash;

use crate::model::audio_file::Cut;
use crate::model::recipe::{Cursor, Recipe};
use crate::{
    AudioFile, AudioFormat, AudioSource, PlannedChunk, ProcessingError, SampleIndex, SampleRate, SampleSpan,
};

/// Where a chunk's cut fell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum CutQuality {
    /// Where nobody speaks, or at the start of what was to be done.
    Pause,
    /// Where no pause was found: a word may be cut in two.
    Blind,
}

/// A piece of a recording that is sent on its own: a whole file of its own format, made of headers and byte ranges of
/// the source when it is sent, and made anew for each attempt. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AudioChunk {
    pub(crate) index: usize,
    pub(crate) owned: SampleSpan,
    pub(crate) heard: SampleSpan,
    pub(crate) first_sample: i64,
    pub(crate) rate: SampleRate,
    pub(crate) format: AudioFormat,
    pub(crate) cut: CutQuality,
    pub(crate) hash: ContentHash,
    pub(crate) recipe: Arc<Recipe>,
    pub(crate) source: Arc<dyn AudioSource>,
}

impl AudioChunk {
    /// Makes the recipe of a chunk and reads its packets through `reading` to know what it holds. Blocks.
    pub(crate) fn make(
        file: &AudioFile,
        index: usize,
        planned: PlannedChunk,
        reading: &dyn AudioSource,
    ) -> Result<Self, ProcessingError> {
        let Cut { recipe, first_sample } = file.track().cut(planned.heard);
        let pre_roll = (planned.owned.start().get() as i64).saturating_sub(first_sample);
        let mut hash = Sha256::new();
        let identity = file.track().identity();
        hash.update((identity.len() as u64).to_be_bytes());
        hash.update(identity);
        hash.update(pre_roll.to_be_bytes());
        hash.update(planned.owned.len().to_be_bytes());
        hash.update(planned.heard.len().to_be_bytes());
        let hashed = recipe
            .read_packets(reading, |bytes| hash.update(bytes))
            .map_err(|error| ProcessingError::read(file.name(), error))?;
        Ok(Self {
            index,
            owned: planned.owned,
            heard: planned.heard,
            first_sample,
            rate: file.rate(),
            format: file.chunk_format(),
            cut: planned.cut,
            hash: ContentHash::new(hash.finalize().into(), hashed),
            recipe: Arc::new(recipe),
            source: Arc::clone(file.source()),
        })
    }

    /// Its place among the chunks of its plan, from 0.
    pub const fn index(&self) -> usize {
        self.index
    }

    /// The part of the recording that this chunk answers for. What it holds beyond is there for the decoder's sake, or
    /// to hear a word whole that a blind cut divides: words of it belong to the neighbour.
    pub const fn owned(&self) -> SampleSpan {
        self.owned
    }

    /// The part of the recording that is heard in it: at least what it owns, more at a blind cut, where its neighbour
    /// hears the same. What the file holds beyond is there for the decoder's sake.
    pub const fn heard(&self) -> SampleSpan {
        self.heard
    }

    /// Where in the recording the first sample lies that a decoder makes of this chunk's bytes.
    ///
    /// It may be before the recording's first audible sample, hence negative: what an encoder put in front of it.
    /// File time = this + the time in the chunk, in samples.
    pub const fn first_sample(&self) -> i64 {
        self.first_sample
    }

    /// How many samples the decoder makes before the first owned one.
    pub const fn pre_roll(&self) -> u64 {
        self.owned.start().get().saturating_add_signed(self.first_sample.saturating_neg())
    }

    /// Sample frames a second of the recording's clock.
    pub const fn rate(&self) -> SampleRate {
        self.rate
    }

    /// What kind of file the bytes make.
    pub const fn format(&self) -> AudioFormat {
        self.format
    }

    /// Where its start was cut.
    pub const fn cut_quality(&self) -> CutQuality {
        self.cut
    }

    /// The identity of what is heard in it: equal for equal audio, whatever its place, container tags or file name.
    pub const fn content_hash(&self) -> ContentHash {
        self.hash
    }

    /// When it starts, from the start of the recording.
    pub fn start_timestamp(&self) -> Duration {
        self.rate.duration_of(self.owned.start().get())
    }

    /// How long the owned part lasts.
    pub fn duration(&self) -> Duration {
        self.owned.duration(self.rate)
    }

    /// How many bytes [`body`](Self::body) gives, exactly.
    pub fn content_length(&self) -> u64 {
        self.recipe.content_length
    }

    /// Its bytes from the first one on.
    pub fn body(&self) -> ChunkBody {
        ChunkBody {
            recipe: Arc::clone(&self.recipe),
            source: Arc::clone(&self.source),
            cursor: Cursor::default(),
        }
    }

    /// The position that `time` seconds into the chunk has in the recording: `None` before its first audible sample.
    pub fn position_of(&self, samples_in_chunk: u64) -> Option<SampleIndex> {
        samples_in_chunk.checked_add_signed(self.first_sample).map(SampleIndex::new)
    }
}

/// The bytes of a chunk, read from the source as they are asked for.
#[derive(Debug)]
pub struct ChunkBody {
    recipe: Arc<Recipe>,
    source: Arc<dyn AudioSource>,
    cursor: Cursor,
}

impl ChunkBody {
    /// The next bytes, about 64 KiB; `None` at the end. Reading happens on tokio's blocking threads.
    ///
    /// # Errors
    /// What the source says. An `io::Error` of kind `Other` that holds a
    /// [`ProcessingError::SourceChanged`](crate::ProcessingError) if the source is not what it was when it was opened.
    ///
    /// # Cancellation
    /// If the future is dropped, the next call gives the same bytes again.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let (recipe, source, cursor) = (Arc::clone(&self.recipe), Arc::clone(&self.source), self.cursor);
        let read = tokio::task::spawn_blocking(move || {
            let read = recipe.read(&source, cursor)?;
            source.check_unchanged()?;
            Ok::<_, io::Error>(read)
        });
        let (bytes, cursor) = read.await.map_err(io::Error::other)??;
        self.cursor = cursor;
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    /// All bytes that are left, as one.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn collect(mut self) -> io::Result<Bytes> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all.into())
    }
}
