//! What all parts of the cache share: configuration, ports, memory, the view of the log, and time.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use wavequill_kernel::Clock;

use super::counters::LevelCounters;
use super::flights::Flights;
use super::leases::Leases;
use super::second_level::SecondLevel;
use crate::l1::{L1Table, Residence};
use crate::log_view::{Applied, LogView, WINDOW};
use crate::metrics::{CacheMetrics, register};
use crate::ports::{CachePorts, LogScope, Notice, NoticeReceiver, Removal, RemoveIf};
use crate::space_saving::SpaceSaving;
use crate::{
    CacheConfig, CacheError, CacheKey, CacheLevel, CacheStats, CacheValue, Count, L1Verdict, LevelStats,
    LogPosition, Selector,
};

/// How many bumps one poll reads.
const PAGE: u32 = 10_000;
/// How many keys the hot set counts.
const HOT_KEYS: usize = 4_096;

pub(crate) struct Core {
    pub(crate) config: CacheConfig,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ports: CachePorts,
    pub(crate) l1: L1Table,
    pub(crate) view: LogView,
    pub(crate) metrics: Arc<CacheMetrics>,
    pub(crate) hot: Mutex<SpaceSaving>,
    pub(super) flights: Arc<Flights>,
    pub(super) leases: Arc<Leases>,
    pub(crate) l2: Option<SecondLevel>,
    counters: [LevelCounters; 3],
    /// One poll at a time: pages must be applied in the order in which they were asked for.
    polls: Semaphore,
}

impl Core {
    pub(super) fn new(config: CacheConfig, ports: CachePorts, clock: Arc<dyn Clock>) -> Arc<Self> {
        let metrics = Arc::new(register());
        let leases = Arc::new(Leases::default());
        let flights = {
            let leases = leases.clone();
            Flights::new(Box::new(move |key, token| leases.finish(key, token)))
        };
        let l2 = ports.l2.clone().map(|tier| SecondLevel::new(tier, metrics.breaker_open.clone()));
        Arc::new(Self {
            l2,
            l1: L1Table::new(config.l1_bytes.as_bytes(), config.l1_entry_limit(), metrics.evictions.clone()),
            view: LogView::new(ports.log.scope(), config.max_staleness),
            hot: Mutex::new(SpaceSaving::new(HOT_KEYS)),
            counters: Default::default(),
            polls: Semaphore::new(1),
            config,
            clock,
            ports,
            metrics,
            flights,
            leases,
        })
    }

    /// Monotonic nanoseconds.
    pub(crate) fn tick(&self) -> u64 {
        self.clock.monotonic().as_nanos() as u64
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    pub(crate) fn counters(&self, level: CacheLevel) -> &LevelCounters {
        let [l1, l2, l3] = &self.counters;
        match level {
            CacheLevel::L1 => l1,
            CacheLevel::L2 => l2,
            CacheLevel::L3 => l3,
        }
    }

    /// Whether L1 and L2 may be served from.
    pub(crate) fn is_fresh(&self) -> bool {
        self.view.is_fresh(self.tick())
    }

    /// Asks the log if the node does not know it well enough. A log that does not answer only costs L1 and L2.
    pub(super) async fn freshen(&self) {
        if self.is_fresh() && self.view.head().is_some() {
            return;
        }
        if let Err(error) = self.catch_up(None).await {
            tracing::warn!(target: "wavequill::caching", %error, "the log does not answer: serving from L3 only");
        }
    }

    /// Reads the log up to its head. With `at_least`, only if the node is not there yet.
    pub(crate) async fn catch_up(&self, at_least: Option<LogPosition>) -> Result<(), CacheError> {
        let Ok(_turn) = self.polls.acquire().await else { return Ok(()) };
        let is_there = |head: LogPosition| at_least.is_some_and(|position| head.covers(&position));
        if self.is_fresh() && self.view.head().is_some_and(is_there) {
            return Ok(());
        }
        if self.view.head().is_none() {
            let head = self.ports.log.head().await?;
            self.view.start_at(head.seq.saturating_sub(WINDOW as u64));
        }
        loop {
            let sent = self.tick();
            let page = self.ports.log.since(self.view.next(), PAGE).await?;
            let complete = page.bumps.len() < PAGE as usize;
            match self.view.apply(&page, complete, sent) {
                Applied::CaughtUp => return Ok(()),
                Applied::Behind => {}
                Applied::Reset => {
                    self.metrics.log_resets.increment(1);
                    tracing::warn!(target: "wavequill::caching", "the log is another one: memory is cleared");
                    self.l1.clear();
                    return Ok(());
                }
            }
        }
    }

    /// Follows the log, until it is dropped: each quarter of `max_staleness`, and whenever the bus says so.
    pub(super) async fn follow_log(self: Arc<Self>, mut notices: Box<dyn NoticeReceiver>) {
        let mut bus_is_open = true;
        loop {
            tokio::select! {
                notice = notices.next(), if bus_is_open => match notice {
                    Some(Notice::Bumped(position)) => self.follow_once(Some(position)).await,
                    Some(Notice::Ended(subjects)) => self.flights.wake(&subjects),
                    Some(Notice::Lagged) => {
                        self.flights.wake_all();
                        self.follow_once(None).await;
                    }
                    None => bus_is_open = false,
                },
                () = sleep(self.config.max_staleness / 4), if self.ports.log.scope() != LogScope::Process => {
                    self.follow_once(None).await;
                }
                else => return,
            }
            self.set_gauges();
        }
    }

    async fn follow_once(&self, at_least: Option<LogPosition>) {
        if let Err(error) = self.catch_up(at_least).await {
            tracing::warn!(target: "wavequill::caching", %error, "the log does not answer");
        }
    }

    pub(super) fn keep_leases(&self) -> impl Future<Output = ()> + Send + use<> {
        let (leases, backplane) = (self.ports.leases.clone(), self.ports.backplane.clone());
        self.leases.clone().run(leases, backplane, self.metrics.clone(), self.config.lease_ttl)
    }

    pub(super) async fn give_leases_back(&self) {
        self.leases.give_back(&*self.ports.leases, &*self.ports.backplane).await;
    }

    /// Bumps what is selected, and sees to it that this node knows.
    pub(crate) async fn invalidate(&self, what: &Selector) -> Result<LogPosition, CacheError> {
        let position = self.ports.log.append(&[what.subject()]).await?;
        self.metrics.invalidations(what.kind()).increment(1);
        if let Selector::Key(key) = what {
            self.l1.remove(key);
        }
        // If the node cannot catch up, it must not serve from memory: what it holds may be over.
        if let Err(error) = self.catch_up(Some(position)).await {
            tracing::warn!(target: "wavequill::caching", %error, "memory is cleared: the log does not answer");
            self.l1.clear();
            self.view.distrust();
        }
        self.ports.backplane.publish(Notice::Bumped(position)).await;
        if let Selector::Key(key) = what {
            self.discard(*key, position).await;
        }
        Ok(position)
    }

    /// Removes the bytes of a key that is over already. What stays is swept later.
    async fn discard(&self, key: CacheKey, position: LogPosition) {
        let removal = Removal { key, condition: RemoveIf::Before(position) };
        let below = self.ports.l2.iter().chain([&self.ports.l3]);
        for tier in below {
            if let Err(error) = tier.remove(vec![removal.clone()]).await {
                tracing::debug!(target: "wavequill::caching", %error, "an ended entry is left to the sweep");
            }
        }
    }

    /// Where in time and log a copy stands that was alive at `as_of`; `None` if L1 must not keep it.
    pub(crate) fn residence(&self, value: &CacheValue, as_of: LogPosition) -> Option<Residence> {
        let generation = self.view.generation_of(as_of)?;
        let left = value.expires_at().duration_since(self.now()).ok()?.min(self.config.l1_ttl);
        let deadline = self.tick().saturating_add(left.as_nanos() as u64);
        Some(Residence { deadline, checked: as_of.seq, generation })
    }

    /// Keeps a copy in memory.
    pub(super) fn keep(&self, key: &CacheKey, value: &CacheValue, as_of: Option<LogPosition>) -> L1Verdict {
        let Some(residence) = as_of.and_then(|as_of| self.residence(value, as_of)) else {
            return L1Verdict::NotOffered;
        };
        let verdict = self.l1.insert(key, value.clone(), residence, self.tick());
        let metrics = self.metrics.level(CacheLevel::L1);
        match verdict {
            L1Verdict::Admitted => metrics.stored.increment(1),
            L1Verdict::TooLarge | L1Verdict::Colder => {
                metrics.rejected.increment(1);
                LevelCounters::add(&self.counters(CacheLevel::L1).rejections, 1);
            }
            L1Verdict::NotOffered => {}
        }
        verdict
    }

    pub(super) fn stats(&self, l2_size: Count, l3_count: Count) -> CacheStats {
        let counts = self.l1.counts();
        let l1 = LevelStats {
            hits: counts.hits,
            misses: counts.misses,
            errors: 0,
            rejections: self.counters(CacheLevel::L1).rejections.load(Ordering::Relaxed),
            corrupt: 0,
            saved: counts.saved,
        };
        let below = |level| self.counters(level).stats();
        CacheStats {
            l1_size: counts.entries,
            l1_memory_bytes: self.l1.bytes(),
            l2_size,
            l3_count,
            levels: [l1, below(CacheLevel::L2), below(CacheLevel::L3)],
        }
    }

    pub(super) fn set_gauges(&self) {
        let metrics = self.metrics.level(CacheLevel::L1);
        metrics.entries.set(self.l1.counts().entries as f64);
        metrics.entry_bytes.set(self.l1.bytes() as f64);
        let staleness = self.view.staleness(self.tick()).unwrap_or(Duration::ZERO);
        self.metrics.log_staleness_seconds.set(staleness.as_secs_f64());
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("config", &self.config)
            .field("l1_bytes", &self.l1.bytes())
            .field("log", &self.view.head())
            .finish_non_exhaustive()
    }
}

/// Sixteen bytes that no other process draws.
pub(crate) fn random_bytes() -> [u8; 16] {
    // `RandomState` is seeded by the operating system; two of its hashes are 128 bits of that seed.
    let state = RandomState::new();
    let [high, low] = [state.hash_one(1_u8), state.hash_one(2_u8)];
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}
