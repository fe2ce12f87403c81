//! The suite of [`JobStore`]: each sentence of its contract, and each function of a store, as a case of its own.

pub mod cases;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::JobStore;

/// A store under test, empty, with default policies and configuration, and its time.
#[async_trait]
pub trait StoreHarness: Debug + Send + Sync {
    /// The store.
    fn store(&self) -> Arc<dyn JobStore>;

    /// What the store takes for now.
    async fn now(&self) -> SystemTime;

    /// Lets time pass for the store: its clock, or the instants that it keeps.
    async fn advance(&self, by: Duration);
}

/// Makes a test of each case of the suite of [`JobStore`](crate::JobStore). It takes an expression that makes a
/// [`StoreHarness`](crate::testing::StoreHarness), and needs `tokio` with its macros.
#[macro_export]
macro_rules! job_store_conformance {
    ($harness:expr) => {
        $crate::job_store_conformance! { @cases $harness;
            jobs_are_claimed_in_the_order_of_their_keys
            of_a_batch_with_a_bad_job_nothing_is_stored
            a_scheduled_job_is_claimed_once_it_is_due_and_not_before
            a_paused_type_is_not_claimed_until_it_is_resumed
            a_type_that_the_worker_lacks_is_not_claimed
            an_ended_session_can_neither_beat_nor_claim
            only_the_latest_token_settles_a_job
            a_silent_worker_is_rescued_after_its_time_and_a_live_one_is_not
            missed_heartbeats_alone_end_no_lease
            a_completed_job_keeps_its_result
            a_lease_that_is_settled_twice_in_one_call_ends_once
            a_retry_waits_and_keeps_what_went_wrong
            a_snooze_spends_no_attempt_and_a_return_spends_nothing
            a_live_unique_key_has_one_live_job
            a_unique_window_outlives_its_job
            a_renewed_job_has_its_attempts_again_and_is_due_at_once
            a_waiting_job_is_replaced_and_a_running_one_is_not
            a_waiting_job_is_cancelled_at_once_and_a_running_one_is_told
            a_dead_job_lives_again_unless_its_key_is_taken
            a_job_that_crashes_its_worker_three_times_is_set_aside
            a_limit_is_never_exceeded_and_never_leaves_a_place_empty
            a_cancelled_turn_does_not_block_its_key
            a_lifted_limit_lets_all_go
            a_rate_spaces_starts
            tenants_take_turns_whatever_they_have_in_line
            a_tenant_of_twice_the_weight_gets_twice_the_cost
            a_placed_job_is_taken_up_by_its_worker_only
            a_placed_job_that_nobody_takes_up_is_in_line_again
            a_placement_obeys_types_pauses_and_limits
            a_closed_session_returns_what_it_holds
            an_abandoned_session_is_rescued_by_the_next_upkeep
            ended_jobs_are_forgotten_after_their_retention
            progress_counts_under_the_present_lease_only
            only_listed_jobs_are_claimed_if_a_list_is_given
            operators_change_what_waits
            pages_hold_every_job_once
            counts_tell_types_and_states
            an_empty_claim_says_when_the_next_job_is_due
            a_joined_job_runs_once_all_have_completed_and_reads_their_results
            stages_follow_each_other_and_a_later_start_is_kept
            who_waits_for_a_dead_job_is_held_until_it_is_replayed
            who_waits_for_a_cancelled_job_is_cancelled_and_who_waits_for_that_too
            a_dead_job_cancels_what_follows_if_that_was_asked_for
            what_follows_may_run_however_its_members_ended
            who_waits_for_a_job_that_was_forgotten_is_cancelled
            a_flow_with_an_empty_stage_is_refused
        }
    };
    (@cases $harness:expr; $($case:ident)*) => {
        $(
            #[::tokio::test]
            async fn $case() {
                let harness = $harness;
                $crate::testing::cases::$case(&harness).await;
            }
        )*
    };
}
