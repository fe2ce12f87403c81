//! What fits into one chunk, by the bytes of the region itself.

use std::time::Duration;

use crate::{
    Amount, AudioFile, ByteSize, ChunkLimits, Limit, ProcessingError, RecognizerProfile, SampleIndex,
    SampleSpan, SizeReason,
};

/// How far cuts must be able to move to a pause while the limits still hold.
const MOVE: Duration = Duration::from_secs(5);

/// Of a short chunk, each end may move by this part of its length.
const MOVE_PART: u64 = 13;

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
        if self.fits(span) {
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
        if !self.fits_moved(part(lowest)) {
            return Err(self.too_small(part(lowest)));
        }
        let mut highest = rest.len().min(self.max_samples);
        while lowest < highest {
            let middle = lowest + (highest - lowest).div_ceil(2);
            if self.fits_moved(part(middle)) {
                lowest = middle;
            } else {
                highest = middle - 1;
            }
        }
        Ok(start.plus(lowest))
    }

    /// Whether a chunk of `span` keeps the limits.
    fn fits(&self, span: SampleSpan) -> bool {
        self.file.whole_samples(span) <= self.max_samples
            && self.file.chunk_size(span).bytes() <= self.max_bytes
    }

    /// Whether it still does when both its cuts have moved to a pause.
    fn fits_moved(&self, span: SampleSpan) -> bool {
        self.fits(self.moved(span))
    }

    fn moved(&self, span: SampleSpan) -> SampleSpan {
        let by = self.file.rate().samples_in(MOVE).min(span.len() / MOVE_PART);
        SampleSpan::new(span.start().minus(by), span.end().plus(by)).intersection(self.file.span())
    }

    fn too_small(&self, least: SampleSpan) -> ProcessingError {
        let moved = self.moved(least);
        let samples = self.file.whole_samples(moved);
        if samples > self.max_samples {
            let needed = Amount::Duration(self.file.rate().duration_of(samples));
            return ProcessingError::LimitTooSmall { limit: Limit::ChunkDuration(self.max_duration), needed };
        }
        let limit = Limit::ChunkBytes(ByteSize::new(self.max_bytes));
        ProcessingError::LimitTooSmall { limit, needed: Amount::Bytes(self.file.chunk_size(moved)) }
    }

    /// Moves the borders of equally long chunks where a region has too many bytes; `None` if that does not help.
    pub(super) fn repaired(&self, mut ideal: Vec<SampleSpan>) -> Option<Vec<SampleSpan>> {
        for at in 0..ideal.len() {
            let span = *ideal.get(at)?;
            let alone = ideal.len() == 1;
            if if alone { self.fits(span) } else { self.fits_moved(span) } {
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
            if self.fits(span) {
                plan.push(span);
                continue;
            }
            let mut rest = span;
            while !rest.is_empty() {
                let mut end = self.furthest(rest).ok()?;
                let behind = SampleSpan::new(end, rest.end());
                let half = rest.start().plus(rest.len() / 2);
                if behind.len() < rest.len() / 2 && self.fits_moved(SampleSpan::new(half, rest.end())) {
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
