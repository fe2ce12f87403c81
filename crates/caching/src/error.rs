//! What can go wrong in the cache, and whether trying again can help.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use wavequill_kernel::{ErrorClass, InvalidValue, Retryable};

use crate::{CacheLevel, EraseCursor};

/// What the cache and its ports answer when they cannot do what was asked.
///
/// A miss is no error, and an error is never a miss: whoever pays for a miss must not pay for an outage.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// A part of the configuration is out of its range; nothing was built.
    #[error("the cache's configuration is refused")]
    InvalidConfig {
        /// Which field, what it was, and what would do.
        #[source]
        source: InvalidValue,
    },
    /// A key, or a part of it, is malformed; nothing was read or stored.
    #[error("the cache key is refused")]
    InvalidKey {
        /// Which part, what it was, and what would do.
        #[source]
        source: InvalidValue,
    },
    /// An entry breaks a limit; nothing was stored.
    #[error("the cache entry is refused")]
    InvalidValue {
        /// Which part, what it was, and what would do.
        #[source]
        source: InvalidValue,
    },
    /// A time to live is out of range; nothing was stored.
    #[error("the time to live is refused")]
    InvalidTtl {
        /// What it was, and what would do.
        #[source]
        source: InvalidValue,
    },
    /// A pattern that is not one of the three that mean the same set at every level.
    #[error("`{pattern}` is no pattern of this cache: use `*`, `<namespace>:*` or `label:<name>`")]
    InvalidPattern {
        /// What was given.
        pattern: String,
    },
    /// The body is larger than the configuration allows; nothing was stored.
    #[error(
        "a value of {bytes} bytes is above `max_value_bytes` ({limit}): raise it, or keep the value elsewhere"
    )]
    ValueTooLarge {
        /// The length of the body.
        bytes: u64,
        /// The limit in force.
        limit: u64,
    },
    /// A level whose answer is needed did not give one. This is no miss: nothing is known about the key.
    #[error("{level} cannot {operation} now: check that its server or file is reachable, then try again")]
    Unavailable {
        /// The level that failed.
        level: CacheLevel,
        /// What it was asked to do.
        operation: &'static str,
        /// What the level said.
        #[source]
        source: Cause,
    },
    /// The value could not be made durable. Only this process's memory keeps it for now; put it again.
    #[error("the value is not durable: {level} did not store it; put it again")]
    NotDurable {
        /// The level that should have stored it.
        level: CacheLevel,
        /// What the level said.
        #[source]
        source: Cause,
    },
    /// The loader of a missing value failed; every caller that waited for it gets this same error.
    #[error("the missing value could not be loaded")]
    LoadFailed {
        /// What trying again can do, as the loader's error says.
        class: ErrorClass,
        /// The loader's error.
        #[source]
        source: Cause,
    },
    /// An erasure could not finish: some of what it should erase may still be there.
    #[error("the erasure is not complete: call it again with this cursor")]
    ErasureIncomplete {
        /// Where to go on; `None`: from the start, since it was not even recorded.
        cursor: Option<EraseCursor>,
        /// What failed.
        #[source]
        source: Cause,
    },
    /// The body cannot be read as what was asked for.
    #[error("the cached body is no {wanted}: it was stored by another version, or under another type")]
    Undecodable {
        /// The type that was asked for.
        wanted: &'static str,
        /// What the decoder said.
        #[source]
        source: Cause,
    },
}

impl CacheError {
    /// [`Unavailable`](Self::Unavailable), from a driver's error.
    pub fn unavailable(
        level: CacheLevel,
        operation: &'static str,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { level, operation, source: Cause::new(source) }
    }

    /// [`LoadFailed`](Self::LoadFailed), from an error that knows its class.
    pub fn load_failed<E: Error + Retryable + Send + Sync + 'static>(source: E) -> Self {
        Self::LoadFailed { class: source.class(), source: Cause::new(source) }
    }

    /// The same failure of a level, seen by one who wanted to store: what is not stored is not durable.
    pub(crate) fn into_not_durable(self) -> Self {
        match self {
            Self::Unavailable { level, source, .. } => Self::NotDurable { level, source },
            other => other,
        }
    }
}

impl Retryable for CacheError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::InvalidConfig { .. }
            | Self::InvalidKey { .. }
            | Self::InvalidValue { .. }
            | Self::InvalidTtl { .. }
            | Self::InvalidPattern { .. }
            | Self::ValueTooLarge { .. }
            | Self::Undecodable { .. } => ErrorClass::Permanent,
            Self::Unavailable { .. } | Self::NotDurable { .. } | Self::ErasureIncomplete { .. } => {
                ErrorClass::Transient
            }
            Self::LoadFailed { class, .. } => *class,
        }
    }
}

/// An error of a driver or loader: its text and its chain, without its type in a signature.
#[derive(Clone, Debug)]
pub struct Cause(Arc<dyn Error + Send + Sync>);

impl Cause {
    /// Keeps the error; a text is an error, too.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::from(error.into()))
    }

    /// The error itself, to be downcast by who knows what it may be.
    pub fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_to_do_and_leaves_the_reason_to_its_source() {
        let error = CacheError::unavailable(CacheLevel::L3, "read entries", "disk I/O error");
        assert_eq!(
            error.to_string(),
            "L3 cannot read entries now: check that its server or file is reachable, then try again"
        );
        assert_eq!(error.source().unwrap().to_string(), "disk I/O error");
        assert_eq!(error.class(), ErrorClass::Transient);
    }

    #[test]
    fn a_failed_load_has_the_class_of_its_cause() {
        let error = CacheError::load_failed(InvalidValue::new("audio", "empty", "speech"));
        assert_eq!(error.class(), ErrorClass::Permanent);
        assert!(matches!(error, CacheError::LoadFailed { ref source, .. }
            if source.as_error().downcast_ref::<InvalidValue>().is_some()));
    }
}
