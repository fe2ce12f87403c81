//! How errors are classified, so that each layer can tell whether trying again can help.
//!
//! It holds no error of its own but [`InvalidValue`]: each context has its own enum.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What trying again can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ErrorClass {
    /// The same call fails again: the input, the credential or the configuration has to change.
    Permanent,
    /// The same call may succeed a little later.
    Transient,
    /// The other side asked for patience. Waiting is no failed attempt.
    Throttled {
        /// How long the other side asked to be left alone, counted from the answer; `None` if it did not say.
        retry_after: Option<Duration>,
    },
    /// It was worth trying again, and the layer that owns the retries has given up.
    /// A layer above must not repeat the call at once, or retries multiply.
    Exhausted,
}

impl ErrorClass {
    /// Whether the layer that owns the retries of a call may try again.
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::Transient | Self::Throttled { .. } => true,
            Self::Permanent | Self::Exhausted => false,
        }
    }

    /// How long the other side asked to be left alone, if it did.
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after } => retry_after,
            Self::Permanent | Self::Transient | Self::Exhausted => None,
        }
    }

    /// The class once the owner of the retries has given up: what was retryable is exhausted.
    #[must_use]
    pub const fn exhausted(self) -> Self {
        if self.is_retryable() { Self::Exhausted } else { self }
    }
}

/// An error that knows its [`ErrorClass`].
///
/// Implement it with a `match` that has no `_` arm: a new variant then does not compile before someone has decided
/// its class.
pub trait Retryable {
    /// What trying again can do about this error.
    fn class(&self) -> ErrorClass;
}

impl<T: Retryable + ?Sized> Retryable for Arc<T> {
    fn class(&self) -> ErrorClass {
        (**self).class()
    }
}

impl<T: Retryable + ?Sized> Retryable for Box<T> {
    fn class(&self) -> ErrorClass {
        (**self).class()
    }
}

/// A value that was refused at the border: what it is called, what it was, and what would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidValue {
    name: &'static str,
    given: String,
    expected: Cow<'static, str>,
}

impl InvalidValue {
    /// Says that `name` was `given`, and what was `expected` ("at least 1", "a duration above zero").
    pub fn new(name: &'static str, given: impl fmt::Display, expected: impl Into<Cow<'static, str>>) -> Self {
        Self { name, given: given.to_string(), expected: expected.into() }
    }

    /// The name of the field or parameter.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The value that was refused, as text.
    pub fn given(&self) -> &str {
        &self.given
    }

    /// What would have been accepted.
    pub fn expected(&self) -> &str {
        &self.expected
    }
}

impl fmt::Display for InvalidValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is {}, but must be {}", self.name, self.given, self.expected)
    }
}

impl std::error::Error for InvalidValue {}

impl Retryable for InvalidValue {
    fn class(&self) -> ErrorClass {
        ErrorClass::Permanent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn giving_up_exhausts_only_what_could_be_retried() {
        let throttled = ErrorClass::Throttled { retry_after: None };
        assert_eq!(ErrorClass::Transient.exhausted(), ErrorClass::Exhausted);
        assert_eq!(throttled.exhausted(), ErrorClass::Exhausted);
        assert_eq!(ErrorClass::Permanent.exhausted(), ErrorClass::Permanent);
        assert!(!ErrorClass::Exhausted.is_retryable());
    }

    #[test]
    fn a_refused_value_says_its_name_what_it_was_and_what_would_do() {
        let refused = InvalidValue::new("concurrency", 0, "1 to 1024");
        assert_eq!(refused.to_string(), "`concurrency` is 0, but must be 1 to 1024");
        assert_eq!(refused.class(), ErrorClass::Permanent);
    }
}
