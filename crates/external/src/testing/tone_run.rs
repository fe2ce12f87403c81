//! Reads one loud stretch of tone-coded speech: a word, a piece of a word, or words without a gap.

use super::tone_probe::ToneProbe;
use super::tone_vocabulary::{RAMP_MS, TONE_MS, ToneWord, WORD_MS, samples_of_ms, time_of};

/// How much a word may lack or exceed, and still is one; what is shorter than this is not heard.
const SLACK_MS: u64 = 20;
/// Words by which a stretch without gaps is aligned.
const ALIGN_WORDS: u64 = 8;
/// Steps in which the place of the first whole word is sought.
const ALIGN_STEP_MS: u64 = 4;

/// Where a stretch ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RunEdges {
    /// Quiet follows it.
    Within,
    /// The audio ends with it, so it may be cut there.
    AtEnd,
}

/// Reads stretches one after another; between the parts of one it remembers where its words begin.
#[derive(Clone, Debug)]
pub(crate) struct RunReader {
    probe: ToneProbe,
    rate: u32,
    /// Set while a stretch is read in parts: where its next word begins in what was not read yet.
    next_word: Option<i64>,
    /// Whether a part of the stretch has been read.
    continues: bool,
}

/// Loud from `start` to `end`, in samples of the stretch.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: i64,
    end: i64,
}

impl RunReader {
    pub(crate) fn new(rate: u32) -> Self {
        Self { probe: ToneProbe::new(rate), rate, next_word: None, continues: false }
    }

    /// Reads the words of a stretch that goes on, and returns how many samples are done with.
    pub(crate) fn read_part(&mut self, run: &[i16], base: u64, words: &mut Vec<ToneWord>) -> usize {
        let start = if self.continues { 0 } else { self.span(run).start };
        let span = Span { start, end: run.len() as i64 };
        let at_start = base == 0 && start == 0;
        let aligned = self.next_word.or_else(|| self.align(run, span, at_start, RunEdges::AtEnd));
        let Some(mut next) = aligned else {
            self.garbled(run, base, span, span.start, words);
            self.continues = true;
            return run.len();
        };
        if !self.continues {
            self.last_piece(run, base, Span { start: span.start, end: next }, words);
        }
        while next + 2 * self.word_len() <= span.end {
            self.word(run, base, next, words);
            next += self.word_len();
        }
        self.continues = true;
        // Tones begin and end softly: what is before the next word is no longer needed.
        let read = next.max(0);
        self.next_word = Some(next - read);
        read as usize
    }

    /// Reads the rest of a stretch, or the whole of it.
    pub(crate) fn read_rest(&mut self, run: &[i16], base: u64, end: RunEdges, words: &mut Vec<ToneWord>) {
        let mut span = self.span(run);
        let continues = std::mem::take(&mut self.continues);
        let aligned = self.next_word.take();
        if continues {
            span.start = 0;
        }
        let at_start = !continues && base == 0 && span.start == 0;
        let end = if span.end == run.len() as i64 { end } else { RunEdges::Within };
        let length = span.end - span.start;
        if aligned.is_none() && !continues && (length - self.word_len()).abs() <= self.slack() {
            // A word that was cut a little is measured from the side where it is whole.
            let start = match (at_start, end) {
                (true, RunEdges::Within) => span.end - self.word_len(),
                (false, RunEdges::AtEnd) => span.start,
                _ => span.start + (length - self.word_len()) / 2,
            };
            return self.word(run, base, start, words);
        }
        if aligned.is_none() && length < self.word_len() {
            let piece = if at_start { Self::last_piece } else { Self::first_piece };
            return piece(self, run, base, span, words);
        }
        let Some(mut next) = aligned.or_else(|| self.align(run, span, at_start, end)) else {
            return self.garbled(run, base, span, span.start, words);
        };
        if !continues {
            self.last_piece(run, base, Span { start: span.start, end: next }, words);
        }
        while next + self.word_len() - self.slack() <= span.end {
            self.word(run, base, next, words);
            next += self.word_len();
        }
        self.first_piece(run, base, Span { start: next, end: span.end }, words);
    }

    /// Where the first whole word of a stretch without gaps begins: where most words can be read, if that is
    /// most of them and at least two.
    fn align(&self, run: &[i16], span: Span, at_start: bool, end: RunEdges) -> Option<i64> {
        if !at_start && self.readable(run, span, span.start)? {
            return Some(span.start);
        }
        if end == RunEdges::Within {
            let first = span.start + (span.end - span.start) % self.word_len();
            if self.readable(run, span, first)? {
                return Some(first);
            }
        }
        let step = samples_of_ms(ALIGN_STEP_MS, self.rate) as i64;
        let hits: Vec<i64> = (0..WORD_MS / ALIGN_STEP_MS)
            .map(|n| span.start + n as i64 * step)
            .filter(|&start| self.readable(run, span, start) == Some(true))
            .collect();
        // All hits are one place give or take a few steps, or there is no telling. The place at the very end
        // of the search may be the one at its beginning.
        let first = *hits.first()?;
        let around = |hit: i64| if hit - first > self.word_len() / 2 { hit - self.word_len() } else { hit };
        let (low, high) = hits
            .iter()
            .map(|&hit| around(hit))
            .fold((first, first), |(low, high), hit| (low.min(hit), high.max(hit)));
        (high - low < self.tone_len()).then(|| i64::midpoint(low, high))
    }

    /// Whether at least two words, and three quarters of the first eight from `start`, can be read; `None` if
    /// there is no room for two.
    fn readable(&self, run: &[i16], span: Span, start: i64) -> Option<bool> {
        let room = (span.end - start + self.slack()) / self.word_len();
        if (span.end - span.start) / self.word_len() < 2 {
            return None;
        }
        let count = room.min(ALIGN_WORDS as i64);
        let read = (0..count).filter(|n| self.probe.word(run, start + n * self.word_len()).is_some()).count();
        Some(read >= 2 && 4 * read as i64 >= 3 * count)
    }

    fn word(&self, run: &[i16], base: u64, start: i64, words: &mut Vec<ToneWord>) {
        let span = Span { start, end: start + self.word_len() };
        match self.probe.word(run, start) {
            Some(code) => words.push(self.heard(code.to_string(), base, span)),
            None => self.garbled(run, base, span, start, words),
        }
    }

    /// The first piece of a word: its first tone is whole.
    fn first_piece(&self, run: &[i16], base: u64, span: Span, words: &mut Vec<ToneWord>) {
        if span.end - span.start >= self.slack() {
            self.garbled(run, base, span, span.start, words);
        }
    }

    /// The last piece of a word: its last tone is whole.
    fn last_piece(&self, run: &[i16], base: u64, span: Span, words: &mut Vec<ToneWord>) {
        let length = span.end - span.start;
        if length >= self.slack() {
            self.garbled(run, base, span, span.start + length % self.tone_len(), words);
        }
    }

    fn garbled(&self, run: &[i16], base: u64, span: Span, first_tone: i64, words: &mut Vec<ToneWord>) {
        let whole = ((span.end - first_tone) / self.tone_len()).max(0) as usize;
        let tones = self.probe.tones(run, first_tone).into_iter().take(whole).flatten();
        let text = tones.fold("x".to_owned(), |mut text, tone| {
            text.extend(char::from_digit(u32::from(tone), 16));
            text
        });
        words.push(self.heard(text, base, span));
    }

    fn heard(&self, text: String, base: u64, span: Span) -> ToneWord {
        let at = |offset: i64| time_of(base.saturating_add_signed(offset), self.rate);
        ToneWord { text, start: at(span.start), end: at(span.end) }
    }

    fn word_len(&self) -> i64 {
        samples_of_ms(WORD_MS, self.rate) as i64
    }

    fn tone_len(&self) -> i64 {
        samples_of_ms(TONE_MS, self.rate) as i64
    }

    fn slack(&self) -> i64 {
        samples_of_ms(SLACK_MS, self.rate) as i64
    }

    /// Where the stretch is loud: between the first and the last place where it passes half of its usual
    /// loudness, which is in the middle of a ramp.
    fn span(&self, run: &[i16]) -> Span {
        let hop = samples_of_ms(1, self.rate) as usize;
        let mut loudness: Vec<f32> = run
            .chunks(hop)
            .map(|hop| hop.iter().map(|&s| f32::from(s) * f32::from(s)).sum::<f32>() / hop.len() as f32)
            .map(f32::sqrt)
            .collect();
        let half = usual(&loudness) / 2.0;
        let ramp = samples_of_ms(RAMP_MS, self.rate) as i64 / 2;
        let start = crossing(&loudness, half, hop).map_or(0, |start| start - ramp);
        loudness.reverse();
        // The last hop may be a short one.
        let short = (hop - run.len() % hop) % hop;
        let end = crossing(&loudness, half, hop).map_or(0, |end| end - ramp - short as i64);
        let end = run.len() as i64 - end.max(0);
        Span { start: start.max(0), end }
    }
}

/// The median of what is at least half as loud as the loudest.
fn usual(loudness: &[f32]) -> f32 {
    let loudest = loudness.iter().copied().fold(0.0, f32::max);
    let mut loud: Vec<f32> = loudness.iter().copied().filter(|&loudness| 2.0 * loudness >= loudest).collect();
    loud.sort_by(f32::total_cmp);
    loud.get(loud.len() / 2).copied().unwrap_or_default()
}

/// The first place, in samples, where the loudness passes `half`; `None` if it does so from the beginning.
fn crossing(loudness: &[f32], half: f32, hop: usize) -> Option<i64> {
    let index = loudness.iter().position(|&loudness| loudness >= half)?;
    let (before, at) = (loudness.get(index.checked_sub(1)?)?, loudness.get(index)?);
    let share = (half - before) / (at - before).max(f32::EPSILON);
    // Loudness belongs to the middle of its hop.
    Some(((index as f32 - 0.5 + share) * hop as f32).round() as i64)
}
