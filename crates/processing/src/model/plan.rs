//! How a recording is cut: what was decided, and the chunks that came of it.

use std::fmt;
use std::time::Duration;

use wavequill_kernel::ContentHash;

use crate::{AudioChunk, AudioFormat, ByteSize, CutQuality, SampleRate, SampleSpan};

/// How many chunks, how long, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct ChunkSizeRecommendation {
    /// The chunks as they would be if nobody spoke, in order. They cover what is to be done.
    pub ideal: Vec<SampleSpan>,
    /// How long the longest is.
    pub duration: Duration,
    /// About how many bytes the longest has.
    pub size: ByteSize,
    /// The time that the whole is expected to take, quota included.
    pub estimated_duration: Duration,
    /// What decided.
    pub reason: SizeReason,
    /// The limits that hold.
    pub limits: ChunkLimits,
    /// How much two chunks both hear on either side of a blind cut, where the limits leave room for it.
    pub blind_overlap: Duration,
}

impl ChunkSizeRecommendation {
    /// How many chunks.
    pub fn chunk_count(&self) -> usize {
        self.ideal.len()
    }

    /// [`size`](Self::size) in megabytes of 1,000,000 bytes, for messages.
    pub fn size_mb(&self) -> f64 {
        self.size.megabytes()
    }
}

/// The limits that a plan keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLimits {
    /// The most bytes of a chunk, pre-roll and headers included.
    pub max_bytes: ByteSize,
    /// The longest chunk, pre-roll included.
    pub max_duration: Duration,
    /// The shortest chunk, unless less is to be done.
    pub min_duration: Duration,
}

/// What decided the size of the chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SizeReason {
    /// There is nothing to do.
    Nothing,
    /// One request is as fast as many, or too little is to be done for more.
    OneChunk,
    /// The byte limit: as few chunks as it allows.
    ByteLimit,
    /// The duration limit: as few chunks as it allows.
    DurationLimit,
    /// As many chunks as keep all requests busy.
    Makespan,
    /// The request quota: fewer requests are faster.
    Quota,
}

impl fmt::Display for SizeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "there is nothing to do",
            Self::OneChunk => "one request is as fast as many",
            Self::ByteLimit => "as few chunks as the byte limit allows",
            Self::DurationLimit => "as few chunks as the duration limit allows",
            Self::Makespan => "as many chunks as keep all requests busy",
            Self::Quota => "the request quota makes fewer chunks faster",
        })
    }
}

/// One chunk as the sizer decided it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedChunk {
    /// What it answers for.
    pub owned: SampleSpan,
    /// What is sent: at least `owned`, more at a blind cut, so that a word that was cut in two is heard whole.
    pub heard: SampleSpan,
    /// Where its start was cut.
    pub cut: CutQuality,
}

impl PlannedChunk {
    /// A chunk that sends just what it answers for.
    pub const fn new(owned: SampleSpan, cut: CutQuality) -> Self {
        Self { owned, heard: owned, cut }
    }
}

/// How the chunks are made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum PlanKind {
    /// The packets of the recording as they are, in files of their own.
    Remux {
        /// The format of the files.
        format: AudioFormat,
    },
}

/// The chunks of a recording.
#[derive(Clone, Debug)]
pub struct ChunkPlan {
    pub(crate) chunks: Vec<AudioChunk>,
    pub(crate) kind: PlanKind,
    pub(crate) rate: SampleRate,
    pub(crate) size: ChunkSizeRecommendation,
    pub(crate) fingerprint: ContentHash,
}

impl ChunkPlan {
    /// The chunks, in order.
    pub fn chunks(&self) -> &[AudioChunk] {
        &self.chunks
    }

    /// How they are made.
    pub fn kind(&self) -> &PlanKind {
        &self.kind
    }

    /// The recording's sample rate.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// What was decided about their size, and why.
    pub fn size(&self) -> &ChunkSizeRecommendation {
        &self.size
    }

    /// The identity of the plan: its spans and what they hold.
    pub fn fingerprint(&self) -> ContentHash {
        self.fingerprint
    }
}
