//! SubRip subtitles.

use std::fmt::Write as _;

use super::cues;
use crate::Transcript;

pub(super) fn render(transcript: &Transcript) -> String {
    let mut out = String::new();
    for (number, cue) in (1..).zip(cues::of(transcript)) {
        let (start, end) = (time(cue.start_ms), time(cue.end_ms));
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{number}\n{start} --> {end}\n{}\n", cue.lines.join("\n"));
    }
    out
}

fn time(millis: u64) -> String {
    let (seconds, millis) = (millis / 1_000, millis % 1_000);
    format!("{:02}:{:02}:{:02},{millis:03}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::testing::{parsed_subtitles, transcript_of};

    #[test]
    fn cues_count_from_one_and_a_comma_divides_seconds() {
        let transcript =
            transcript_of(&[("Hello,", 3_661_500, 3_661_900), (" world.", 3_662_000, 3_662_400)]);
        assert_eq!(render(&transcript), "1\n01:01:01,500 --> 01:01:02,400\nHello, world.\n\n");
    }

    #[test]
    fn it_reads_back() {
        let transcript = transcript_of(&[("One.", 0, 900), (" Two.", 5_000, 5_700)]);
        let cues = parsed_subtitles(&render(&transcript), ',');
        assert_eq!(cues, [(0, 900, "One.".to_owned()), (5_000, 5_700, "Two.".to_owned())]);
    }
}
