//! What the simulator saw: counts, what was billed, and a record of each request.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use http::StatusCode;

use super::audio::HeardAudio;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Outcome {
    /// A whole transcript was sent.
    Granted,
    /// 429 for the quota, the rate or the concurrency.
    Throttled,
    /// 401, 403, or 429 `insufficient_quota`.
    HardStop,
    /// 413, or audio over the limit of duration.
    TooLarge,
    /// Any other refusal that is the request's fault.
    Invalid,
    /// 5xx or 408.
    ServerError,
    /// A success whose body was damaged by a fault.
    Damaged,
    /// The connection was ended by a fault.
    Dropped,
    /// A fault left it without an answer.
    Stalled,
    /// The client went away before its answer.
    Cancelled,
}

/// One request for a transcription. Times are counted from the simulator's start.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RequestRecord {
    /// Its number, from 0.
    pub number: u64,
    /// When its head was read.
    pub started: Duration,
    /// When its answer was sent, or it was given up; `None` while it is in flight.
    pub ended: Option<Duration>,
    /// The protocol.
    pub protocol: http::Version,
    /// The model that was asked for, once the form has been read.
    pub model: Option<String>,
    /// The audio in it; zero if it was not heard.
    pub audio: Duration,
    /// Bytes of its body that were read.
    pub bytes: u64,
    /// The status of its answer.
    pub status: Option<StatusCode>,
    /// What became of it; `None` while that is open.
    pub outcome: Option<Outcome>,
    /// Its `idempotency-key`.
    pub idempotency_key: Option<String>,
    /// The audio that was billed for it.
    pub billed: Duration,
    /// The part of it that had been billed before.
    pub billed_twice: Duration,
}

/// All that the simulator saw until now.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SimulatorReport {
    /// Requests for a transcription.
    pub requests: u64,
    /// Requests by what became of them. Those in flight are in none.
    pub by_outcome: BTreeMap<Outcome, u64>,
    /// Requests that got a whole transcript.
    pub granted: u64,
    /// Requests that got an answer that was an error.
    pub rejected: u64,
    /// Requests in flight now.
    pub in_flight: u64,
    /// The most requests in flight at a time, uploads included.
    pub peak_in_flight: u64,
    /// Audio in all requests that were heard, also those that were refused then.
    pub audio_received: Duration,
    /// Audio that was transcribed, which is what a provider bills. What was transcribed for an answer that was
    /// lost or damaged is billed, what the client gave up before is not.
    pub audio_billed: Duration,
    /// The part of it that had been billed before, by what is in it: see
    /// [`SpeechApiSimulator`](super::SpeechApiSimulator).
    pub audio_billed_twice: Duration,
    /// Bytes of bodies that were read.
    pub bytes_received: u64,
    /// Those of requests that got no transcript.
    pub bytes_wasted: u64,
    /// Connections that were accepted.
    pub connections: u64,
    /// Connections that were closed with GOAWAY (or `connection: close`) by a fault.
    pub goaways: u64,
    /// Each request, in the order of their heads.
    pub log: Vec<RequestRecord>,
}

impl SimulatorReport {
    /// Requests of this outcome.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.by_outcome.get(&outcome).copied().unwrap_or_default()
    }

    /// Sums up the log.
    pub(crate) fn sum_up(&mut self) {
        for record in &self.log {
            let Some(outcome) = record.outcome else { continue };
            *self.by_outcome.entry(outcome).or_default() += 1;
            if outcome != Outcome::Granted {
                self.bytes_wasted += record.bytes;
            }
            let refused = record.status.is_some_and(|status| !status.is_success());
            self.rejected += u64::from(refused && record.ended.is_some());
        }
        self.requests = self.log.len() as u64;
        self.granted = self.count(Outcome::Granted);
        self.bytes_received = self.log.iter().map(|record| record.bytes).sum();
        self.audio_received = self.log.iter().map(|record| record.audio).sum();
        self.audio_billed = self.log.iter().map(|record| record.billed).sum();
        self.audio_billed_twice = self.log.iter().map(|record| record.billed_twice).sum();
    }
}

/// What has been billed, by its content.
#[derive(Clone, Debug, Default)]
pub(crate) struct BilledAudio {
    pairs: HashSet<(u16, u16)>,
    whole: HashSet<u64>,
}

impl BilledAudio {
    /// Bills `audio` and returns how much of it had been billed before.
    ///
    /// Audio is known by the words in it: a word and the next make the stretch from the one's start to the
    /// other's. Audio without words is known as a whole by its samples.
    pub(crate) fn bill(&mut self, audio: &HeardAudio) -> Duration {
        if audio.words.is_empty() {
            let again = audio.fingerprint.is_some_and(|print| !self.whole.insert(print));
            return if again { audio.duration } else { Duration::ZERO };
        }
        let mut twice = Duration::ZERO;
        for (word, next) in audio.words.iter().zip(audio.words.iter().skip(1)) {
            if let (Some(code), Some(next_code)) = (word.code(), next.code())
                && !self.pairs.insert((code.number(), next_code.number()))
            {
                twice += next.start.saturating_sub(word.start);
            }
        }
        twice
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ToneSpeech;

    fn heard(from: usize, to: usize) -> HeardAudio {
        let words: Vec<_> =
            ToneSpeech::new(Duration::from_secs(600)).truth().skip(from).take(to - from).collect();
        let duration = words.last().unwrap().end.abs_diff(words[0].start);
        HeardAudio { duration, words, fingerprint: Some(from as u64) }
    }

    #[test]
    fn audio_that_overlaps_what_was_billed_is_billed_twice_by_the_length_of_the_overlap() {
        let mut billed = BilledAudio::default();
        assert_eq!(billed.bill(&heard(0, 500)), Duration::ZERO);
        assert_eq!(billed.bill(&heard(500, 900)), Duration::ZERO);
        let truth: Vec<_> = ToneSpeech::new(Duration::from_secs(600)).truth().collect();
        assert_eq!(billed.bill(&heard(490, 501)), truth[499].start.abs_diff(truth[490].start));
        let again = billed.bill(&heard(0, 500));
        assert_eq!(again, truth[499].start.abs_diff(truth[0].start));
    }

    #[test]
    fn audio_without_words_is_billed_twice_if_it_is_the_same_as_a_whole() {
        let audio =
            |fingerprint| HeardAudio { duration: Duration::from_secs(30), words: Vec::new(), fingerprint };
        let mut billed = BilledAudio::default();
        assert_eq!(billed.bill(&audio(Some(1))), Duration::ZERO);
        assert_eq!(billed.bill(&audio(Some(2))), Duration::ZERO);
        assert_eq!(billed.bill(&audio(Some(1))), Duration::from_secs(30));
        assert_eq!(billed.bill(&audio(None)), Duration::ZERO);
        assert_eq!(billed.bill(&audio(None)), Duration::ZERO);
    }
}
