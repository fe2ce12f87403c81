//! One attempt: room for it, the request, its time-out, and perhaps a second request beside it.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::Instrument as _;
use wavequill_kernel::{ErrorClass, Retryable};

use super::chunk_task::said;
use super::run_state::RunState;
use crate::metrics::{HedgeOutcome, Stage};
use crate::spans;
use crate::{
    AttemptOutcome, AttemptSeen, ByteSize, ChunkAttempt, ChunkTranscript, ErrorScope, HedgeConfig, Permit,
    ProcessingTask, RecognitionError,
};

/// An attempt is given up after so many times the time it is expected to take.
const TIMEOUT_FACTOR: u32 = 4;
/// A request is slow after so many times.
const HEDGE_FACTOR: u32 = 2;

/// What one request holds while it is made.
#[derive(Debug)]
pub(super) struct Held {
    permit: Permit,
    _bytes: OwnedSemaphorePermit,
}

/// What came of asking for room.
pub(super) enum Room {
    Made(Held),
    /// The run ends: nothing more is sent.
    Ended,
    /// The admission says that waiting does not help.
    Refused(RecognitionError),
}

/// What came of an attempt.
#[derive(Debug)]
pub(super) enum Sent {
    Heard(ChunkTranscript),
    Failed(RecognitionError),
    TimedOut(Duration),
    /// The run's deadline is over.
    OutOfTime,
    Panicked(String),
}

/// Waits until a request may be made.
pub(super) async fn room(run: &RunState, task: &ProcessingTask) -> Room {
    if run.is_ending() || run.is_past_deadline() {
        return Room::Ended;
    }
    if let Some(held) = try_room(run, task) {
        return Room::Made(held);
    }
    // Bytes first: they are this process's own. So no permit of the key is held while waiting for something else.
    let wait = async {
        let bytes = bytes_of(run, task);
        let bytes = std::sync::Arc::clone(&run.engine.bytes).acquire_many_owned(bytes).await;
        let size = ByteSize::new(task.chunk.content_length());
        let permit = run.engine.admission.admit(task.audio(), size).await;
        (bytes, permit)
    };
    let wait = run.halted.run_until_cancelled(wait);
    let got = match run.deadline {
        Some(deadline) => tokio::time::timeout_at(deadline.at, wait).await.ok().flatten(),
        None => wait.await,
    };
    match got {
        Some((Ok(bytes), Ok(permit))) => Room::Made(Held { permit, _bytes: bytes }),
        Some((_, Err(error))) => Room::Refused(error),
        // Nobody closes the count of bytes.
        Some((Err(_), _)) | None => Room::Ended,
    }
}

/// Room that there is without waiting.
fn try_room(run: &RunState, task: &ProcessingTask) -> Option<Held> {
    let bytes = std::sync::Arc::clone(&run.engine.bytes).try_acquire_many_owned(bytes_of(run, task)).ok()?;
    let permit = run.engine.admission.try_admit(task.audio(), ByteSize::new(task.chunk.content_length()))?;
    Some(Held { permit, _bytes: bytes })
}

/// What a chunk takes of the bytes in flight. One that is larger than all of them is sent alone.
fn bytes_of(run: &RunState, task: &ProcessingTask) -> u32 {
    let most = run.engine.config.max_in_flight_bytes.bytes().min(u64::from(u32::MAX));
    task.chunk.content_length().min(most) as u32
}

/// Makes an attempt, and gives it up in time.
pub(super) async fn send(run: &RunState, task: &ProcessingTask, number: u32, held: Held) -> Sent {
    let started = Instant::now();
    let expected = run.engine.admission.expected(task.audio());
    if number == 1 {
        run.expect(expected, run.engine.admission.limit());
    }
    let patience = run.engine.config.min_attempt_timeout.max(expected.saturating_mul(TIMEOUT_FACTOR));
    let gives_up = started.checked_add(patience);
    let until = match (gives_up, run.deadline.map(|deadline| deadline.at)) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let request = async {
        match run.engine.config.hedge {
            None => request(run, task, number, held, false).await,
            Some(hedge) => hedged(run, task, number, held, expected, hedge).await,
        }
    };
    let sent = match until {
        Some(until) => tokio::time::timeout_at(until, request).await.ok(),
        None => Some(request.await),
    };
    run.engine.metrics.stage(Stage::Attempt, started.elapsed());
    match sent {
        Some(sent) => sent,
        None if run.is_past_deadline() => Sent::OutOfTime,
        None => {
            let (audio, outcome) = (task.audio(), AttemptOutcome::Failed);
            run.engine.admission.observe(&AttemptSeen { audio, elapsed: started.elapsed(), outcome });
            Sent::TimedOut(patience)
        }
    }
}

/// One request, whatever the processor does in it.
async fn request(run: &RunState, task: &ProcessingTask, number: u32, held: Held, hedge: bool) -> Sent {
    let span = spans::attempt(number, hedge);
    let mut flight = Flight::begin(run, task, held);
    let attempt = ChunkAttempt { task: task.clone(), number, grant: flight.held.permit.take_grant() };
    let outcome = AssertUnwindSafe(async { run.by.process(attempt).await }).catch_unwind();
    let outcome = outcome.instrument(span.clone()).await;
    let (seen, sent) = match outcome {
        Ok(Ok(heard)) => (AttemptOutcome::Answered, Sent::Heard(heard)),
        Ok(Err(error)) => (outcome_of(&error), Sent::Failed(error)),
        Err(panic) => (AttemptOutcome::Refused, Sent::Panicked(said(panic.as_ref()))),
    };
    span.record("outcome", name_of(seen));
    flight.seen = seen;
    sent
}

fn name_of(outcome: AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::Answered => "ok",
        AttemptOutcome::Throttled { .. } => "throttled",
        AttemptOutcome::Failed => "transient",
        AttemptOutcome::Refused => "permanent",
        AttemptOutcome::Cancelled => "cancelled",
    }
}

fn outcome_of(error: &RecognitionError) -> AttemptOutcome {
    match error.class() {
        ErrorClass::Throttled { retry_after } => AttemptOutcome::Throttled { retry_after },
        ErrorClass::Transient => AttemptOutcome::Failed,
        ErrorClass::Permanent | ErrorClass::Exhausted => AttemptOutcome::Refused,
    }
}

/// A request, and a second one beside it if it is slow and nothing else is to be sent. The first answer wins.
async fn hedged(
    run: &RunState,
    task: &ProcessingTask,
    number: u32,
    held: Held,
    expected: Duration,
    hedge: HedgeConfig,
) -> Sent {
    let mut first = std::pin::pin!(request(run, task, number, held, false));
    let mut patience = expected.saturating_mul(HEDGE_FACTOR);
    let second = loop {
        tokio::select! {
            biased;
            sent = &mut first => return sent,
            () = tokio::time::sleep(patience) => {}
        }
        if run.may_hedge(hedge.max_share) {
            if let Some(held) = try_room(run, task) {
                break held;
            }
            run.return_hedge();
            run.engine.metrics.hedged(HedgeOutcome::Refused);
        }
        patience = (expected / 2).max(Duration::from_millis(100));
    };
    let mut second = std::pin::pin!(request(run, task, number, second, true));
    let (sent, by_second) = tokio::select! {
        biased;
        sent = &mut first => if decides(&sent) { (sent, false) } else { (second.await, true) },
        sent = &mut second => if decides(&sent) { (sent, true) } else { (first.await, false) },
    };
    run.engine.metrics.hedged(if by_second { HedgeOutcome::Won } else { HedgeOutcome::Lost });
    sent
}

/// Whether nothing that the other request could say would matter.
fn decides(sent: &Sent) -> bool {
    match sent {
        Sent::Heard(_) => true,
        Sent::Failed(error) => error.scope() == ErrorScope::Run || error.limit_exceeded().is_some(),
        Sent::TimedOut(_) | Sent::OutOfTime | Sent::Panicked(_) => false,
    }
}

/// A request on its way. When it ends, however it does, it is counted out and the admission told.
struct Flight<'a> {
    run: &'a RunState,
    task: &'a ProcessingTask,
    held: Held,
    started: Instant,
    seen: AttemptOutcome,
}

impl<'a> Flight<'a> {
    fn begin(run: &'a RunState, task: &'a ProcessingTask, held: Held) -> Self {
        run.count_request(&task.chunk);
        run.flight_changed(1, task.chunk.content_length() as i64);
        Self { run, task, held, started: Instant::now(), seen: AttemptOutcome::Cancelled }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.run.flight_changed(-1, -(self.task.chunk.content_length() as i64));
        let (audio, elapsed) = (self.task.audio(), self.started.elapsed());
        // Before the permit goes back: whoever gets it next finds the limit and the pause that follow from this.
        self.run.engine.admission.observe(&AttemptSeen { audio, elapsed, outcome: self.seen });
    }
}
