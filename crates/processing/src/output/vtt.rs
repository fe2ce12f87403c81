//! WebVTT subtitles.

use std::fmt::Write as _;

use super::cues;
use crate::Transcript;

pub(super) fn render(transcript: &Transcript) -> String {
    let mut out = String::from("WEBVTT\n\n");
    for cue in cues::of(transcript) {
        let (start, end) = (time(cue.start_ms), time(cue.end_ms));
        let lines: Vec<String> = cue.lines.iter().map(|line| escaped(line)).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{start} --> {end}\n{}\n", lines.join("\n"));
    }
    out
}

fn time(millis: u64) -> String {
    let (seconds, millis) = (millis / 1_000, millis % 1_000);
    format!("{:02}:{:02}:{:02}.{millis:03}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// What would be read as markup or as the arrow between times.
fn escaped(line: &str) -> String {
    line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::testing::{parsed_subtitles, transcript_of};

    #[test]
    fn markup_and_arrows_in_the_text_are_escaped() {
        let transcript = transcript_of(&[("a<b", 0, 900), (" -->", 1_000, 1_100), (" R&D", 1_200, 1_500)]);
        assert_eq!(render(&transcript), "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\na&lt;b --&gt; R&amp;D\n\n");
    }

    #[test]
    fn it_reads_back() {
        let transcript = transcript_of(&[("One.", 0, 900), (" Two.", 5_000, 5_700)]);
        let cues = parsed_subtitles(&render(&transcript), '.');
        assert_eq!(cues, [(0, 900, "One.".to_owned()), (5_000, 5_700, "Two.".to_owned())]);
    }
}
