//! A line a segment, as whisper's own tools write it.

use std::fmt::Write as _;

use super::millis;
use crate::Transcript;

pub(super) fn render(transcript: &Transcript) -> String {
    let mut out = String::from("start\tend\ttext\n");
    for segment in &transcript.segments {
        let (start, end) = (millis(transcript, segment.span.start()), millis(transcript, segment.span.end()));
        // A tab or a line feed in the text would be read as the end of the field.
        let text = segment.text.split_whitespace().collect::<Vec<_>>().join(" ");
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{start}\t{end}\t{text}");
    }
    out
}
