//! What one process remembers between the rounds of a fair route: pure.

use std::collections::BTreeMap;

use crate::{ClaimChoice, LaneId};

/// At most so many lanes take part in a round.
pub(crate) const MAX_LANES: usize = 64;

/// At most so many rounds a claim: those after the first replace jobs that were parked or deferred.
pub(crate) const MAX_ROUNDS: usize = 8;

/// Where the round robin stands, and what each lane may still take. Idle lanes cost nothing.
#[derive(Debug, Default)]
pub(crate) struct FairState {
    last: Option<LaneId>,
    interrupted: bool,
    deficits: BTreeMap<LaneId, f64>,
}

impl FairState {
    /// The lanes of the next round, in the order of their visits, out of all that have ready jobs (by id).
    pub(crate) fn order(&self, lanes: &[LaneId]) -> Vec<LaneId> {
        let first = match self.last {
            None => 0,
            Some(last) if self.interrupted => lanes.partition_point(|lane| *lane < last),
            Some(last) => lanes.partition_point(|lane| *lane <= last),
        };
        let (before, from) = lanes.split_at(first.min(lanes.len()));
        from.iter().chain(before).copied().take(MAX_LANES).collect()
    }

    /// Whether the round goes on with the visit that the last one cut short.
    pub(crate) fn resumes(&self, first: LaneId) -> bool {
        self.interrupted && self.last == Some(first)
    }

    /// What a lane may still take.
    pub(crate) fn deficit(&self, lane: LaneId) -> f64 {
        self.deficits.get(&lane).copied().unwrap_or(0.0)
    }

    /// Remembers the round; `lanes` are all that had ready jobs: the others lose what they had.
    pub(crate) fn apply(&mut self, choice: &ClaimChoice, lanes: &[LaneId]) {
        self.deficits.retain(|lane, _| lanes.binary_search(lane).is_ok());
        for (lane, deficit) in &choice.deficits {
            if *deficit > 0.0 {
                self.deficits.insert(*lane, *deficit);
            } else {
                self.deficits.remove(lane);
            }
        }
        if choice.last.is_some() {
            self.last = choice.last;
            self.interrupted = choice.interrupted;
        }
    }
}

/// How many jobs of each lane a round looks at.
pub(crate) fn heads_per_lane(wanted: usize, lanes: usize) -> usize {
    wanted.div_ceil(lanes.max(1)) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_go_on_where_the_last_one_ended_and_wrap() {
        let lanes = [1, 2, 3].map(LaneId::new);
        let mut state = FairState::default();
        assert_eq!(state.order(&lanes), lanes);
        state.apply(&ClaimChoice { last: Some(LaneId::new(2)), ..ClaimChoice::default() }, &lanes);
        assert_eq!(state.order(&lanes), [3, 1, 2].map(LaneId::new));
        let cut = ClaimChoice { last: Some(LaneId::new(2)), interrupted: true, ..ClaimChoice::default() };
        state.apply(&cut, &lanes);
        assert_eq!(state.order(&lanes), [2, 3, 1].map(LaneId::new));
        assert!(state.resumes(LaneId::new(2)));
        assert_eq!(state.order(&[LaneId::new(1)]), [LaneId::new(1)]);
        assert!(!state.resumes(LaneId::new(1)));
    }
}
