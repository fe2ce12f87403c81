//! Runs a future with a metrics recorder in force at each of its polls.
//!
//! Services register their metrics when they are made, and bind to the recorder that is in force then. Some are made in
//! async functions, and may be polled on any thread; so the recorder is put in force around each poll.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use wavequill_monitoring::MetricsCollector;

/// Polls `future` with the collector's recorder in force.
pub(crate) async fn recorded<F: Future>(collector: Arc<dyn MetricsCollector>, future: F) -> F::Output {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        metrics::with_local_recorder(collector.recorder(), || future.as_mut().poll(context))
    })
    .await
}
