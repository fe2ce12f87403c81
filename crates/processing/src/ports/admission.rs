//! Who says when a request may be made. One for each API key, shared by all runs that use the key.

use std::any::Any;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::{ByteSize, RecognitionError};

/// Says when a request may be made, and learns from how requests go.
///
/// The default is [`SlownessAdmission`](crate::SlownessAdmission), which knows no quota: it bounds requests in flight.
///
/// # Cancellation
/// Dropping the future of [`admit`](Self::admit) leaves the queue; nothing is held.
///
/// # Contract
/// 1. Never more permits exist than [`limit`](Self::limit) said when the latest was given.
/// 2. Those who wait are served in order.
/// 3. Dropping a permit gives it back.
/// 4. After [`observe`](Self::observe) was told of [`AttemptOutcome::Throttled`], nobody is admitted before the time
///    that the server asked for is over.
#[async_trait]
pub trait Admission: Debug + Send + Sync + 'static {
    /// How many requests may be in flight now.
    fn limit(&self) -> usize;

    /// A permit that is free at this moment, if one is and nobody waits for it.
    fn try_admit(&self, audio: Duration, bytes: ByteSize) -> Option<Permit>;

    /// Waits for a permit for a request with so much audio in so many bytes.
    ///
    /// # Errors
    /// [`RecognitionError`] if waiting does not help: of the run's scope if the key is stopped, throttled if the wait
    /// would be longer than the implementation allows.
    async fn admit(&self, audio: Duration, bytes: ByteSize) -> Result<Permit, RecognitionError>;

    /// Tells how an attempt went.
    fn observe(&self, seen: &AttemptSeen);

    /// How long a request with so much audio is expected to take.
    fn expected(&self, audio: Duration) -> Duration;
}

#[async_trait]
impl<T: Admission + ?Sized> Admission for Arc<T> {
    fn limit(&self) -> usize {
        (**self).limit()
    }

    fn try_admit(&self, audio: Duration, bytes: ByteSize) -> Option<Permit> {
        (**self).try_admit(audio, bytes)
    }

    async fn admit(&self, audio: Duration, bytes: ByteSize) -> Result<Permit, RecognitionError> {
        (**self).admit(audio, bytes).await
    }

    fn observe(&self, seen: &AttemptSeen) {
        (**self).observe(seen);
    }

    fn expected(&self, audio: Duration) -> Duration {
        (**self).expected(audio)
    }
}

/// How an attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptSeen {
    /// How much audio was sent.
    pub audio: Duration,
    /// How long it took from the permit to the answer.
    pub elapsed: Duration,
    /// What came of it.
    pub outcome: AttemptOutcome,
}

/// What came of an attempt, as far as it says something about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// An answer.
    Answered,
    /// The server asked for patience, for so long if it said.
    Throttled {
        /// Counted from the answer.
        retry_after: Option<Duration>,
    },
    /// It failed in a way that overload explains: a server error, a lost connection, a time-out.
    Failed,
    /// It failed in a way that says nothing about load: the chunk was refused.
    Refused,
    /// It was given up from this side.
    Cancelled,
}

/// The right to make one request. Dropping it gives it back.
pub struct Permit {
    grant: Option<Grant>,
    _held: Option<Box<dyn Any + Send>>,
}

impl Permit {
    /// A permit that nobody counts.
    pub fn uncounted() -> Self {
        Self { grant: None, _held: None }
    }

    /// A permit that is given back when `held` is dropped.
    pub fn holding(held: impl Any + Send) -> Self {
        Self { grant: None, _held: Some(Box::new(held)) }
    }

    /// Adds what the client that makes the request needs, such as a slot of the key's quota.
    #[must_use]
    pub fn with_grant(mut self, grant: impl Any + Send) -> Self {
        self.grant = Some(Grant(Box::new(grant)));
        self
    }

    /// Takes out what the client needs; the permit itself stays.
    pub fn take_grant(&mut self) -> Option<Grant> {
        self.grant.take()
    }
}

impl Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("grant", &self.grant).finish_non_exhaustive()
    }
}

/// What an admission gives for the client that makes the request. This crate does not look into it.
pub struct Grant(Box<dyn Any + Send>);

impl Grant {
    /// What it is, if it is a `T`; else itself again.
    ///
    /// # Errors
    /// The grant, if it is something else.
    pub fn downcast<T: Any>(self) -> Result<T, Self> {
        self.0.downcast().map(|grant| *grant).map_err(Self)
    }
}

impl Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grant")
    }
}
