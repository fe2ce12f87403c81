//! Transcripts to write, and a reader of subtitles.

use std::time::Duration;

use crate::{RunCosts, SampleIndex, SampleRate, SampleSpan, Segment, SegmentStats, Transcript, Word};

/// A transcript at 16 kHz of words with times in milliseconds, in one segment; ten seconds long if nothing is later.
pub(crate) fn transcript_of(words: &[(&str, u64, u64)]) -> Transcript {
    let at = |millis: u64| SampleIndex::new(millis * 16);
    let words: Vec<Word> = words
        .iter()
        .map(|(text, start, end)| Word::new(*text, SampleSpan::new(at(*start), at(*end))))
        .collect();
    let text: String = words.iter().map(Word::spaced_text).collect();
    let end = words.last().map_or(SampleIndex::ZERO, |word| word.span.end());
    let segment = words.first().map(|first| Segment {
        span: SampleSpan::new(first.span.start(), end),
        text: text.clone(),
        words: 0..words.len(),
        stats: SegmentStats::default(),
    });
    Transcript {
        text,
        language: Some("en".to_owned()),
        rate: SampleRate::new(16_000).unwrap(),
        span: SampleSpan::of_file(end.get().max(160_000)),
        words,
        segments: segment.into_iter().collect(),
        gaps: Vec::new(),
        warnings: Vec::new(),
        reused: Duration::ZERO,
        chunks: 1,
        costs: RunCosts::default(),
    }
}

/// Start, end and text of each cue of an SRT or WebVTT file, read by their rules: blocks between empty lines.
pub(crate) fn parsed_subtitles(file: &str, decimal: char) -> Vec<(u64, u64, String)> {
    let time = |text: &str| {
        let (clock, millis) = text.split_once(decimal).unwrap();
        let seconds = clock.split(':').fold(0, |sum, part| sum * 60 + part.parse::<u64>().unwrap());
        seconds * 1_000 + millis.parse::<u64>().unwrap()
    };
    file.split("\n\n")
        .filter_map(|block| {
            let mut lines = block.lines().skip_while(|line| !line.contains(" --> "));
            let (start, end) = lines.next()?.split_once(" --> ")?;
            Some((time(start), time(end), lines.collect::<Vec<_>>().join("\n")))
        })
        .collect()
}
