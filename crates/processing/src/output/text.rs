//! The text alone.

use crate::Transcript;

pub(super) fn render(transcript: &Transcript) -> String {
    format!("{}\n", transcript.text)
}
