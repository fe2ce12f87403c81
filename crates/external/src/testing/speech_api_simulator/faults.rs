//! What goes wrong, and when: by script, by turn, or by chance from a seed.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;

use crate::testing::tone_speech::SplitMix;

/// How a refusal says when to come again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryAfterForm {
    /// Not at all.
    None,
    /// As OpenAI does: `retry-after-ms`, and `retry-after` in whole seconds.
    #[default]
    OpenAi,
    /// `retry-after: 7`, rounded up.
    Seconds,
    /// `retry-after: 6.512`.
    FloatSeconds,
    /// `retry-after: Tue, 24 Nov 2026 10:00:07 GMT`, rounded up.
    HttpDate,
    /// `retry-after-ms: 6512` alone.
    Milliseconds,
    /// `x-ratelimit-reset-requests: 6.512s` alone.
    ResetDuration,
    /// In the text alone: "Please try again in 6.512s".
    Text,
}

/// Something that goes wrong with a request.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// 429 `rate_limit_exceeded`, whatever the quota.
    Throttled {
        /// How it says when to come again.
        form: RetryAfterForm,
        /// When that is.
        after: Duration,
    },
    /// 429 `too_many_concurrent_requests`.
    TooManyConcurrent,
    /// 429 `slow_down`.
    SlowDown,
    /// 429 `insufficient_quota`: the money is gone.
    InsufficientQuota,
    /// This status with OpenAI's body for it.
    Status(StatusCode),
    /// This status with a body of plain text, as gateways send it.
    PlainText(StatusCode),
    /// 200, but the body says `{"status_code": 400, "detail": …}`.
    ErrorInSuccess,
    /// 307 to another host.
    Redirect,
    /// The connection ends when the head of the request has been read.
    DropBeforeUpload,
    /// The connection ends when so many bytes of the body have been read.
    DropDuringUpload(u64),
    /// The work is done and billed, but the connection ends before the answer.
    DropAfterUpload,
    /// Nothing comes after the upload, ever.
    Stall,
    /// The answer ends in its middle, and the connection with it.
    TruncatedBody,
    /// The answer stops in its middle; the connection stays.
    StalledBody,
    /// So many blanks follow the answer.
    OversizedBody(u64),
    /// Half of the JSON, with the right length of that half.
    MalformedJson,
    /// 200 with an empty body.
    EmptyBody,
    /// Another fault that is an answer, given when the head of the request has been read: the upload is not.
    Early(Box<Fault>),
}

impl Fault {
    /// 429 that says `after` in this form.
    pub fn throttled(form: RetryAfterForm, after: Duration) -> Self {
        Self::Throttled { form, after }
    }

    /// The same before the body is read.
    #[must_use]
    pub fn early(self) -> Self {
        Self::Early(Box::new(self))
    }
}

/// Which requests fail, and how. Requests are counted from 0, since these faults were set.
///
/// ```
/// use http::StatusCode;
/// use wavequill_external::testing::{Fault, Faults};
///
/// let faults = Faults::none()
///     .on(0, Fault::DropAfterUpload)
///     .every(100, Fault::Status(StatusCode::BAD_GATEWAY))
///     .with_chance(0.01, Fault::Stall)
///     .with_goaway_after(1_000);
/// # let _ = faults;
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    on: BTreeMap<u64, Fault>,
    first: Vec<(u64, Fault)>,
    every: Vec<(u64, Fault)>,
    chances: Vec<(f64, Fault)>,
    goaway_after: Option<u64>,
}

impl Faults {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self::default()
    }

    /// The request of this number fails.
    #[must_use]
    pub fn on(mut self, request: u64, fault: Fault) -> Self {
        self.on.insert(request, fault);
        self
    }

    /// The first so many requests fail.
    #[must_use]
    pub fn first(mut self, requests: u64, fault: Fault) -> Self {
        self.first.push((requests, fault));
        self
    }

    /// Each n-th request fails: for 3 those of the numbers 2, 5, 8 …
    #[must_use]
    pub fn every(mut self, nth: u64, fault: Fault) -> Self {
        self.every.push((nth.max(1), fault));
        self
    }

    /// Each request fails with this probability (0 to 1), by the simulator's seed.
    #[must_use]
    pub fn with_chance(mut self, probability: f64, fault: Fault) -> Self {
        self.chances.push((probability, fault));
        self
    }

    /// Each connection is closed in good order after so many requests: GOAWAY on HTTP/2, `connection: close` on
    /// HTTP/1.1.
    #[must_use]
    pub fn with_goaway_after(mut self, requests: u64) -> Self {
        self.goaway_after = Some(requests.max(1));
        self
    }

    pub(crate) fn goaway_after(&self) -> Option<u64> {
        self.goaway_after
    }

    /// The fault of a request. Draws the same number of random numbers for each.
    pub(crate) fn of(&self, request: u64, random: &mut SplitMix) -> Option<Fault> {
        let mut drawn = None;
        for (probability, fault) in &self.chances {
            if random.unit() < *probability && drawn.is_none() {
                drawn = Some(fault);
            }
        }
        let turn =
            || self.every.iter().find(|(nth, _)| (request + 1).is_multiple_of(*nth)).map(|(_, fault)| fault);
        let first = || self.first.iter().find(|(requests, _)| request < *requests).map(|(_, fault)| fault);
        self.on.get(&request).or_else(first).or_else(turn).or(drawn).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_come_before_turns_and_turns_before_chance() {
        let faults = Faults::none()
            .with_chance(1.0, Fault::Stall)
            .every(2, Fault::SlowDown)
            .first(4, Fault::EmptyBody)
            .on(1, Fault::Redirect);
        let mut random = SplitMix::new(0);
        let drawn: Vec<_> = (0..8).filter_map(|request| faults.of(request, &mut random)).collect();
        let expected = [
            Fault::EmptyBody,
            Fault::Redirect,
            Fault::EmptyBody,
            Fault::EmptyBody,
            Fault::Stall,
            Fault::SlowDown,
            Fault::Stall,
            Fault::SlowDown,
        ];
        assert_eq!(drawn, expected);
    }

    #[test]
    fn chance_follows_the_seed() {
        let faults = Faults::none().with_chance(0.1, Fault::Stall);
        let stalls = |seed| {
            let mut random = SplitMix::new(seed);
            (0..10_000).filter(|&request| faults.of(request, &mut random).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(stalls(1), stalls(1));
        assert_ne!(stalls(1), stalls(2));
        assert!((900..1_100).contains(&stalls(1).len()));
    }
}
