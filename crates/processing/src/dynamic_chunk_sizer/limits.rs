//! What fits into one chunk, by the bytes of the region itself.

use std::time::Duration;

use crate::{
    Amount, AudioFile, ByteSize, ChunkLimits, Limit, ProcessingError, RecognizerProfile, SampleIndex,
    SampleSpan, SizeReason,
};

/// What is kept free of each limit while planning, so that cuts can move to a pause: a fiftieth.
const ROOM: u64 = 50;

/// A chunk must be able to hold this much, or the limits make no sense.
const LEAST: Duration = Duration::from_secs(1);

/// What fits into one chunk.
#[derive(Debug)]
pub(super) struct Fit<'a> {
    file: &'a AudioFile,
    max_bytes: u64,
    max_duration: Duration,
    max_samples: u64,
}

/// Whether a chunk of `span` keeps the limits, pre-roll and headers included.
pub(super) fn keeps(file: &AudioFile, limits: &ChunkLimits, span: SampleSpan) -> bool {
    file.whole_samples(span) <= file.rate().samples_in(limits.max_duration)
        && file.chunk_size(span) <= limits.max_bytes
}

impl<'a> Fit<'a> {
    pub(super) fn new(file: &'a AudioFile, profile: &RecognizerProfile) -> Self {
        Self {
            file,
            max_bytes: profile.max_chunk_bytes.bytes(),
            max_duration: profile.max_chunk_duration,
            max_samples: file.rate().samples_in(profile.max_chunk_duration),
        }
    }

    /// How few chunks each span needs, with room to move the cuts.
    pub(super) fn least_chunks(&self, todo: &[SampleSpan]) -> Result<Vec<usize>, ProcessingError> {
        todo.iter().map(|span| self.least_of(*span)).collect()
    }

    fn least_of(&self, span: SampleSpan) -> Result<usize, ProcessingError> {
        if self.fits(span, 0) {
            return Ok(1);
        }
        let mut chunks = 0;
        let mut rest = span;
        while !rest.is_empty() {
            let end = self.furthest(rest)?;
            rest = SampleSpan::new(end, rest.end());
            chunks += 1;
        }
        Ok(chunks.max(2))
    }

    /// The latest end of a chunk that starts where `rest` does.
    fn furthest(&self, rest: SampleSpan) -> Result<SampleIndex, ProcessingError> {
        let start = rest.start();
        let part = |len| SampleSpan::new(start, start.plus(len));
        // `lowest` fits, `highest` may not.
        let mut lowest = self.file.rate().samples_in(LEAST).min(rest.len());
        if !self.fits(part(lowest), ROOM) {
            return Err(self.too_small(part(lowest)));
        }
        let mut highest = rest.len().min(self.max_samples);
        while lowest < highest {
            let middle = lowest + (highest - lowest).div_ceil(2);
            if self.fits(part(middle), ROOM) {
                lowest = middle;
            } else {
                highest = middle - 1;
            }
        }
        Ok(start.plus(lowest))
    }

    /// Whether a chunk of `span` keeps the limits with one part in `room` of them free.
    fn fits(&self, span: SampleSpan, room: u64) -> bool {
        let free = |limit: u64| limit - limit.checked_div(room).unwrap_or(0);
        self.file.whole_samples(span) <= free(self.max_samples)
            && self.file.chunk_size(span).bytes() <= free(self.max_bytes)
    }

    fn too_small(&self, least: SampleSpan) -> ProcessingError {
        let samples = self.file.whole_samples(least);
        if samples > self.max_samples - self.max_samples / ROOM {
            let needed = self.file.rate().duration_of(samples + samples / (ROOM - 1) + 1);
            let limit = Limit::ChunkDuration(self.max_duration);
            return ProcessingError::LimitTooSmall { limit, needed: Amount::Duration(needed) };
        }
        let bytes = self.file.chunk_size(least).bytes();
        ProcessingError::LimitTooSmall {
            limit: Limit::ChunkBytes(ByteSize::new(self.max_bytes)),
            needed: Amount::Bytes(ByteSize::new(bytes + bytes / (ROOM - 1) + 1)),
        }
    }

    /// Moves the borders of equally long chunks where a region has too many bytes; `None` if that does not help.
    pub(super) fn repaired(&self, mut ideal: Vec<SampleSpan>) -> Option<Vec<SampleSpan>> {
        for at in 0..ideal.len() {
            let span = *ideal.get(at)?;
            if self.fits(span, if ideal.len() == 1 { 0 } else { ROOM }) {
                continue;
            }
            // The next chunk must follow at once, and takes over what does not fit.
            let next = *ideal.get(at + 1).filter(|next| next.start() == span.end())?;
            let end = self.furthest(span).ok()?;
            *ideal.get_mut(at)? = SampleSpan::new(span.start(), end);
            *ideal.get_mut(at + 1)? = SampleSpan::new(end, next.end());
        }
        Some(ideal)
    }

    /// The plan that fills each chunk as far as it goes, but ends without a tail; `None` if that does not fit.
    pub(super) fn greedy(&self, todo: &[SampleSpan]) -> Option<Vec<SampleSpan>> {
        let mut plan = Vec::new();
        for &span in todo {
            if self.fits(span, 0) {
                plan.push(span);
                continue;
            }
            let mut rest = span;
            while !rest.is_empty() {
                let mut end = self.furthest(rest).ok()?;
                let behind = SampleSpan::new(end, rest.end());
                let half = rest.start().plus(rest.len() / 2);
                if behind.len() < rest.len() / 2 && self.fits(SampleSpan::new(half, rest.end()), ROOM) {
                    // Two chunks are left: equally long, rather than a whole one and a tail.
                    end = if behind.is_empty() { end } else { half };
                }
                plan.push(SampleSpan::new(rest.start(), end));
                rest = SampleSpan::new(end, rest.end());
            }
        }
        Some(plan)
    }

    /// Which limit is nearer to being reached.
    pub(super) fn reason(&self, ideal: &[SampleSpan]) -> SizeReason {
        let share = |span: &SampleSpan| {
            let bytes = self.file.chunk_size(*span).bytes() as f64 / self.max_bytes.max(1) as f64;
            (bytes, span.len() as f64 / self.max_samples.max(1) as f64)
        };
        let of_bytes = ideal.iter().map(|span| share(span).0).fold(0.0, f64::max);
        let of_time = ideal.iter().map(|span| share(span).1).fold(0.0, f64::max);
        match () {
            () if of_bytes.max(of_time) < 0.5 => SizeReason::Makespan,
            () if of_bytes > of_time => SizeReason::ByteLimit,
            () => SizeReason::DurationLimit,
        }
    }
}
