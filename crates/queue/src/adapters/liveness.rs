//! Which workers are dead, as one observer sees it: pure. No clocks are compared between processes.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::SessionId;

/// A session is dead when its count of heartbeats has not moved for a time to live of the observer's own monotonic
/// time. What the observer has not seen for so long (because it has just started, or stood still) is not.
#[derive(Debug, Default)]
pub(crate) struct SessionWatch {
    seen: BTreeMap<SessionId, Seen>,
    last_look: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    beats: i64,
    since: Duration,
}

/// A session's count of heartbeats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pulse {
    pub(crate) session: SessionId,
    pub(crate) beats: i64,
}

impl SessionWatch {
    /// Looks at all sessions that are not fenced, and answers those that are dead.
    pub(crate) fn look(&mut self, pulses: &[Pulse], now: Duration, ttl: Duration) -> Vec<SessionId> {
        // After an outage of the observer all look dead: only who has looked without a gap may judge.
        let gap = self.last_look.is_some_and(|last| now.saturating_sub(last) >= ttl.saturating_mul(2));
        self.last_look = Some(now);
        if gap {
            self.seen.clear();
        }
        self.seen.retain(|session, _| pulses.iter().any(|pulse| pulse.session == *session));
        let mut dead = Vec::new();
        for pulse in pulses {
            let fresh = Seen { beats: pulse.beats, since: now };
            let seen = self.seen.entry(pulse.session).or_insert(fresh);
            if seen.beats != pulse.beats {
                *seen = fresh;
            } else if now.saturating_sub(seen.since) >= ttl {
                dead.push(pulse.session);
            }
        }
        dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(15);

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn pulse(session: i64, beats: i64) -> Pulse {
        Pulse { session: SessionId::new(session), beats }
    }

    #[test]
    fn only_what_stood_still_for_a_ttl_under_the_observers_eyes_is_dead() {
        let mut watch = SessionWatch::default();
        assert!(watch.look(&[pulse(1, 0), pulse(2, 0)], at(100), TTL).is_empty());
        assert!(watch.look(&[pulse(1, 1), pulse(2, 0)], at(110), TTL).is_empty());
        assert_eq!(watch.look(&[pulse(1, 1), pulse(2, 0)], at(115), TTL), [SessionId::new(2)]);
        assert_eq!(watch.look(&[pulse(1, 1)], at(125), TTL), [SessionId::new(1)]);
    }

    #[test]
    fn an_observer_that_stood_still_itself_judges_nobody() {
        let mut watch = SessionWatch::default();
        assert!(watch.look(&[pulse(1, 0)], at(0), TTL).is_empty());
        assert!(watch.look(&[pulse(1, 0)], at(1_000), TTL).is_empty());
        assert_eq!(watch.look(&[pulse(1, 0)], at(1_015), TTL), [SessionId::new(1)]);
    }
}
