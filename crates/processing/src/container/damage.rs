//! Counts the bytes that were no audio although they should have been.

use crate::ProcessingError;
use crate::model::audio_file::Warning;

/// Warnings that are kept; more are only counted.
const KEPT: usize = 64;

/// The bytes that were no audio although they should have been.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    spans: Vec<(u64, u64)>,
    more: u64,
    lost: u64,
}

impl Damage {
    /// `len` bytes from `offset` are lost.
    pub(crate) fn lost(&mut self, offset: u64, len: u64) {
        self.lost += len;
        let full = self.spans.len() == KEPT;
        match self.spans.last_mut() {
            Some((start, so_far)) if *start + *so_far == offset && self.more == 0 => *so_far += len,
            _ if full => self.more += 1,
            _ => self.spans.push((offset, len)),
        }
    }

    /// Warnings, or an error if more than a tenth of `total` bytes is lost.
    pub(crate) fn finish(self, total: u64, what: &str) -> Result<Vec<Warning>, ProcessingError> {
        let first = self.spans.first().map_or(0, |(start, _)| *start);
        if self.lost > total / 10 {
            let what = format!("{} of {total} bytes are no {what} frames", self.lost);
            return Err(ProcessingError::Corrupt { offset: first, what });
        }
        let told = self.spans.iter().map(|&(offset, len)| Warning {
            offset,
            what: format!("{len} bytes are no {what} frames and were left out"),
        });
        let rest = (self.more > 0).then(|| Warning {
            offset: first,
            what: format!("{} more places hold no {what} frames and were left out", self.more),
        });
        Ok(told.chain(rest).collect())
    }
}
