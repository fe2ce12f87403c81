//! What the tasks of one run share: how far it is, what it may still do, and what ends it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::Engine;
use crate::spans;
use crate::{
    AudioChunk, ByteSize, ChunkProcessor, ChunkResult, Origin, ProcessingError, ProgressSender,
    ProgressWatch, RunControl, RunCosts, RunJournal, TaskId, TaskSource, TooLarge, TranscriptStore,
};

/// What the tasks of one run share.
#[derive(Debug)]
pub(crate) struct RunState {
    pub(crate) engine: Arc<Engine>,
    pub(crate) by: Arc<dyn ChunkProcessor>,
    pub(crate) journal: Arc<dyn RunJournal>,
    pub(crate) store: Arc<dyn TranscriptStore>,
    pub(crate) progress: ProgressSender,
    pub(crate) started: Instant,
    pub(super) span: Span,
    /// When it ends at the latest.
    pub(crate) deadline: Option<Deadline>,
    /// Ends everything at once.
    pub(super) cancelled: CancellationToken,
    /// Lets what is in flight end, and sends no more.
    pub(super) halted: CancellationToken,
    /// Told when a task begins to wait, so that another can be taken.
    pub(super) room: Notify,
    /// Whether every task has been taken.
    pub(super) exhausted: AtomicBool,
    /// Tasks that wait without a permit.
    waiting: AtomicUsize,
    /// Tasks that may poll a processor's future.
    active: AtomicUsize,
    idle: Notify,
    parts: AtomicU32,
    counts: Counts,
    facts: Mutex<Facts>,
}

/// The time that a run has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) given: Duration,
}

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    retries: AtomicU64,
    hedges: AtomicU64,
    throttled: AtomicU64,
    audio_sent_micros: AtomicU64,
    bytes_sent: AtomicU64,
    microdollars: AtomicU64,
    store_errors: AtomicU64,
}

/// What is found out on the way.
#[derive(Debug, Default)]
struct Facts {
    ended_by: Option<ProcessingError>,
    max_bytes: Option<ByteSize>,
    max_duration: Option<Duration>,
    /// Since when the key has only been throttled.
    throttled_since: Option<Instant>,
    /// What the requests were expected to take: all of them, and the longest.
    expected: Duration,
    longest_expected: Duration,
    most_requests: usize,
}

impl RunState {
    pub(super) fn new(engine: Arc<Engine>, by: Arc<dyn ChunkProcessor>, tasks: &TaskSource) -> Arc<Self> {
        let (progress, _) = ProgressWatch::channel();
        progress.modify(|progress| {
            progress.audio_total = tasks.totals.audio;
            progress.chunks_total = tasks.totals.chunks;
        });
        let started = Instant::now();
        let deadline = tasks.deadline.and_then(|given| {
            // A deadline that no clock can show is none.
            started.checked_add(given).map(|at| Deadline { at, given })
        });
        let store = tasks.store.as_ref().unwrap_or(&engine.store).clone();
        Arc::new(Self {
            store,
            engine,
            by,
            journal: Arc::clone(&tasks.journal),
            progress,
            started,
            span: spans::run(&tasks.name, tasks.totals.audio),
            deadline,
            cancelled: CancellationToken::new(),
            halted: CancellationToken::new(),
            room: Notify::new(),
            exhausted: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            idle: Notify::new(),
            parts: AtomicU32::new(0),
            counts: Counts::default(),
            facts: Mutex::default(),
        })
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends no more, for this reason; the first one counts.
    pub(super) fn halt(&self, why: ProcessingError) {
        self.facts().ended_by.get_or_insert(why);
        self.halted.cancel();
    }

    pub(super) fn ended_by(&self) -> Option<ProcessingError> {
        self.facts().ended_by.clone()
    }

    pub(super) fn is_ending(&self) -> bool {
        self.halted.is_cancelled() || self.cancelled.is_cancelled()
    }

    pub(super) fn is_past_deadline(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline.at)
    }

    /// What a task that was not sent ends with.
    pub(super) fn unsent(&self) -> ProcessingError {
        match self.ended_by() {
            Some(error @ ProcessingError::DeadlineExceeded { .. }) => error,
            _ => ProcessingError::Cancelled,
        }
    }

    /// Says that a task may poll a processor's future, as long as the guard lives.
    pub(super) fn enter(&self) -> Active<'_> {
        self.active.fetch_add(1, Ordering::AcqRel);
        Active(self)
    }

    /// Says that a task waits without a permit, as long as the guard lives.
    pub(super) fn begin_wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        self.room.notify_one();
        Waiting(self)
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// A name for a piece of a chunk.
    pub(super) fn next_part(&self, of: TaskId) -> TaskId {
        of.part(self.parts.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(super) fn count_request(&self, chunk: &AudioChunk) {
        let micros = u64::try_from(chunk.duration().as_micros()).unwrap_or(u64::MAX);
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        self.counts.audio_sent_micros.fetch_add(micros, Ordering::Relaxed);
        self.counts.bytes_sent.fetch_add(chunk.content_length(), Ordering::Relaxed);
    }

    /// A request begins (1) or ends (-1).
    pub(super) fn flight_changed(&self, requests: i64, bytes: i64) {
        self.progress
            .modify(|progress| progress.in_flight = progress.in_flight.saturating_add_signed(requests));
        let engine = &self.engine;
        let in_flight = engine.in_flight.fetch_add(requests, Ordering::Relaxed) + requests;
        let in_flight_bytes = engine.in_flight_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        engine.metrics.in_flight.set(in_flight as f64);
        engine.metrics.in_flight_bytes.set(in_flight_bytes as f64);
    }

    pub(super) fn count_store_error(&self) {
        self.counts.store_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one retry out of the budget, if there is one.
    pub(super) fn may_retry(&self) -> bool {
        let retry = &self.engine.config.retry;
        let requests = self.counts.requests.load(Ordering::Relaxed);
        let most = u64::from(retry.budget) + (requests as f64 * retry.budget_share) as u64;
        take_one(&self.counts.retries, most)
    }

    /// Takes one hedge out of the budget, if there is one and nothing is left to send.
    pub(super) fn may_hedge(&self, max_share: f64) -> bool {
        if !self.exhausted.load(Ordering::Acquire) || self.is_ending() {
            return false;
        }
        let requests = self.counts.requests.load(Ordering::Relaxed);
        take_one(&self.counts.hedges, ((requests as f64 * max_share) as u64).max(1))
    }

    /// Gives back a hedge that could not be made.
    pub(super) fn return_hedge(&self) {
        self.counts.hedges.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn answered(&self) {
        self.facts().throttled_since = None;
    }

    /// Counts an answer that asks for patience: since when there have been only such.
    pub(super) fn throttled(&self) -> Duration {
        self.counts.throttled.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        now.saturating_duration_since(*self.facts().throttled_since.get_or_insert(now))
    }

    /// Remembers a limit that the recognizer named: it holds for the run.
    pub(super) fn learn(&self, limit: TooLarge) {
        let mut facts = self.facts();
        match limit {
            TooLarge::Bytes { limit: Some(limit) } => {
                facts.max_bytes = Some(facts.max_bytes.map_or(limit, |known| known.min(limit)));
            }
            TooLarge::Duration { limit: Some(limit) } => {
                facts.max_duration = Some(facts.max_duration.map_or(limit, |known| known.min(limit)));
            }
            TooLarge::Bytes { limit: None } | TooLarge::Duration { limit: None } => {}
        }
    }

    /// The limit that a chunk is known to be over before it is sent.
    pub(super) fn known_too_large(&self, chunk: &AudioChunk) -> Option<TooLarge> {
        let facts = self.facts();
        let bytes = facts.max_bytes.filter(|limit| chunk.content_length() > limit.bytes());
        let duration = facts.max_duration.filter(|limit| chunk.duration() > *limit);
        bytes
            .map(|limit| TooLarge::Bytes { limit: Some(limit) })
            .or_else(|| duration.map(|limit| TooLarge::Duration { limit: Some(limit) }))
    }

    /// Remembers what a request is expected to take while so many may be in flight.
    pub(super) fn expect(&self, request: Duration, limit: usize) {
        let mut facts = self.facts();
        facts.expected = facts.expected.saturating_add(request);
        facts.longest_expected = facts.longest_expected.max(request);
        facts.most_requests = facts.most_requests.max(limit);
    }

    /// How long the run took by the least that was possible: all requests shared out evenly, or the longest of them.
    pub(super) fn makespan_ratio(&self) -> Option<f64> {
        let facts = self.facts();
        let even = facts.expected.as_secs_f64() / facts.most_requests.max(1) as f64;
        let least = even.max(facts.longest_expected.as_secs_f64());
        (least > 0.0).then(|| self.started.elapsed().as_secs_f64() / least)
    }

    /// Counts a resolved task. Audio that was asked for again has been counted when it was first heard.
    pub(super) fn resolved(&self, result: &ChunkResult, again: bool) {
        let audio = if again { Duration::ZERO } else { result.task.audio() };
        let cost = result.transcript().filter(|_| result.origin == Origin::Recognizer);
        let microdollars = cost.and_then(|heard| heard.microdollars).unwrap_or(0);
        self.counts.microdollars.fetch_add(microdollars, Ordering::Relaxed);
        let elapsed = self.started.elapsed();
        self.progress.modify(|progress| {
            progress.audio_done += audio;
            progress.chunks_done += 1;
            progress.microdollars += microdollars;
            match (&result.outcome, result.origin) {
                (Err(_), _) => progress.failed += 1,
                (Ok(_), Origin::Recognizer) => {}
                (Ok(_), Origin::Store | Origin::Journal) => {
                    progress.reused += 1;
                    progress.audio_reused += audio;
                }
            }
            let asked = progress.audio_done.saturating_sub(progress.audio_reused).as_secs_f64();
            let left = progress.audio_total.saturating_sub(progress.audio_done).as_secs_f64();
            progress.eta = (asked > 0.0).then(|| elapsed.mul_f64(left / asked));
        });
    }

    /// Counts tasks that came of one.
    pub(super) fn added(&self, tasks: usize) {
        self.progress.modify(|progress| progress.chunks_total += tasks as u64);
    }

    pub(super) fn costs(&self) -> RunCosts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        RunCosts {
            requests: get(&self.counts.requests),
            retries: get(&self.counts.retries),
            hedges: get(&self.counts.hedges),
            throttled: get(&self.counts.throttled),
            audio_sent: Duration::from_micros(get(&self.counts.audio_sent_micros)),
            bytes_sent: ByteSize::new(get(&self.counts.bytes_sent)),
            microdollars: get(&self.counts.microdollars),
            store_errors: get(&self.counts.store_errors),
        }
    }
}

/// Adds one to `count` if it stays within `most`.
fn take_one(count: &AtomicU64, most: u64) -> bool {
    count
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| (taken < most).then_some(taken + 1))
        .is_ok()
}

#[async_trait]
impl RunControl for RunState {
    fn watch(&self) -> ProgressWatch {
        self.progress.watch()
    }

    async fn cancel(&self) {
        self.halt(ProcessingError::Cancelled);
        self.cancelled.cancel();
        loop {
            // Made before the count is read: a task that leaves in between wakes it.
            let idle = self.idle.notified();
            if self.active.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// A task that may poll a processor's future.
pub(super) struct Active<'a>(&'a RunState);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        if self.0.active.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// A task that waits without a permit.
pub(super) struct Waiting<'a>(&'a RunState);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
