//! The contract of [`TimestampAdjuster`].

use std::time::Duration;

use crate::{
    AlignedPart, ChunkMap, ChunkTranscript, HeardWord, SampleIndex, SampleRate, SampleSpan, TimestampAdjuster,
};

/// Puts an adjuster through its contract, with three chunks that overlap by two seconds.
///
/// # Panics
/// If a sentence is broken.
pub fn timestamp_adjuster(adjuster: &dyn TimestampAdjuster, rate: SampleRate) {
    let parts = [
        part(
            adjuster,
            rate,
            0,
            &[("one", 1_000), ("two", 4_000), ("no", 9_300), ("no", 9_900), ("go", 10_500)],
        ),
        part(
            adjuster,
            rate,
            10,
            &[("no", 9_320), ("no", 9_880), ("go", 10_520), ("three", 14_000), ("end", 19_400)],
        ),
        part(adjuster, rate, 20, &[("end", 19_380), ("of", 20_400), ("it", 25_000)]),
    ];
    let [a, b, c] = &parts;
    let join = |a: &AlignedPart, b: &AlignedPart| adjuster.merge(a, b).0;
    let (all, _) = adjuster.stitch(&parts);
    assert_eq!(join(&join(a, b), c), join(a, &join(b, c)), "4: joining is associative");
    assert_eq!(join(&join(a, b), c), all, "4: stitching is joining");
    assert_eq!(join(b, b), *b, "4: joining a part with itself changes nothing");
    let resolved = all.resolve();
    assert_eq!(
        resolved.text(),
        "one two no no go three end of it",
        "2, 5: each word once, what was said twice twice"
    );
    let starts: Vec<SampleIndex> = resolved.words.iter().map(|word| word.span.start()).collect();
    assert!(starts.is_sorted(), "1: starts never fall");
    let end = rate.index_at(Duration::from_secs(31));
    assert!(resolved.words.iter().all(|word| word.span.end() <= end), "1: all is within what was heard");
    let two = resolved.words.get(1).map(|word| word.span.start());
    assert_eq!(
        two,
        Some(rate.index_at(Duration::from_secs(4))),
        "6: a time in the chunk counts from its first sample"
    );
    punctuation(adjuster, rate);
}

fn punctuation(adjuster: &dyn TimestampAdjuster, rate: SampleRate) {
    let span = SampleSpan::of_file(u64::from(rate.hertz()) * 10);
    let words = vec![HeardWord::untimed("hello"), HeardWord::untimed("world")];
    let heard = ChunkTranscript {
        text: " Hello, world!".to_owned(),
        words: Some(words),
        ..ChunkTranscript::default()
    };
    let adjusted = adjuster.adjust(&ChunkMap::new(span, rate), &heard);
    let text = adjusted.map(|part| part.resolve().text()).ok();
    assert_eq!(text.as_deref(), Some("Hello, world!"), "3: joined words are the text");
}

/// What a chunk of ten seconds that was sent with a second of its neighbours heard; times are the recording's.
fn part(adjuster: &dyn TimestampAdjuster, rate: SampleRate, from: u64, words: &[(&str, u64)]) -> AlignedPart {
    let at = |seconds: u64| rate.index_at(Duration::from_secs(seconds));
    let first = from.saturating_sub(1);
    let map = ChunkMap::new(SampleSpan::new(at(from), at(from + 10)), rate)
        .with_heard(SampleSpan::new(at(first), at(from + 11)))
        .with_origin(at(first).get() as i64);
    let words = words
        .iter()
        .map(|(text, start)| {
            let start = Duration::from_millis(start - first * 1_000);
            HeardWord::new(*text, start, start + Duration::from_millis(300))
        })
        .collect();
    let adjusted = adjuster.adjust(&map, &ChunkTranscript::of_words(words));
    assert!(adjusted.is_ok(), "plain words are adjusted: {adjusted:?}");
    adjusted.unwrap_or_default()
}
