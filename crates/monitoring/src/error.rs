//! What can go wrong in monitoring, and whether trying again can help.

use wavequill_kernel::{ErrorClass, InvalidValue, Retryable};

use crate::model::layout::MetricUnit;

/// An error of monitoring. None of them ever reaches the code that records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MonitoringError {
    /// A field of a configuration is out of its range.
    #[error("the configuration is refused")]
    InvalidConfig {
        /// Which field, what it was, what would do.
        #[from]
        source: InvalidValue,
    },
    /// A rule cannot be evaluated as it is written; the set that was in force stays.
    #[error("alert rule `{rule}`: `{field}` {reason}")]
    InvalidRule {
        /// The rule's name.
        rule: String,
        /// The field at fault.
        field: String,
        /// What is wrong with it and what would do.
        reason: String,
    },
    /// Another recorder has been installed for the whole process.
    #[error(
        "a metrics recorder is installed already: pass it to `with_downstream`, or build services under `metrics::with_local_recorder`"
    )]
    AlreadyInstalled,
    /// A value that no distribution can hold.
    #[error("the sample {value} is refused: it must be finite and at least 0")]
    RejectedSample {
        /// The value as text.
        value: String,
    },
    /// Two sketches count in different units.
    #[error("a sketch in {left:?} cannot be joined with one in {right:?}: compare series of one metric")]
    UnitMismatch {
        /// The unit of the first.
        left: MetricUnit,
        /// The unit of the second.
        right: MetricUnit,
    },
    /// The snapshots are of two starts of a process, between which nothing can be subtracted.
    #[error(
        "the earlier snapshot is of the start {earlier}, the later of {later}: take both from one process"
    )]
    EpochMismatch {
        /// The earlier snapshot's epoch.
        earlier: String,
        /// The later snapshot's epoch.
        later: String,
    },
    /// A count is smaller in the later snapshot than in the earlier one.
    #[error("the count of {series} fell: the snapshots are swapped, or not of one collector")]
    CountFell {
        /// The series at fault.
        series: String,
    },
    /// Nothing was given to merge.
    #[error("no snapshot was given to merge: pass at least one")]
    NothingToMerge,
    /// A snapshot from elsewhere does not hold together.
    #[error("the snapshot is damaged: {what}")]
    DamagedSnapshot {
        /// What is wrong.
        what: String,
    },
    /// An output would be larger than its limit.
    #[error(
        "the output is over {limit_bytes} bytes; the largest metric is `{largest_metric}`: lower its number of series"
    )]
    OutputTooLarge {
        /// The limit.
        limit_bytes: u64,
        /// The metric with most output.
        largest_metric: String,
    },
    /// Two metrics have the same name in an output once their names are made valid.
    #[error("`{first}` and `{second}` are both written `{name}`: rename one of them")]
    NameClash {
        /// The name in the output.
        name: String,
        /// One metric.
        first: String,
        /// The other.
        second: String,
    },
    /// A saved state could not be read or written.
    #[error("the alert state cannot be {action}: {reason}")]
    StateStore {
        /// `read` or `written`.
        action: &'static str,
        /// What the store said.
        reason: String,
    },
    /// A saved state does not read; it was set aside, and monitoring starts without it.
    #[error("the saved alert state is damaged or of a newer version ({reason}); it was set aside")]
    DamagedState {
        /// What does not read.
        reason: String,
    },
    /// A sink could not deliver.
    #[error("sink `{sink}` did not deliver: {reason}")]
    Sink {
        /// Its name.
        sink: String,
        /// What it said.
        reason: String,
        /// Whether it may work later.
        class: ErrorClass,
    },
    /// A POST of telemetry failed.
    #[error("sending telemetry to {url} failed: {reason}")]
    Transport {
        /// Where to, without credentials.
        url: String,
        /// What was answered.
        reason: String,
        /// Whether it may work later.
        class: ErrorClass,
    },
    /// The exchange of snapshots between processes failed.
    #[error("the snapshot exchange failed: {reason}")]
    Exchange {
        /// What it said.
        reason: String,
    },
    /// The monitor has been shut down.
    #[error("the monitor is shut down")]
    ShutDown,
}

impl Retryable for MonitoringError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::InvalidConfig { .. }
            | Self::InvalidRule { .. }
            | Self::AlreadyInstalled
            | Self::RejectedSample { .. }
            | Self::UnitMismatch { .. }
            | Self::EpochMismatch { .. }
            | Self::CountFell { .. }
            | Self::NothingToMerge
            | Self::DamagedSnapshot { .. }
            | Self::OutputTooLarge { .. }
            | Self::NameClash { .. }
            | Self::DamagedState { .. }
            | Self::ShutDown => ErrorClass::Permanent,
            Self::StateStore { .. } | Self::Exchange { .. } => ErrorClass::Transient,
            Self::Sink { class, .. } | Self::Transport { class, .. } => *class,
        }
    }
}
