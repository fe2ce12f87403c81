//! One request over one stream, each phase within its time, and what became of the request if it failed.

use std::pin::pin;
use std::sync::Arc;

use tokio::time::{Instant, sleep, sleep_until};

use super::pooled_body::PooledBody;
use super::slot::Slot;
use super::upload_meter::{MeteredBody, UploadMeter};
use crate::config::ConnectionPoolConfig;
use crate::error::{ExternalError, Phase};
use crate::metrics::PoolMetrics;
use crate::model::http::{HttpRequest, HttpResponse, Processed};
use crate::ports::{LinkError, ReplayCause};

/// Counts what was sent in vain when the caller gives up.
struct CancelledUpload<'a> {
    meter: Arc<UploadMeter>,
    metrics: &'a PoolMetrics,
    ended: bool,
}

impl Drop for CancelledUpload<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.metrics.sent_bytes.increment(self.meter.taken());
            self.metrics.wasted_cancelled.increment(self.meter.taken());
        }
    }
}

pub(super) async fn exchange(
    slot: Slot,
    request: &HttpRequest,
    config: &ConnectionPoolConfig,
    metrics: &Arc<PoolMetrics>,
) -> Result<HttpResponse, LinkError> {
    let (body, meter) = MeteredBody::new(Arc::clone(&request.body));
    let mut cancelled = CancelledUpload { meter: Arc::clone(&meter), metrics, ended: false };
    let mut metered = request.clone();
    metered.body = Arc::new(body);
    let answered = within_time(&slot, metered, &meter, config, metrics).await;
    cancelled.ended = true;
    match answered {
        Ok(response) => {
            let HttpResponse { status, headers, body } = response;
            slot.answered();
            let body = PooledBody::new(body, slot, meter, status, config.body_idle, Arc::clone(metrics));
            Ok(HttpResponse { status, headers, body: Box::new(body) })
        }
        Err(failed) => {
            metrics.sent_bytes.increment(meter.taken());
            metrics.wasted_reset.increment(meter.taken());
            Err(judged(failed, &meter, &slot))
        }
    }
}

async fn within_time(
    slot: &Slot,
    request: HttpRequest,
    meter: &UploadMeter,
    config: &ConnectionPoolConfig,
    metrics: &PoolMetrics,
) -> Result<HttpResponse, LinkError> {
    let answer_within = request.answer_within.unwrap_or(config.answer_within);
    let begun = Instant::now();
    let mut sending = pin!(slot.link.send(request));
    let mut taken = meter.taken();
    while !meter.is_done() {
        tokio::select! {
            biased;
            answered = &mut sending => return answered,
            () = meter.done() => {}
            () = sleep(config.upload_stall) => {
                if meter.taken() == taken {
                    let late = ExternalError::Timeout {
                        phase: Phase::Upload,
                        after: config.upload_stall,
                        processed: Processed::No,
                    };
                    return Err(LinkError { error: late, processed: Processed::No, replay: None });
                }
                taken = meter.taken();
            }
        }
    }
    let sent = Instant::now();
    metrics.phase(Phase::Upload, sent - begun);
    tokio::select! {
        biased;
        answered = &mut sending => {
            metrics.phase(Phase::FirstByte, sent.elapsed());
            answered
        }
        () = sleep_until(sent + answer_within) => {
            let processed = Processed::Maybe;
            let late = ExternalError::Timeout { phase: Phase::FirstByte, after: answer_within, processed };
            Err(LinkError { error: late, processed, replay: None })
        }
    }
}

/// Completes what the link says by what the body tells: one that was never touched cannot have been processed, nor can
/// one whose end was never sent; and a body that could not be read is nobody's fault but the source's.
fn judged(mut failed: LinkError, meter: &UploadMeter, slot: &Slot) -> LinkError {
    if let Some(source) = meter.failure() {
        let error = ExternalError::Source { source };
        return LinkError { error, processed: Processed::No, replay: None };
    }
    if !meter.is_touched() && !matches!(failed.error, ExternalError::Timeout { .. }) {
        failed.replay.get_or_insert(ReplayCause::Unsent);
    }
    if matches!(failed.replay, Some(ReplayCause::GoAway | ReplayCause::Unsent)) {
        slot.turned_away();
    }
    if failed.replay.is_some() || !meter.is_done() {
        failed.processed = Processed::No;
    }
    let now = failed.processed;
    match &mut failed.error {
        ExternalError::ConnectionLost { processed, .. } | ExternalError::Timeout { processed, .. } => {
            *processed = now;
        }
        _ => {}
    }
    tracing::debug!(
        target: "wavequill::external",
        origin = %slot.origin(),
        error = %failed.error,
        processed = ?now,
        "a request failed"
    );
    failed
}
