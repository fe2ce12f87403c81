//! One round of the deficit round robin: pure.

use std::collections::VecDeque;

use crate::model::Admission;
use crate::{ClaimChoice, ClaimRound, Deferral, LaneId, LaneJob};

/// A lane during the round.
struct Visitor {
    id: LaneId,
    share: f64,
    deficit: f64,
    jobs: VecDeque<LaneJob>,
    complete: bool,
}

pub(super) fn choose(round: &ClaimRound<'_>) -> ClaimChoice {
    let mut choice = ClaimChoice { limits: round.limits.clone(), ..ClaimChoice::default() };
    let quantum = mean_head_cost(round);
    let mut lanes: Vec<Visitor> = round
        .lanes
        .iter()
        .map(|lane| Visitor {
            id: lane.id,
            share: quantum * lane.weight.clamp(0.01, 100.0),
            deficit: lane.deficit.max(0.0),
            jobs: lane.jobs.iter().copied().collect(),
            complete: lane.complete,
        })
        .collect();
    let mut granted = round.resumed;
    'rounds: while choice.take.len() < round.wanted && lanes.iter().any(|lane| !lane.jobs.is_empty()) {
        let before = choice.take.len();
        for lane in &mut lanes {
            if lane.jobs.is_empty() {
                continue;
            }
            if !std::mem::take(&mut granted) {
                lane.deficit += lane.share;
            }
            choice.last = Some(lane.id);
            visit(lane, round, &mut choice);
            if choice.take.len() >= round.wanted {
                // Its visit goes on if it could have taken more.
                choice.interrupted =
                    lane.jobs.front().is_some_and(|job| f64::from(job.cost.get()) <= lane.deficit);
                break 'rounds;
            }
        }
        if choice.take.len() == before {
            skip_empty_rounds(&mut lanes);
        }
    }
    for lane in &lanes {
        let empty = lane.jobs.is_empty() && lane.complete;
        choice.deficits.push((lane.id, if empty { 0.0 } else { lane.deficit }));
    }
    choice
}

/// Takes from one lane what its deficit and the limits allow.
fn visit(lane: &mut Visitor, round: &ClaimRound<'_>, choice: &mut ClaimChoice) {
    while choice.take.len() < round.wanted {
        let Some(head) = lane.jobs.front().copied() else { return };
        let cost = f64::from(head.cost.get());
        let admission = head
            .limit
            .and_then(|key| choice.limits.get(&key))
            .map_or(Admission::Now, |limit| limit.admits(round.now));
        match admission {
            Admission::WhenOneEnds => choice.park.push(head.job),
            Admission::At(until) => choice.defer.push(Deferral { job: head.job, until }),
            Admission::Now if cost > lane.deficit => return,
            Admission::Now => {
                lane.deficit -= cost;
                if let Some(limit) = head.limit.and_then(|key| choice.limits.get_mut(&key)) {
                    limit.start(round.now);
                }
                choice.take.push(head.job);
            }
        }
        lane.jobs.pop_front();
    }
}

/// Nobody could take anything: gives each lane as many shares as pass before somebody can, less the next one.
fn skip_empty_rounds(lanes: &mut [Visitor]) {
    let needed = lanes
        .iter()
        .filter_map(|lane| {
            let missing = f64::from(lane.jobs.front()?.cost.get()) - lane.deficit;
            Some((missing / lane.share).ceil() - 1.0)
        })
        .fold(f64::INFINITY, f64::min);
    if needed.is_finite() && needed > 0.0 {
        for lane in lanes.iter_mut().filter(|lane| !lane.jobs.is_empty()) {
            lane.deficit += needed * lane.share;
        }
    }
}

fn mean_head_cost(round: &ClaimRound<'_>) -> f64 {
    let heads = round.lanes.iter().filter_map(|lane| lane.jobs.first());
    let (sum, count) =
        heads.fold((0.0, 0.0), |(sum, count), job| (sum + f64::from(job.cost.get()), count + 1.0));
    if count > 0.0 { sum / count } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::SystemTime;

    use super::*;
    use crate::{Cost, JobId, Lane, Limit, LimitState};
    use proptest::prelude::*;

    fn lane(id: i64, weight: f64, costs: &[f32], limit: Option<i64>) -> Lane {
        let job = |(n, cost): (usize, &f32)| LaneJob {
            job: JobId::new(id * 1_000 + n as i64),
            cost: Cost::new(*cost).unwrap(),
            limit,
        };
        Lane {
            id: LaneId::new(id),
            weight,
            deficit: 0.0,
            jobs: costs.iter().enumerate().map(job).collect(),
            complete: true,
        }
    }

    fn round<'a>(wanted: usize, lanes: &'a [Lane], limits: &'a BTreeMap<i64, LimitState>) -> ClaimRound<'a> {
        ClaimRound { now: SystemTime::UNIX_EPOCH, wanted, lanes, resumed: false, limits }
    }

    #[test]
    fn one_lane_without_limits_gives_its_first_jobs_in_order() {
        let lanes = [lane(0, 1.0, &[5.0, 1.0, 100.0, 2.0], None)];
        let choice = choose(&round(3, &lanes, &BTreeMap::new()));
        assert_eq!(choice.take, [0, 1, 2].map(JobId::new));
    }

    #[test]
    fn a_full_key_parks_its_jobs_and_lets_others_pass() {
        let full = LimitState { limit: Limit::default().with_max_running(1), ..LimitState::default() };
        let limits = BTreeMap::from([(7, full)]);
        let lanes = [lane(1, 1.0, &[1.0, 1.0, 1.0], Some(7)), lane(2, 1.0, &[1.0, 1.0], None)];
        let choice = choose(&round(5, &lanes, &limits));
        assert_eq!(choice.take, [1_000, 2_000, 2_001].map(JobId::new));
        assert_eq!(choice.park, [1_001, 1_002].map(JobId::new));
        assert_eq!(choice.limits[&7].running, 1);
    }

    #[test]
    fn a_huge_job_beside_tiny_ones_does_not_take_long_to_decide() {
        let lanes = [lane(1, 0.01, &[1e9], None), lane(2, 0.01, &[1e9], None)];
        assert_eq!(choose(&round(2, &lanes, &BTreeMap::new())).take.len(), 2);
    }

    proptest! {
        #[test]
        fn every_job_of_a_round_is_taken_once_if_there_is_room(
            costs in prop::collection::vec(prop::collection::vec(1_u16..1_000, 0..20), 1..10), wanted in 1_usize..250,
        ) {
            let lanes: Vec<_> = costs.iter().enumerate().map(|(n, costs)| {
                let costs: Vec<f32> = costs.iter().map(|cost| f32::from(*cost)).collect();
                lane(n as i64 + 1, 1.0, &costs, None)
            }).collect();
            let all: usize = costs.iter().map(Vec::len).sum();
            let choice = choose(&round(wanted, &lanes, &BTreeMap::new()));
            prop_assert_eq!(choice.take.len(), all.min(wanted));
            let mut once = choice.take.clone();
            once.sort();
            once.dedup();
            prop_assert_eq!(once.len(), choice.take.len());
        }

        /// Many claims of any size against lanes that never run dry: shares differ by a visit and a job at most.
        #[test]
        fn lanes_with_work_get_their_share(
            weights in prop::collection::vec(1_u8..5, 2..6),
            costs in prop::collection::vec(1_u16..100, 6),
            wants in prop::collection::vec(1_usize..40, 40..80),
        ) {
            let cost_of = |n: usize| f32::from(costs[n % costs.len()]);
            let limits = BTreeMap::new();
            let mut got = vec![0.0_f64; weights.len()];
            let mut deficits = vec![0.0_f64; weights.len()];
            let (mut start, mut resumed) = (0_usize, false);
            for wanted in wants {
                let lanes: Vec<_> = (0..weights.len()).map(|n| (start + n) % weights.len()).map(|n| Lane {
                    deficit: deficits[n],
                    complete: false,
                    ..lane(n as i64 + 1, f64::from(weights[n]), &[cost_of(n); 100], None)
                }).collect();
                let choice = choose(&ClaimRound { resumed, ..round(wanted, &lanes, &limits) });
                prop_assert_eq!(choice.take.len(), wanted);
                for job in &choice.take {
                    let n = (job.get() / 1_000 - 1) as usize;
                    got[n] += f64::from(cost_of(n));
                }
                for (lane, deficit) in &choice.deficits {
                    deficits[(lane.get() - 1) as usize] = *deficit;
                }
                let last = (choice.last.unwrap().get() - 1) as usize;
                resumed = choice.interrupted;
                start = if resumed { last } else { (last + 1) % weights.len() };
            }
            let quantum = (0..weights.len()).map(|n| f64::from(cost_of(n))).sum::<f64>() / weights.len() as f64;
            for a in 0..weights.len() {
                for b in 0..weights.len() {
                    let share = |n: usize| got[n] / f64::from(weights[n]);
                    let job = |n: usize| f64::from(cost_of(n)) / f64::from(weights[n]);
                    let bound = quantum + job(a) + job(b) + 1e-6;
                    prop_assert!((share(a) - share(b)).abs() <= bound, "{got:?} {weights:?} {costs:?}");
                }
            }
        }
    }
}
