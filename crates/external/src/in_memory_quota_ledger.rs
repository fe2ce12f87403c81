//! [`InMemoryQuotaLedger`]: the quota of one process.

pub(crate) mod pace;
pub(crate) mod scope_state;
pub(crate) mod told;
pub(crate) mod twin;
pub(crate) mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::Instant;

use self::scope_state::ScopeState;
use crate::config::RateLimitConfig;
use crate::error::ExternalError;
use crate::metrics::QuotaMetrics;
use crate::model::quota::{Cost, Observation, QuotaScope, QuotaView};
use crate::ports::{Charge, Charged, QuotaLedger};

/// Keeps the state of each quota in memory: what was told, what headers say, what refusals teach.
///
/// Several processes that use one key do not know of one another through it; each then learns from the headers what the
/// others spend.
#[derive(Debug)]
pub struct InMemoryQuotaLedger {
    config: RateLimitConfig,
    scopes: Mutex<BTreeMap<QuotaScope, ScopeState>>,
    metrics: Arc<QuotaMetrics>,
    /// Where its time begins.
    origin: Instant,
}

impl InMemoryQuotaLedger {
    /// A ledger that knows what was told.
    ///
    /// # Errors
    /// [`InvalidConfig`](ExternalError::InvalidConfig).
    pub fn new(config: RateLimitConfig) -> Result<Self, ExternalError> {
        config.check()?;
        let metrics = Arc::new(QuotaMetrics::register());
        Ok(Self { config, scopes: Mutex::default(), metrics, origin: Instant::now() })
    }

    fn with<T>(&self, scope: &QuotaScope, act: impl FnOnce(&mut ScopeState, f64) -> T) -> T {
        let now = self.origin.elapsed().as_secs_f64();
        let mut scopes = self.scopes.lock();
        if let Some(state) = scopes.get_mut(scope) {
            return act(state, now);
        }
        let state = scopes.entry(scope.clone()).or_insert_with(|| ScopeState::new(&self.config));
        act(state, now)
    }
}

#[async_trait]
impl QuotaLedger for InMemoryQuotaLedger {
    fn try_charge(&self, scope: &QuotaScope, cost: &Cost) -> Option<Charged> {
        Some(self.with(scope, |state, now| state.try_charge(cost, now)))
    }

    async fn charge(&self, scope: &QuotaScope, cost: &Cost) -> Result<Charged, ExternalError> {
        Ok(self.with(scope, |state, now| state.try_charge(cost, now)))
    }

    fn sent(&self, scope: &QuotaScope, charge: &mut Charge) {
        self.with(scope, |state, now| state.sent(charge, now));
    }

    fn restore(&self, scope: &QuotaScope, cost: &Cost, _charge: Charge) {
        self.with(scope, |state, _| state.restore(cost));
    }

    fn settle(&self, scope: &QuotaScope, cost: &Cost, charge: Charge, seen: &Observation) {
        let view = self.with(scope, |state, now| {
            state.settle(cost, &charge, seen, now);
            state.view(now)
        });
        self.metrics.settled(&view, seen);
    }

    fn view(&self, scope: &QuotaScope) -> QuotaView {
        self.with(scope, ScopeState::view)
    }
}
