//! Where the times of a chunk lie in the recording.

use std::time::Duration;

use crate::{AudioChunk, SampleIndex, SampleRate, SampleSpan};

/// Where the times of a chunk lie in the recording.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChunkMap {
    owned: SampleSpan,
    heard: SampleSpan,
    origin: i64,
    rate: SampleRate,
    speech: Vec<SampleSpan>,
}

impl ChunkMap {
    /// A chunk that answers for `owned`, was heard there alone, and whose time zero is the start of it.
    pub fn new(owned: SampleSpan, rate: SampleRate) -> Self {
        let origin = i64::try_from(owned.start().get()).unwrap_or(i64::MAX);
        Self { owned, heard: owned, origin, rate, speech: Vec::new() }
    }

    /// The map of a chunk: its time zero is the first sample that a decoder makes of its bytes.
    pub fn of_chunk(chunk: &AudioChunk) -> Self {
        Self::new(chunk.owned(), chunk.rate()).with_heard(chunk.heard()).with_origin(chunk.first_sample())
    }

    /// Says that more was heard than is answered for: the neighbours heard it too.
    #[must_use]
    pub fn with_heard(mut self, heard: SampleSpan) -> Self {
        let start = heard.start().min(self.owned.start());
        self.heard = SampleSpan::new(start, heard.end().max(self.owned.end()));
        self
    }

    /// Says where the chunk's time zero lies, in samples; negative if before the recording's first audible one.
    #[must_use]
    pub fn with_origin(mut self, first_sample: i64) -> Self {
        self.origin = first_sample;
        self
    }

    /// Says that the recognizer's decoder puts everything so many samples too late (or too early, if negative).
    #[must_use]
    pub fn with_shift(mut self, samples: i64) -> Self {
        self.origin = self.origin.saturating_sub(samples);
        self
    }

    /// Says where somebody speaks, for texts without times.
    #[must_use]
    pub fn with_speech(mut self, speech: Vec<SampleSpan>) -> Self {
        self.speech = speech;
        self
    }

    /// What the chunk answers for.
    pub fn owned(&self) -> SampleSpan {
        self.owned
    }

    /// What was heard of the recording.
    pub fn heard(&self) -> SampleSpan {
        self.heard
    }

    /// The recording's sample rate.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// Where somebody speaks, as far as it was said.
    pub fn speech(&self) -> &[SampleSpan] {
        &self.speech
    }

    /// The place in the recording of a time in the chunk: its first sample plus the nearest sample to the time.
    /// What is before the recording is at its start.
    pub fn position_of(&self, time: Duration) -> SampleIndex {
        let offset = i128::from(self.rate.index_at(time).get()) + i128::from(self.origin);
        SampleIndex::new(u64::try_from(offset.max(0)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u64, end: u64) -> SampleSpan {
        SampleSpan::new(SampleIndex::new(start), SampleIndex::new(end))
    }

    #[test]
    fn a_time_in_the_chunk_counts_from_its_first_sample_not_from_the_owned_one() {
        let rate = SampleRate::new(44_100).unwrap();
        let map = ChunkMap::new(span(441_000, 882_000), rate).with_origin(441_000 - 4_608);
        assert_eq!(map.position_of(Duration::from_secs(1)), SampleIndex::new(441_000 - 4_608 + 44_100));
    }

    #[test]
    fn what_lies_before_the_recording_is_at_its_start() {
        let rate = SampleRate::new(44_100).unwrap();
        let map = ChunkMap::new(span(0, 441_000), rate).with_origin(-1_105);
        assert_eq!(map.position_of(Duration::from_millis(10)), SampleIndex::ZERO);
        assert_eq!(map.position_of(Duration::from_secs(1)), SampleIndex::new(44_100 - 1_105));
    }

    #[test]
    fn after_eight_hours_and_300_chunks_a_time_is_exact_to_the_sample() {
        let rate = SampleRate::new(44_100).unwrap();
        let chunk = 8 * 3_600 * 44_100 / 300;
        let map = ChunkMap::new(span(299 * chunk, 300 * chunk), rate);
        assert_eq!(map.position_of(Duration::from_millis(1_500)).get(), 299 * chunk + 66_150);
    }
}
