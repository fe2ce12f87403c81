//! Seams: words that two chunks heard are there once, in order, whatever the recognizer did to them.

use std::time::Duration;

use proptest::prelude::*;
use wavequill_processing::{
    AlignedPart, ChunkMap, ChunkTranscript, HeardSegment, HeardWord, SampleIndex, SampleRate, SampleSpan,
    SeamTimestampAdjuster, TimestampAdjuster,
};

use crate::fixtures::Random;

const RATE: u64 = 16_000;
const VOCABULARY: [&str; 12] =
    ["no", "yes", "the", "old", "man", "sea", "and", "then", "he", "said", "thank", "you"];

fn rate() -> SampleRate {
    SampleRate::new(RATE as u32).unwrap()
}

fn at_ms(millis: u64) -> SampleIndex {
    SampleIndex::new(millis * RATE / 1_000)
}

fn span_ms(start: u64, end: u64) -> SampleSpan {
    SampleSpan::new(at_ms(start), at_ms(end))
}

/// A word as it was really said, in milliseconds.
#[derive(Clone, Debug)]
struct Said {
    text: &'static str,
    start: u64,
    end: u64,
}

/// Speech of some minutes, in which phrases are said twice and more.
fn speech(random: &mut Random, until: u64) -> Vec<Said> {
    let mut said: Vec<Said> = Vec::new();
    let mut at = 200;
    while at < until {
        let repeat = said.len() >= 4 && random.below(4) == 0;
        let phrase: Vec<&'static str> = if repeat {
            let length = 1 + random.below(4) as usize;
            said[said.len() - length..].iter().map(|word| word.text).collect()
        } else {
            vec![VOCABULARY[random.below(12) as usize]]
        };
        for text in phrase {
            let length = 120 + random.below(350);
            said.push(Said { text, start: at, end: at + length });
            at += length + 30 + random.below(150) + if random.below(9) == 0 { 500 } else { 0 };
        }
    }
    said.retain(|word| word.end < until);
    said
}

/// What a chunk that was sent `heard` makes of it: every time is off by up to 80 ms, and words at its edges are cut
/// or missing, unless those are the recording's own.
fn hear(random: &mut Random, said: &[Said], heard: (u64, u64), end: u64, map: &ChunkMap) -> AlignedPart {
    let mut words = Vec::new();
    for word in said.iter().filter(|word| word.end > heard.0 && word.start < heard.1) {
        let cut = word.start < heard.0 || word.end > heard.1;
        let near_edge =
            heard.0 > 0 && word.start < heard.0 + 300 || heard.1 < end && word.end + 300 > heard.1;
        if cut && random.below(2) == 0 || near_edge && random.below(4) == 0 {
            continue;
        }
        let text = if cut { "garbled" } else { word.text };
        let jitter = |random: &mut Random, at: u64| {
            let moved = (at + random.below(160)).saturating_sub(80);
            Duration::from_millis(moved.saturating_sub(heard.0))
        };
        words.push(HeardWord::new(text, jitter(random, word.start), jitter(random, word.end)));
    }
    SeamTimestampAdjuster::new().adjust(map, &ChunkTranscript::of_words(words)).unwrap()
}

/// Chunks of half a minute or so, each sent with a second and a half of its neighbours.
fn parts(random: &mut Random, said: &[Said], until: u64) -> Vec<AlignedPart> {
    let mut parts = Vec::new();
    let mut start = 0;
    while start < until {
        let end = (start + 25_000 + random.below(10_000)).min(until);
        let heard = (start.saturating_sub(1_500), (end + 1_500).min(until));
        let map = ChunkMap::new(span_ms(start, end), rate())
            .with_heard(span_ms(heard.0, heard.1))
            .with_origin(at_ms(heard.0).get() as i64);
        parts.push(hear(random, said, heard, until, &map));
        start = end;
    }
    parts
}

/// Words that are missing, and words that are too many.
fn mistakes(said: &[Said], joined: &AlignedPart) -> (usize, usize) {
    let mut heard: Vec<(String, u64, bool)> = joined
        .resolve()
        .words
        .iter()
        .map(|word| {
            let middle = word.span.start().get().midpoint(word.span.end().get());
            (word.text().to_owned(), middle * 1_000 / RATE, false)
        })
        .collect();
    let mut lost = 0;
    for word in said {
        let middle = word.start.midpoint(word.end);
        let found = heard
            .iter_mut()
            .filter(|(text, at, used)| !used && text == word.text && at.abs_diff(middle) <= 250)
            .min_by_key(|(_, at, _)| at.abs_diff(middle));
        match found {
            Some((_, _, used)) => *used = true,
            None => lost += 1,
        }
    }
    (lost, heard.iter().filter(|(_, _, used)| !used).count())
}

#[test]
fn in_ten_thousand_seams_of_repeated_phrases_one_word_in_a_thousand_is_lost_or_doubled_at_most() {
    let (mut words, mut lost, mut doubled, mut seams) = (0, 0, 0, 0);
    for seed in 0..2_500 {
        let mut random = Random::new(seed);
        let until = 150_000;
        let said = speech(&mut random, until);
        let parts = parts(&mut random, &said, until);
        seams += parts.len() - 1;
        let (joined, _) = SeamTimestampAdjuster::new().stitch(&parts);
        let resolved = joined.resolve();
        assert!(resolved.words.is_sorted_by_key(|word| word.span.start()), "seed {seed}");
        let (missing, extra) = mistakes(&said, &joined);
        (words, lost, doubled) = (words + said.len(), lost + missing, doubled + extra);
    }
    assert!(seams >= 10_000, "{seams} seams");
    let share = (lost + doubled) as f64 / words as f64;
    assert!(share <= 0.001, "{lost} lost and {doubled} doubled of {words}");
}

#[test]
fn a_word_said_twice_at_a_seam_stays_twice() {
    let hear = |owned, heard: (u64, u64), words: &[(&str, u64)]| {
        let map = ChunkMap::new(owned, rate())
            .with_heard(span_ms(heard.0, heard.1))
            .with_origin(at_ms(heard.0).get() as i64);
        let ms = |at: u64| Duration::from_millis(at - heard.0);
        let words = words.iter().map(|(text, at)| HeardWord::new(*text, ms(*at), ms(at + 200))).collect();
        SeamTimestampAdjuster::new().adjust(&map, &ChunkTranscript::of_words(words)).unwrap()
    };
    let left = hear(
        span_ms(0, 10_000),
        (0, 11_500),
        &[("oh", 9_000), ("no", 9_400), ("no", 9_800), ("no", 10_200), ("stop", 10_700)],
    );
    let right = hear(
        span_ms(10_000, 20_000),
        (8_500, 20_000),
        &[("no", 9_430), ("no", 9_790), ("no", 10_240), ("stop", 10_690), ("it", 11_900)],
    );
    let (joined, seam) = SeamTimestampAdjuster::new().merge(&left, &right);
    assert_eq!(joined.resolve().text(), "oh no no no stop it");
    assert_eq!((seam.merged, seam.dropped), (4, 0));
}

#[test]
fn no_words_are_lost_where_chunks_meet_without_overlap() {
    let hear = |from: u64, to: u64, words: &[(&str, u64, u64)]| {
        let map = ChunkMap::new(span_ms(from, to), rate());
        let ms = |at: u64| Duration::from_millis(at - from);
        let words = words.iter().map(|(text, a, b)| HeardWord::new(*text, ms(*a), ms(*b))).collect();
        SeamTimestampAdjuster::new().adjust(&map, &ChunkTranscript::of_words(words)).unwrap()
    };
    // The last word of the left one is heard to end after the cut, the first of the right one to start with it.
    let left = hear(0, 10_000, &[("good", 9_000, 9_500), ("morning", 9_600, 10_040)]);
    let right = hear(10_000, 20_000, &[("dear", 10_000, 10_300)]);
    let resolved = SeamTimestampAdjuster::new().merge(&left, &right).0.resolve();
    assert_eq!(resolved.text(), "good morning dear");
    assert!(resolved.words.is_sorted_by_key(|word| word.span.start()));
}

#[test]
fn chinese_is_joined_without_spaces_and_english_with() {
    let hear = |from: u64, text: &str| {
        let map = ChunkMap::new(span_ms(from, from + 10_000), rate());
        SeamTimestampAdjuster::new().adjust(&map, &ChunkTranscript::of_text(text)).unwrap()
    };
    let joined = |a: &str, b: &str| {
        SeamTimestampAdjuster::new().merge(&hear(0, a), &hear(10_000, b)).0.resolve().text()
    };
    assert_eq!(joined("你好,", "世界。"), "你好,世界。");
    assert_eq!(joined("good", "morning"), "good morning");
    assert_eq!(joined("你好", "world"), "你好 world");
}

#[test]
fn segments_keep_their_statistics_and_hold_each_word_once() {
    let segment = |text: &str, start, end, logprob| {
        let mut segment = HeardSegment::new(text, Duration::from_secs(start), Duration::from_secs(end));
        segment.stats.avg_logprob = logprob;
        segment
    };
    let heard = ChunkTranscript {
        text: " Good morning. How are you?".to_owned(),
        segments: vec![segment(" Good morning.", 0, 2, -0.1), segment(" How are you?", 3, 5, -0.2)],
        ..ChunkTranscript::default()
    };
    let part =
        SeamTimestampAdjuster::new().adjust(&ChunkMap::new(span_ms(0, 10_000), rate()), &heard).unwrap();
    let resolved = part.resolve();
    let seen: Vec<_> =
        resolved.segments.iter().map(|segment| (segment.text.as_str(), segment.stats.avg_logprob)).collect();
    assert_eq!(seen, [("Good morning.", -0.1), (" How are you?", -0.2)]);
    assert_eq!(resolved.segments[1].span, span_ms(3_000, 5_000));
    assert_eq!(resolved.segments.iter().map(|segment| segment.words.len()).sum::<usize>(), 5);
}

/// Any answer, however odd: words without times, times out of order, texts that do not fit the words.
fn answers() -> impl Strategy<Value = ChunkTranscript> {
    let time = || proptest::option::of((0_u64..60_000).prop_map(Duration::from_millis));
    let word =
        ("[ a-e]{0,3}[.,]?", time(), time()).prop_map(|(text, start, end)| HeardWord { text, start, end });
    let segment = ("[ a-e.]{0,12}", 0_u64..60_000, 0_u64..60_000).prop_map(|(text, start, end)| {
        HeardSegment::new(text, Duration::from_millis(start), Duration::from_millis(end))
    });
    (
        "[ a-e.,世界]{0,40}",
        proptest::option::of(proptest::collection::vec(word, 0..12)),
        proptest::collection::vec(segment, 0..4),
    )
        .prop_map(|(text, words, segments)| ChunkTranscript {
            text,
            words,
            segments,
            ..ChunkTranscript::default()
        })
}

fn any_part() -> impl Strategy<Value = AlignedPart> {
    (answers(), 0_u64..90_000, 1_000_u64..40_000, 0_u64..2_000, 0_u64..2_000).prop_map(
        |(heard, start, length, before, after)| {
            let owned = span_ms(start, start + length);
            let heard_span = span_ms(start.saturating_sub(before), start + length + after);
            let map = ChunkMap::new(owned, rate())
                .with_heard(heard_span)
                .with_origin(heard_span.start().get() as i64);
            SeamTimestampAdjuster::new().adjust(&map, &heard).unwrap()
        },
    )
}

proptest! {
    #[test]
    fn whatever_is_answered_starts_never_fall_and_all_is_within_what_was_heard(
        heard in answers(), start in 0_u64..90_000, length in 1_000_u64..60_000, shift in -2_000_i64..2_000,
    ) {
        let owned = span_ms(start, start + length);
        let map = ChunkMap::new(owned, rate()).with_shift(shift);
        let part = SeamTimestampAdjuster::new().adjust(&map, &heard).unwrap();
        let resolved = part.resolve();
        prop_assert!(resolved.words.is_sorted_by_key(|word| word.span.start()));
        for word in &resolved.words {
            prop_assert!(owned.start() <= word.span.start() && word.span.end() <= owned.end());
        }
        let text: String = resolved.segments.iter().map(|segment| segment.text.as_str()).collect();
        prop_assert_eq!(&text, &resolved.text());
    }

    #[test]
    fn joined_words_are_the_text(heard in answers()) {
        let part = SeamTimestampAdjuster::new().adjust(&ChunkMap::new(span_ms(0, 60_000), rate()), &heard).unwrap();
        let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        if !heard.text.trim().is_empty() {
            prop_assert_eq!(plain(&part.resolve().text()), plain(&heard.text));
        }
    }

    #[test]
    fn each_word_is_there_once_or_counted_as_dropped(words in proptest::collection::vec("[a-c]{1,3}", 0..14), text in "[ a-c]{0,30}") {
        let listed: Vec<HeardWord> = words.iter().map(|word| HeardWord::untimed(word.as_str())).collect();
        let heard = ChunkTranscript { text: format!("x {text}"), words: Some(listed), ..ChunkTranscript::default() };
        let part = SeamTimestampAdjuster::new().adjust(&ChunkMap::new(span_ms(0, 60_000), rate()), &heard).unwrap();
        let emitted = part.resolve().words.len() as u64;
        prop_assert!(emitted + part.fixes().not_in_text >= words.len() as u64);
    }

    #[test]
    fn joining_is_associative_and_equal_parts_are_one(a in any_part(), b in any_part(), c in any_part()) {
        let adjuster = SeamTimestampAdjuster::new();
        let join = |a: &AlignedPart, b: &AlignedPart| adjuster.merge(a, b).0;
        prop_assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&b, &c)));
        prop_assert_eq!(join(&a, &b), join(&b, &a));
        prop_assert_eq!(join(&a, &a), a.clone());
        prop_assert_eq!(join(&join(&a, &b), &b), join(&a, &b));
        prop_assert!(join(&join(&a, &b), &c).resolve().words.is_sorted_by_key(|word| word.span.start()));
    }
}
