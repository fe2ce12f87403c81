//! Priorities that age without being rewritten, and fair shares between tenants.

mod round;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wavequill_kernel::InvalidValue;

use crate::error::invalid_config;
use crate::model::order::to_micros;
use crate::{ClaimChoice, ClaimRound, JobTurn, PriorityManager, QueueError, SortKey};

/// Orders by `min(due + p · A, deadline)`: each step of priority p is worth one aging step A of waiting.
///
/// All jobs age equally fast, so the order of two jobs never changes and nothing is rewritten while they wait.
/// What falls due after `due + p·A` has a later key; hence a job of priority p waits at most p·A longer than an
/// urgent one that falls due p·A later. Between tenants it runs a deficit round robin (Shreedhar and Varghese,
/// SIGCOMM 1995) by cost ÷ weight.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use wavequill_queue::{AgingPriorityManager, JobTurn, Priority, PriorityManager};
///
/// let order = AgingPriorityManager::default();
/// let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(43_200);
/// let low = JobTurn { priority: Priority::LOW, due: noon, deadline: None };
/// let urgent = |minutes: u64| JobTurn { priority: Priority::URGENT, due: noon + Duration::from_secs(60 * minutes), deadline: None };
///
/// assert!(order.sort_key(&urgent(20)) < order.sort_key(&low), "urgent work goes first");
/// assert!(order.sort_key(&urgent(31)) > order.sort_key(&low), "but not for ever");
/// assert_eq!(order.waiting_bound(Priority::LOW), Duration::from_secs(30 * 60));
/// ```
#[derive(Clone, Debug)]
pub struct AgingPriorityManager {
    step_micros: i64,
}

/// How fast waiting outweighs priority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AgingConfig {
    /// How much waiting one step of priority is worth: 1 ms to 30 days. Default: 10 min.
    pub step: Duration,
}

impl Default for AgingConfig {
    fn default() -> Self {
        Self { step: Duration::from_secs(600) }
    }
}

impl AgingConfig {
    /// Sets how much waiting one step of priority is worth.
    #[must_use]
    pub fn with_step(mut self, step: Duration) -> Self {
        self.step = step;
        self
    }
}

impl AgingPriorityManager {
    /// Checks the configuration.
    ///
    /// # Errors
    /// [`QueueError::InvalidConfig`] if the step is out of bounds.
    pub fn new(config: &AgingConfig) -> Result<Self, QueueError> {
        if !(Duration::from_millis(1)..=Duration::from_secs(30 * 86_400)).contains(&config.step) {
            let given = format!("{:?}", config.step);
            return Err(invalid_config(InvalidValue::new("step", given, "1 ms to 30 days")));
        }
        Ok(Self { step_micros: config.step.as_micros() as i64 })
    }
}

impl Default for AgingPriorityManager {
    fn default() -> Self {
        Self { step_micros: 600_000_000 }
    }
}

impl PriorityManager for AgingPriorityManager {
    fn sort_key(&self, turn: &JobTurn) -> SortKey {
        let aged = to_micros(turn.due).saturating_add(i64::from(turn.priority.get()) * self.step_micros);
        SortKey::from_micros(turn.deadline.map_or(aged, |deadline| aged.min(to_micros(deadline))))
    }

    fn choose(&self, round: &ClaimRound<'_>) -> ClaimChoice {
        round::choose(round)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::Priority;
    use proptest::prelude::*;

    fn turn(priority: u8, due_secs: u64, deadline: Option<u64>) -> JobTurn {
        let at = |secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
        JobTurn { priority: Priority::new(priority).unwrap(), due: at(due_secs), deadline: deadline.map(at) }
    }

    #[test]
    fn the_default_is_the_default_configuration() {
        let made = AgingPriorityManager::new(&AgingConfig::default()).unwrap();
        assert_eq!(made.step_micros, AgingPriorityManager::default().step_micros);
        assert!(AgingPriorityManager::new(&AgingConfig::default().with_step(Duration::ZERO)).is_err());
    }

    proptest! {
        #[test]
        fn only_what_falls_due_within_the_bound_overtakes(
            p in 0_u8..10, q in 0_u8..10, due in 0_u64..100_000, later in 0_u64..100_000,
        ) {
            let order = AgingPriorityManager::default();
            let (job, other) = (turn(p, due, None), turn(q, due + later, None));
            if order.sort_key(&other) < order.sort_key(&job) {
                prop_assert!(Duration::from_secs(later) < order.waiting_bound(job.priority));
            }
        }

        #[test]
        fn effective_priorities_are_in_the_order_of_the_keys_at_any_time(
            p in 0_u8..10, q in 0_u8..10, a in 0_u64..100_000, b in 0_u64..100_000, now in 0_u64..1_000_000,
        ) {
            let order = AgingPriorityManager::default();
            let (x, y) = (turn(p, a, None), turn(q, b, None));
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
            let (ex, ey) = (order.effective_priority(&x, now), order.effective_priority(&y, now));
            if (ex - ey).abs() > 1e-6 {
                prop_assert_eq!(ex < ey, order.sort_key(&x) < order.sort_key(&y));
            }
        }

        #[test]
        fn a_deadline_only_moves_a_job_forward(p in 0_u8..10, due in 0_u64..100_000, slack in 0_u64..100_000) {
            let order = AgingPriorityManager::default();
            let with = order.sort_key(&turn(p, due, Some(due + slack)));
            prop_assert!(with <= order.sort_key(&turn(p, due, None)));
            prop_assert!(with <= order.sort_key(&turn(0, due + slack, None)));
        }
    }
}
