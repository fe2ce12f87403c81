//! A chunk's transcript in bytes: little-endian, every text and list behind its length. Reading never trusts a length.

use std::time::Duration;

use bytes::Bytes;

use super::{ChunkTranscript, HeardSegment, HeardWord, SegmentStats};

/// The first byte; another layout gets another number.
const VERSION: u8 = 1;

pub(super) fn encode(transcript: &ChunkTranscript) -> Bytes {
    let mut out = Vec::with_capacity(64 + transcript.text.len() + transcript.raw.len());
    out.push(VERSION);
    out.push(u8::from(transcript.estimated));
    put_text(&mut out, &transcript.text);
    put_option(&mut out, transcript.language.as_deref(), put_text);
    put_option(&mut out, transcript.duration, put_time);
    put_option(&mut out, transcript.microdollars, |out, cost| out.extend(cost.to_le_bytes()));
    put_option(&mut out, transcript.words.as_deref(), |out, words| put_list(out, words, put_word));
    put_list(&mut out, &transcript.segments, put_segment);
    put_bytes(&mut out, &transcript.raw);
    out.into()
}

pub(super) fn decode(bytes: &Bytes) -> Option<ChunkTranscript> {
    let mut from = Reader { bytes, at: 0 };
    if from.byte()? != VERSION {
        return None;
    }
    let transcript = ChunkTranscript {
        estimated: from.flag()?,
        text: from.text()?,
        language: from.option(Reader::text)?,
        duration: from.option(Reader::time)?,
        microdollars: from.option(Reader::number)?,
        words: from.option(|from| from.list(Reader::word))?,
        segments: from.list(Reader::segment)?,
        raw: from.shared()?,
    };
    (from.at == bytes.len()).then_some(transcript)
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend(bytes);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

/// Whole microseconds; what no recording reaches is cut to the largest number.
fn put_time(out: &mut Vec<u8>, time: Duration) {
    out.extend(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).to_le_bytes());
}

fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

fn put_list<T>(out: &mut Vec<u8>, list: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    out.extend((list.len() as u64).to_le_bytes());
    for item in list {
        put(out, item);
    }
}

fn put_word(out: &mut Vec<u8>, word: &HeardWord) {
    put_text(out, &word.text);
    put_option(out, word.start, put_time);
    put_option(out, word.end, put_time);
}

fn put_segment(out: &mut Vec<u8>, segment: &HeardSegment) {
    put_time(out, segment.start);
    put_time(out, segment.end);
    put_text(out, &segment.text);
    let stats = &segment.stats;
    put_list(out, &stats.tokens, |out, token| out.extend(token.to_le_bytes()));
    for number in [stats.temperature, stats.avg_logprob, stats.compression_ratio, stats.no_speech_prob] {
        out.extend(number.to_le_bytes());
    }
}

struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, len: usize) -> Option<std::ops::Range<usize>> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len())?;
        let range = self.at..end;
        self.at = end;
        Some(range)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let range = self.take(N)?;
        self.bytes.get(range)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn real(&mut self) -> Option<f64> {
        self.array().map(f64::from_le_bytes)
    }

    fn time(&mut self) -> Option<Duration> {
        self.number().map(Duration::from_micros)
    }

    fn block(&mut self) -> Option<std::ops::Range<usize>> {
        let len = usize::try_from(self.number()?).ok()?;
        self.take(len)
    }

    fn shared(&mut self) -> Option<Bytes> {
        self.block().map(|range| self.bytes.slice(range))
    }

    fn text(&mut self) -> Option<String> {
        let range = self.block()?;
        String::from_utf8(self.bytes.get(range)?.to_vec()).ok()
    }

    #[expect(
        clippy::option_option,
        reason = "the outer one: whether it can be read; the inner one: the field"
    )]
    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Some(None) }
    }

    fn list<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let len = self.number()?;
        // An item takes at least a byte: a length that lies costs no memory.
        if len > (self.bytes.len() - self.at) as u64 {
            return None;
        }
        (0..len).map(|_| read(self)).collect()
    }

    fn word(&mut self) -> Option<HeardWord> {
        Some(HeardWord { text: self.text()?, start: self.option(Self::time)?, end: self.option(Self::time)? })
    }

    fn segment(&mut self) -> Option<HeardSegment> {
        Some(HeardSegment {
            start: self.time()?,
            end: self.time()?,
            text: self.text()?,
            stats: SegmentStats {
                tokens: self.list(|from| from.array().map(u32::from_le_bytes))?,
                temperature: self.real()?,
                avg_logprob: self.real()?,
                compression_ratio: self.real()?,
                no_speech_prob: self.real()?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time() -> impl Strategy<Value = Duration> {
        any::<u32>().prop_map(|micros| Duration::from_micros(u64::from(micros)))
    }

    fn word() -> impl Strategy<Value = HeardWord> {
        (any::<String>(), proptest::option::of(time()), proptest::option::of(time()))
            .prop_map(|(text, start, end)| HeardWord { text, start, end })
    }

    fn segment() -> impl Strategy<Value = HeardSegment> {
        (any::<String>(), time(), time(), proptest::collection::vec(any::<u32>(), 0..4), -9.0..9.0).prop_map(
            |(text, start, end, tokens, number)| HeardSegment {
                start,
                end,
                text,
                stats: SegmentStats { tokens, avg_logprob: number, ..SegmentStats::default() },
            },
        )
    }

    prop_compose! {
        fn transcript()(
            text: String,
            language: Option<String>,
            duration in proptest::option::of(time()),
            words in proptest::option::of(proptest::collection::vec(word(), 0..6)),
            segments in proptest::collection::vec(segment(), 0..4),
            estimated: bool,
            microdollars: Option<u64>,
            raw: Vec<u8>,
        ) -> ChunkTranscript {
            ChunkTranscript { text, language, duration, words, segments, estimated, microdollars, raw: raw.into() }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(transcript in transcript()) {
            prop_assert_eq!(ChunkTranscript::decode(&transcript.encode()).unwrap(), transcript);
        }

        #[test]
        fn a_cut_off_transcript_is_refused(transcript in transcript(), share in 0.0..1.0) {
            let bytes = transcript.encode();
            let cut = (bytes.len() as f64 * share) as usize;
            prop_assert!(ChunkTranscript::decode(&bytes.slice(..cut)).is_err());
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(mut bytes: Vec<u8>) {
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            let bytes = Bytes::from(bytes);
            if let Ok(transcript) = ChunkTranscript::decode(&bytes) {
                prop_assert_eq!(transcript.encode(), bytes);
            }
        }
    }
}
