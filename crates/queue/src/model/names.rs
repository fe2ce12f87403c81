//! Names: of types of jobs and workers, of tenants and limits, and the routing from jobs to workers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use wavequill_kernel::InvalidValue;

use crate::QueueError;

/// The longest name of a type, in bytes.
const MAX_TYPE_BYTES: usize = 32;
/// The longest free text name, in bytes.
const MAX_TEXT_BYTES: usize = 255;

fn is_type_name(text: &str) -> bool {
    (1..=MAX_TYPE_BYTES).contains(&text.len())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

macro_rules! type_name {
    ($(#[$doc:meta])* $name:ident, $label:literal) => {
        $(#[$doc])*
        ///
        /// 1 to 32 of `a-z`, `0-9`, `_` and `-`.
        #[derive(
            Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Cow<'static, str>);

        impl $name {
            /// Takes down speech.
            pub const TRANSCRIPTION: Self = Self(Cow::Borrowed("transcription"));
            /// Shortens a transcript.
            pub const SUMMARIZATION: Self = Self(Cow::Borrowed("summarization"));
            /// Makes a transcript searchable.
            pub const INDEXING: Self = Self(Cow::Borrowed("indexing"));
            /// Turns a transcript into another language.
            pub const TRANSLATION: Self = Self(Cow::Borrowed("translation"));

            /// Checks the name.
            ///
            /// # Errors
            /// [`InvalidValue`] if it is not 1 to 32 of `a-z`, `0-9`, `_` and `-`.
            pub fn new(name: impl Into<String>) -> Result<Self, InvalidValue> {
                let name = name.into();
                if is_type_name(&name) {
                    return Ok(Self(Cow::Owned(name)));
                }
                let expected = "1 to 32 of a-z, 0-9, `_` and `-`";
                Err(InvalidValue::new($label, format!("{name:?}"), expected))
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidValue;

            fn from_str(name: &str) -> Result<Self, InvalidValue> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidValue;

            fn try_from(name: String) -> Result<Self, InvalidValue> {
                Self::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into_owned()
            }
        }
    };
}

type_name! {
    /// What a job is: decides which handler runs it.
    JobType, "job type"
}
type_name! {
    /// What a worker can do. Jobs wait in one queue a worker type.
    WorkerType, "worker type"
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $label:literal) => {
        $(#[$doc])*
        ///
        /// 1 to 255 bytes of any text without a NUL.
        #[derive(
            Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the text.
            ///
            /// # Errors
            /// [`InvalidValue`] if it is empty, longer than 255 bytes, or holds a NUL.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidValue> {
                let text = text.into();
                if (1..=MAX_TEXT_BYTES).contains(&text.len()) && !text.contains('\0') {
                    return Ok(Self(text));
                }
                let given = format!("{:?} of {} bytes", text.chars().take(20).collect::<String>(), text.len());
                Err(InvalidValue::new($label, given, "1 to 255 bytes without a NUL"))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidValue;

            fn try_from(text: String) -> Result<Self, InvalidValue> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

text_name! {
    /// A label of a worker for people: host, process, what you like. It need not be unique.
    WorkerId, "worker id"
}
text_name! {
    /// Whose job it is. Jobs of tenants take turns by their cost; jobs without one form a lane of their own.
    Tenant, "tenant"
}
text_name! {
    /// What jobs share a limit: a customer, an API key, a machine.
    LimitKey, "limit key"
}

/// The first 64 bits of a SHA-256: a short name of a long one.
fn hash64(domain: &str, text: &str) -> i64 {
    let digest = Sha256::new().chain_update(domain).chain_update([0]).chain_update(text).finalize();
    let mut first = [0; 8];
    first.copy_from_slice(digest.split_at(8).0);
    i64::from_be_bytes(first)
}

/// Where a tenant's jobs stand in line: 64 bits of its hash. [`LaneId::NONE`] is the lane of jobs without tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(i64);

impl LaneId {
    /// The lane of the jobs that have no tenant.
    pub const NONE: Self = Self(0);

    /// The lane of a tenant, or of no tenant.
    pub fn of(tenant: Option<&Tenant>) -> Self {
        // A hash of 0 (one in 2⁶⁴) would be taken for no tenant: it moves up by one.
        tenant.map_or(Self::NONE, |tenant| {
            Self(match hash64("tenant", tenant.as_str()) {
                0 => 1,
                hash => hash,
            })
        })
    }

    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Wraps a number that [`get`](Self::get) gave.
    pub const fn new(number: i64) -> Self {
        Self(number)
    }
}

impl LimitKey {
    /// 64 bits of the key's hash, as stores index it.
    pub fn hash(&self) -> i64 {
        hash64("limit", self.as_str())
    }
}

/// Which worker type takes which job type.
///
/// ```
/// use wavequill_queue::{JobType, Routing, WorkerType};
///
/// let everything_by_name = Routing::default();
/// assert_eq!(everything_by_name.route(&JobType::INDEXING)?, WorkerType::INDEXING);
///
/// let gpu = WorkerType::new("gpu")?;
/// let routing = Routing::default().with_route(JobType::TRANSCRIPTION, gpu.clone());
/// assert_eq!(routing.route(&JobType::TRANSCRIPTION)?, gpu);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routing {
    routes: BTreeMap<JobType, WorkerType>,
    only_listed: bool,
}

impl Routing {
    /// No route at all: only what [`with_route`](Self::with_route) adds is accepted.
    pub fn only_listed() -> Self {
        Self { routes: BTreeMap::new(), only_listed: true }
    }

    /// Sends this type of job to that type of worker.
    #[must_use]
    pub fn with_route(mut self, job: JobType, worker: WorkerType) -> Self {
        self.routes.insert(job, worker);
        self
    }

    /// The worker type for a job type: the listed one, else the one of the same name.
    ///
    /// # Errors
    /// [`QueueError::UnknownJobType`] if only listed routes count and there is none.
    pub fn route(&self, job: &JobType) -> Result<WorkerType, QueueError> {
        match self.routes.get(job) {
            Some(worker) => Ok(worker.clone()),
            None if self.only_listed => Err(QueueError::UnknownJobType { job_type: job.clone() }),
            // The two kinds of name obey one rule.
            None => Ok(WorkerType(job.0.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_type_name_is_taken_exactly_if_it_obeys_the_rule(text in "[a-zA-Z0-9_ -]{0,40}") {
            let obeys = (1..=32).contains(&text.len())
                && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-');
            prop_assert_eq!(JobType::new(text).is_ok(), obeys);
        }

        #[test]
        fn a_tenant_never_stands_in_the_lane_of_nobody(text in ".{1,40}") {
            if let Ok(tenant) = Tenant::new(text) {
                prop_assert_ne!(LaneId::of(Some(&tenant)), LaneId::NONE);
            }
        }
    }

    #[test]
    fn a_type_without_a_listed_route_is_refused_by_name() {
        let refused = Routing::only_listed().route(&JobType::INDEXING).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "no worker type takes jobs of type `indexing`: add it to the routing"
        );
    }
}
