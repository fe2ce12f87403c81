//! The role of deciding how many chunks a recording is cut into, and where.

use std::fmt::Debug;
use std::sync::Arc;

use crate::{
    AudioFile, ChunkSizeRecommendation, ConcurrencyLimit, CutWindow, PauseMap, PlannedChunk, ProcessingError,
    RecognizerProfile, SampleSpan,
};

/// Decides how many chunks a recording is cut into, and where. It is pure: it reads no audio and no clock.
///
/// `todo` is what is to be done: disjoint spans of the recording, in order.
///
/// # Contract
/// 1. Owned spans are disjoint, ordered, and cover exactly `todo`.
/// 2. No chunk exceeds the limits of the recommendation; if that cannot be, the error names the limit.
/// 3. Same input, same plan, on every platform.
/// 4. No chunk is under `limits.min_duration` (30 s, unless a limit forces less) unless its span of `todo` is.
/// 5. With [`Times::None`](crate::Times::None) a cut depends only on the audio within its horizon + 16 s.
/// 6. `estimated_duration` is the predicted makespan, quota included.
pub trait ChunkSizer: Debug + Send + Sync + 'static {
    /// How many chunks of which length do `todo` in the least time.
    ///
    /// # Errors
    /// [`ProcessingError::LimitTooSmall`] if no chunk can keep the limits.
    fn calculate_chunk_size(
        &self,
        file: &AudioFile,
        profile: &RecognizerProfile,
        concurrency: ConcurrencyLimit,
        todo: &[SampleSpan],
    ) -> Result<ChunkSizeRecommendation, ProcessingError>;

    /// Where pauses should be looked for.
    fn cut_windows(
        &self,
        file: &AudioFile,
        size: &ChunkSizeRecommendation,
        todo: &[SampleSpan],
    ) -> Vec<CutWindow>;

    /// Where to cut, given the pauses that were found.
    ///
    /// # Errors
    /// [`ProcessingError::LimitTooSmall`] if no cuts keep the limits.
    fn split_into_chunks(
        &self,
        file: &AudioFile,
        size: &ChunkSizeRecommendation,
        todo: &[SampleSpan],
        found: &PauseMap,
    ) -> Result<Vec<PlannedChunk>, ProcessingError>;
}

impl<T: ChunkSizer + ?Sized> ChunkSizer for Arc<T> {
    fn calculate_chunk_size(
        &self,
        file: &AudioFile,
        profile: &RecognizerProfile,
        concurrency: ConcurrencyLimit,
        todo: &[SampleSpan],
    ) -> Result<ChunkSizeRecommendation, ProcessingError> {
        (**self).calculate_chunk_size(file, profile, concurrency, todo)
    }

    fn cut_windows(
        &self,
        file: &AudioFile,
        size: &ChunkSizeRecommendation,
        todo: &[SampleSpan],
    ) -> Vec<CutWindow> {
        (**self).cut_windows(file, size, todo)
    }

    fn split_into_chunks(
        &self,
        file: &AudioFile,
        size: &ChunkSizeRecommendation,
        todo: &[SampleSpan],
        found: &PauseMap,
    ) -> Result<Vec<PlannedChunk>, ProcessingError> {
        (**self).split_into_chunks(file, size, todo, found)
    }
}
