//! Flows as all stores decide them alike: pure.

use std::time::SystemTime;

use crate::adapters::rules::{Checked, check_batch};
use crate::{EnqueuedFlow, FlowId, Job, JobId, JobState, NewFlow, OnFailure, Policies, QueueError};

/// A flow that may be stored.
#[derive(Clone, Debug)]
pub(crate) struct CheckedFlow {
    stages: Vec<Vec<Checked>>,
    pub(crate) on_failure: OnFailure,
}

/// What follows for those who wait, when a member has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlowStep {
    /// One less to wait for.
    Count,
    /// Nothing: it may be replayed.
    Hold,
    /// They are cancelled.
    Cancel,
}

pub(crate) fn member_ended(state: JobState, on_failure: OnFailure) -> FlowStep {
    match (state, on_failure) {
        (JobState::Completed, _) | (_, OnFailure::RunNext) => FlowStep::Count,
        (JobState::Dead | JobState::Quarantined, OnFailure::Hold) => FlowStep::Hold,
        _ => FlowStep::Cancel,
    }
}

/// The flow that a change of this job concerns: it has ended just now.
pub(crate) fn ended_in(before: &Job, after: &Job) -> Option<FlowId> {
    after.flow.filter(|_| after.state.is_ended() && !before.state.is_ended())
}

pub(crate) fn check(flow: NewFlow, policies: &Policies, now: SystemTime) -> Result<CheckedFlow, QueueError> {
    flow.check().map_err(|reason| QueueError::InvalidFlow { reason })?;
    let sizes: Vec<usize> = flow.stages.iter().map(Vec::len).collect();
    let mut jobs = check_batch(flow.stages.into_iter().flatten().collect(), policies, now)?.into_iter();
    let stages = sizes.into_iter().map(|size| jobs.by_ref().take(size).collect()).collect();
    Ok(CheckedFlow { stages, on_failure: flow.on_failure })
}

/// What is stored of a flow.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) jobs: Vec<Job>,
    /// Each with the count of its members.
    pub(crate) flows: Vec<(FlowId, usize)>,
    pub(crate) answer: EnqueuedFlow,
}

impl CheckedFlow {
    pub(crate) fn jobs(&self) -> impl Iterator<Item = &Checked> {
        self.stages.iter().flatten()
    }

    /// How many flows it needs: one between two stages.
    pub(crate) fn joints(&self) -> usize {
        self.stages.len().saturating_sub(1)
    }

    /// The stored form, with ids as they are drawn and as many flows as there are joints.
    pub(crate) fn accept(
        self,
        mut ids: impl Iterator<Item = JobId>,
        flows: Vec<FlowId>,
        now: SystemTime,
        policies: &Policies,
    ) -> Accepted {
        let mut accepted = Accepted { jobs: Vec::new(), flows: Vec::new(), answer: EnqueuedFlow::default() };
        for (at, stage) in self.stages.into_iter().enumerate() {
            let flow = flows.get(at).copied();
            let waits_for = at.checked_sub(1).and_then(|before| flows.get(before)).copied();
            accepted.flows.extend(flow.map(|flow| (flow, stage.len())));
            let mut jobs = Vec::with_capacity(stage.len());
            for (checked, id) in stage.into_iter().zip(ids.by_ref()) {
                let mut job = Job { flow, waits_for, ..checked.accept(id, now, policies) };
                if waits_for.is_some() {
                    job.state = JobState::Waiting;
                }
                jobs.push(id);
                accepted.jobs.push(job);
            }
            accepted.answer.stages.push(jobs);
        }
        accepted.answer.flows = flows;
        accepted
    }
}

#[cfg(test)]
mod tests {
    use super::FlowStep::{Cancel, Count, Hold};
    use super::*;

    #[test]
    fn who_waits_is_told_by_how_a_member_ended() {
        let ends = [JobState::Completed, JobState::Cancelled, JobState::Dead, JobState::Quarantined];
        let steps = |on_failure| ends.map(|state| member_ended(state, on_failure));
        assert_eq!(steps(OnFailure::Hold), [Count, Cancel, Hold, Hold]);
        assert_eq!(steps(OnFailure::CancelNext), [Count, Cancel, Cancel, Cancel]);
        assert_eq!(steps(OnFailure::RunNext), [Count, Count, Count, Count]);
    }
}
