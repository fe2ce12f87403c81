//! What a request tells the circuit breaker, however it ends.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::circuit_breaker::{Admitted, CircuitBreaker, CircuitBreakerConfig, Health};
use crate::error::{ExternalError, Phase};
use crate::metrics::ApiMetrics;
use crate::model::origin::Origin;

/// The breaker of one API, if it has one.
#[derive(Clone, Debug)]
pub(super) struct Circuit(Option<Arc<Mutex<CircuitBreaker>>>);

impl Circuit {
    pub(super) fn new(config: Option<CircuitBreakerConfig>) -> Self {
        Self(config.map(|config| Arc::new(Mutex::new(CircuitBreaker::new(config)))))
    }

    /// Lets a request go, unless the API has failed again and again.
    pub(super) fn enter<'a>(
        &self,
        origin: &'a Origin,
        metrics: &'a ApiMetrics,
    ) -> Result<Entered<'a>, ExternalError> {
        let admitted = self.0.as_ref().map_or(Admitted::Yes, |breaker| breaker.lock().admit(Instant::now()));
        if let Admitted::No(retry_after) = admitted {
            return Err(ExternalError::CircuitOpen { origin: origin.clone(), retry_after });
        }
        Ok(Entered { circuit: self.clone(), admitted, health: Health::Unknown, origin, metrics })
    }
}

/// A request that was let go; dropped without a word, it was given up.
#[derive(Debug)]
pub(super) struct Entered<'a> {
    circuit: Circuit,
    admitted: Admitted,
    health: Health,
    origin: &'a Origin,
    metrics: &'a ApiMetrics,
}

impl Entered<'_> {
    pub(super) fn ended<T>(mut self, result: &Result<T, ExternalError>) {
        self.health = result.as_ref().map_or_else(health, |_| Health::Answered);
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let Some(breaker) = &self.circuit.0 else { return };
        let now = Instant::now();
        let mut breaker = breaker.lock();
        let was_open = breaker.is_open(now);
        breaker.ended(self.admitted, self.health, now);
        let is_open = breaker.is_open(now);
        drop(breaker);
        self.metrics.circuit_open.set(f64::from(u8::from(is_open)));
        if is_open && !was_open {
            tracing::warn!(target: "wavequill::external", origin = %self.origin, "it fails again and again: nothing is sent");
        }
    }
}

fn health(error: &ExternalError) -> Health {
    match error {
        ExternalError::Connect { .. }
        | ExternalError::ConnectionLost { .. }
        | ExternalError::ServerFailed { .. } => Health::Failed,
        ExternalError::Timeout { phase, .. } => match phase {
            Phase::Dns | Phase::Connect | Phase::Tls | Phase::Upload | Phase::FirstByte | Phase::Body => {
                Health::Failed
            }
            // These depend on what else this client does.
            Phase::Quota | Phase::Stream | Phase::Whole => Health::Unknown,
        },
        ExternalError::TooLarge { .. }
        | ExternalError::TooLong { .. }
        | ExternalError::Rejected { .. }
        | ExternalError::Stopped { .. }
        | ExternalError::Throttled { .. }
        | ExternalError::RetryAfterTooLong { .. }
        | ExternalError::InvalidResponse { .. }
        | ExternalError::ModelUnavailable { .. }
        | ExternalError::Redirected { .. } => Health::Answered,
        ExternalError::InvalidConfig { .. }
        | ExternalError::InvalidRequest { .. }
        | ExternalError::Unsupported { .. }
        | ExternalError::CircuitOpen { .. }
        | ExternalError::Source { .. }
        | ExternalError::Ledger { .. }
        | ExternalError::Closed => Health::Unknown,
    }
}
