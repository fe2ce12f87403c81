//! The role of putting what was heard in chunks on the recording's clock, and joining it.

use std::fmt::Debug;
use std::sync::Arc;

use crate::model::aligned_part::{AlignedPart, SeamReport};
use crate::{ChunkMap, ChunkTranscript, ProcessingError};

/// Puts what was heard in chunks on the recording's clock, and joins it. It is pure.
///
/// # Contract
/// 1. Starts never fall; start ≤ end; all within what was heard of the recording.
/// 2. Each word heard is emitted once or counted as dropped, with the reason.
/// 3. Joined words equal the text.
/// 4. `merge` is associative and, for equal input, idempotent.
/// 5. A word said twice stays twice.
/// 6. File time = the chunk's first sample + time in it, in samples.
pub trait TimestampAdjuster: Debug + Send + Sync + 'static {
    /// Puts what was heard in one chunk on the recording's clock.
    ///
    /// # Errors
    /// [`ProcessingError::BadTranscript`] if nothing can be made of it.
    fn adjust(&self, map: &ChunkMap, heard: &ChunkTranscript) -> Result<AlignedPart, ProcessingError>;

    /// Joins two parts. Where both heard the same audio, each word comes from one of them.
    fn merge(&self, left: &AlignedPart, right: &AlignedPart) -> (AlignedPart, SeamReport);

    /// Joins any number of parts, in any order.
    fn stitch(&self, parts: &[AlignedPart]) -> (AlignedPart, SeamReport) {
        let mut report = SeamReport::default();
        let joined = parts.iter().fold(AlignedPart::default(), |joined, part| {
            let (joined, seam) = self.merge(&joined, part);
            report = report.and(seam);
            joined
        });
        (joined, report)
    }
}

impl<T: TimestampAdjuster + ?Sized> TimestampAdjuster for Arc<T> {
    fn adjust(&self, map: &ChunkMap, heard: &ChunkTranscript) -> Result<AlignedPart, ProcessingError> {
        (**self).adjust(map, heard)
    }

    fn merge(&self, left: &AlignedPart, right: &AlignedPart) -> (AlignedPart, SeamReport) {
        (**self).merge(left, right)
    }

    fn stitch(&self, parts: &[AlignedPart]) -> (AlignedPart, SeamReport) {
        (**self).stitch(parts)
    }
}
