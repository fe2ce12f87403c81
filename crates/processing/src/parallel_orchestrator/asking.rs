//! Asks for one chunk until it is heard, cannot be, or is too large: the only place where attempts are repeated.

use std::time::Duration;

use tokio::time::Instant;
use tracing::Instrument as _;
use wavequill_kernel::{ErrorClass, Retryable};

use super::run_state::RunState;
use super::sending::{self, Room, Sent};
use crate::metrics::{RetryCause, Stage};
use crate::spans;
use crate::{
    ChunkTranscript, ErrorScope, Origin, ProcessingError, ProcessingTask, RecognitionError, SplitCause,
    TooLarge,
};

/// What came of asking for a chunk.
#[derive(Debug)]
pub(super) enum Asked {
    Heard {
        heard: ChunkTranscript,
        origin: Origin,
        attempts: u32,
    },
    /// Smaller chunks may be heard; if it cannot be cut, it ends with the error.
    Split {
        cause: SplitCause,
        instead: ProcessingError,
        attempts: u32,
    },
    Failed {
        error: ProcessingError,
        attempts: u32,
    },
}

/// How often a chunk has been asked for, and how that went.
#[derive(Debug, Default)]
struct Tries {
    /// All requests.
    sent: u32,
    /// Those that count against the most.
    counted: u32,
    timeouts: u32,
    throttled_in_a_row: u32,
}

/// What to do after an attempt.
enum Next {
    End(Asked),
    /// Wait so long, then ask again.
    Again(Duration),
}

pub(super) async fn ask(run: &RunState, task: &ProcessingTask) -> Asked {
    let mut tries = Tries::default();
    loop {
        if let Some(limit) = run.known_too_large(&task.chunk) {
            return too_large(
                limit,
                RecognitionError::too_large(limit, format!("the chunk is {limit}")),
                tries.sent,
            );
        }
        let started = Instant::now();
        let room = match sending::room(run, task).instrument(spans::stage(Stage::Permit.name())).await {
            Room::Made(room) => room,
            Room::Ended => return Asked::Failed { error: run.unsent(), attempts: tries.sent },
            Room::Refused(error) => return refused(run, error, &tries),
        };
        run.engine.metrics.stage(Stage::Permit, started.elapsed());
        tries.sent += 1;
        tries.counted += 1;
        run.journal.note_dispatched(task.id, task.chunk.content_hash());
        let sent = sending::send(run, task, tries.sent, room).await;
        match next(run, task, sent, &mut tries) {
            Next::End(asked) => return asked,
            Next::Again(delay) => {
                if !pause(run, delay).await {
                    return Asked::Failed { error: run.unsent(), attempts: tries.sent };
                }
            }
        }
    }
}

fn next(run: &RunState, task: &ProcessingTask, sent: Sent, tries: &mut Tries) -> Next {
    let attempts = tries.sent;
    match sent {
        Sent::Heard(heard) => {
            run.answered();
            Next::End(Asked::Heard { heard, origin: Origin::Recognizer, attempts })
        }
        Sent::Panicked(what) => {
            Next::End(Asked::Failed { error: ProcessingError::Panicked { what }, attempts })
        }
        Sent::OutOfTime => {
            let given = run.deadline.map_or(Duration::ZERO, |deadline| deadline.given);
            run.halt(ProcessingError::DeadlineExceeded { deadline: given });
            Next::End(Asked::Failed { error: run.unsent(), attempts })
        }
        Sent::TimedOut(after) => {
            tries.timeouts += 1;
            match again(run, task, tries, RetryCause::Timeout) {
                Some(delay) => Next::Again(delay),
                None => Next::End(timed_out(run, after, tries)),
            }
        }
        Sent::Failed(error) => failed(run, task, error, tries),
    }
}

/// A chunk that always takes too long is tried in pieces.
fn timed_out(run: &RunState, after: Duration, tries: &Tries) -> Asked {
    let (error, attempts) = (ProcessingError::TimedOut { after, attempts: tries.sent }, tries.sent);
    if tries.timeouts == tries.counted && tries.counted >= run.engine.config.retry.max_attempts {
        return Asked::Split { cause: SplitCause::TimedOut, instead: error, attempts };
    }
    Asked::Failed { error, attempts }
}

fn failed(run: &RunState, task: &ProcessingTask, error: RecognitionError, tries: &mut Tries) -> Next {
    let attempts = tries.sent;
    if error.scope() == ErrorScope::Run {
        return Next::End(refused(run, error, tries));
    }
    if let Some(limit) = error.limit_exceeded() {
        run.learn(limit);
        return Next::End(too_large(limit, error, attempts));
    }
    match error.class() {
        ErrorClass::Throttled { retry_after } => {
            // The server was asked too early: that is no failed attempt.
            tries.counted -= 1;
            tries.throttled_in_a_row += 1;
            throttled(run, retry_after, error, tries)
        }
        ErrorClass::Transient => {
            tries.throttled_in_a_row = 0;
            match again(run, task, tries, RetryCause::Transient) {
                Some(delay) => Next::Again(delay),
                None => Next::End(given_up(error, attempts)),
            }
        }
        ErrorClass::Permanent | ErrorClass::Exhausted => Next::End(given_up(error, attempts)),
    }
}

fn throttled(run: &RunState, retry_after: Option<Duration>, error: RecognitionError, tries: &Tries) -> Next {
    let config = &run.engine.config;
    let so_far = run.throttled();
    let delay = retry_after.unwrap_or_else(|| run.engine.backoff.ceiling(tries.throttled_in_a_row));
    let past_deadline = run
        .deadline
        .is_some_and(|deadline| Instant::now().checked_add(delay).is_none_or(|then| then > deadline.at));
    if delay > config.max_retry_after || so_far > config.max_throttled || past_deadline {
        run.halt(ProcessingError::Throttled { retry_after: delay });
        return Next::End(given_up(error, tries.sent));
    }
    Next::Again(delay)
}

/// The delay before the next attempt, if there may be one.
fn again(run: &RunState, task: &ProcessingTask, tries: &Tries, cause: RetryCause) -> Option<Duration> {
    if tries.counted >= run.engine.config.retry.max_attempts || run.is_ending() || !run.may_retry() {
        return None;
    }
    run.engine.metrics.asked_again(cause);
    Some(run.engine.backoff.delay(tries.counted, seed(task)))
}

/// Different for each chunk, the same for the same: what fails together does not come back together.
fn seed(task: &ProcessingTask) -> u64 {
    let hash = task.chunk.content_hash();
    let digest = hash.sha256().first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    digest ^ task.id.index().wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Waits without a permit; `false` if the run ends meanwhile.
async fn pause(run: &RunState, delay: Duration) -> bool {
    let _waiting = run.begin_wait();
    run.halted.run_until_cancelled(tokio::time::sleep(delay)).await.is_some()
}

fn given_up(source: RecognitionError, attempts: u32) -> Asked {
    Asked::Failed { error: ProcessingError::Recognition { attempts, source }, attempts }
}

fn too_large(limit: TooLarge, source: RecognitionError, attempts: u32) -> Asked {
    let instead = ProcessingError::Recognition { attempts, source };
    Asked::Split { cause: SplitCause::TooLarge(limit), instead, attempts }
}

/// The key is refused: nothing more is sent with it.
fn refused(run: &RunState, source: RecognitionError, tries: &Tries) -> Asked {
    let error = match (source.scope(), source.class().retry_after()) {
        (ErrorScope::Chunk, Some(retry_after)) => ProcessingError::Throttled { retry_after },
        _ => ProcessingError::Recognition { attempts: tries.sent, source },
    };
    run.halt(error.clone());
    Asked::Failed { error, attempts: tries.sent }
}
