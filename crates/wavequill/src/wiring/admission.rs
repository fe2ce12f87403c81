//! processing's `Admission` over external's `RateLimitHandler`: a place among the requests in flight, then a permit of
//! the quota, which travels inside the request so that nothing is charged twice.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use wavequill_external::{Cost, Lane, QuotaAnswer, QuotaScope, RateLimitHandler};
use wavequill_processing::{Admission, AttemptSeen, ByteSize, Permit, RecognitionError};

use super::recognizer::recognition_error;

/// Admits what both the adaptive concurrency and the quota let pass.
#[derive(Clone, Debug)]
pub(crate) struct QuotaAdmission {
    concurrency: Arc<dyn Admission>,
    quota: Arc<dyn RateLimitHandler>,
    scope: QuotaScope,
    patience: Duration,
}

impl QuotaAdmission {
    /// `patience` bounds one wait for quota; the orchestrator's deadline bounds them all.
    pub(crate) fn new(
        concurrency: Arc<dyn Admission>,
        quota: Arc<dyn RateLimitHandler>,
        scope: QuotaScope,
        patience: Duration,
    ) -> Self {
        Self { concurrency, quota, scope, patience }
    }
}

fn cost(audio: Duration, bytes: ByteSize) -> Cost {
    Cost::request(audio, bytes.bytes())
}

#[async_trait]
impl Admission for QuotaAdmission {
    fn limit(&self) -> usize {
        self.concurrency.limit()
    }

    fn try_admit(&self, audio: Duration, bytes: ByteSize) -> Option<Permit> {
        let place = self.concurrency.try_admit(audio, bytes)?;
        match self.quota.try_acquire(&self.scope, &cost(audio, bytes)) {
            QuotaAnswer::Granted(permit) => Some(place.with_grant(permit)),
            QuotaAnswer::Wait(_) | QuotaAnswer::Ask | QuotaAnswer::Stopped(_) => None,
        }
    }

    async fn admit(&self, audio: Duration, bytes: ByteSize) -> Result<Permit, RecognitionError> {
        let cost = cost(audio, bytes);
        let place = self.concurrency.admit(audio, bytes).await?;
        let permit = self.quota.acquire(&self.scope, &cost, Lane::Normal, self.patience).await;
        Ok(place.with_grant(permit.map_err(|error| recognition_error(&error))?))
    }

    fn observe(&self, seen: &AttemptSeen) {
        self.concurrency.observe(seen);
    }

    fn expected(&self, audio: Duration) -> Duration {
        self.concurrency.expected(audio)
    }
}
