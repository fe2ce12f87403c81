//! [`SharedQuotaLedger`]: one quota for several processes, over a [`QuotaLog`].
//!
//! The log puts what all processes do into one order, and each process reckons the same state from it with the rules of
//! [`InMemoryQuotaLedger`](crate::InMemoryQuotaLedger): so the rules stand once, and no lock is held across machines.
//! A round trip tells what has happened here, asks for permits, and brings what has happened elsewhere.

mod replica;
mod share;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use wavequill_kernel::InvalidValue;

use self::share::Share;
use crate::config::RateLimitConfig;
use crate::error::ExternalError;
use crate::metrics::QuotaMetrics;
use crate::model::quota::{Cost, Observation, QuotaScope, QuotaView};
use crate::multipart::random_hex;
use crate::ports::{Charge, Charged, QuotaLedger, QuotaLog};

/// How often those who have something to say by themselves are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How long what has happened waits for more, to be told together.
const GATHER: Duration = Duration::from_millis(10);
/// How long the worker rests when there is nothing to do.
const REST: Duration = Duration::from_secs(20);

/// What a ledger that shares quota knows in advance, for [`SharedQuotaLedger`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SharedQuotaConfig {
    /// What is known of the quota. All processes should be told the same: the one that started last counts.
    pub told: RateLimitConfig,
    /// How long a round trip may take before this process goes on by itself. Default: 50 ms.
    pub within: Duration,
    /// How soon it asks again after that. Default: 1 s.
    pub ask_again: Duration,
    /// Of how many processes it takes itself to be one while it goes on by itself, at least; more if more were heard of.
    /// Default: 1.
    pub processes: u32,
}

impl Default for SharedQuotaConfig {
    fn default() -> Self {
        Self {
            told: RateLimitConfig::default(),
            within: Duration::from_millis(50),
            ask_again: Duration::from_secs(1),
            processes: 1,
        }
    }
}

impl SharedQuotaConfig {
    /// Sets what is known of the quota.
    #[must_use]
    pub fn with_told(mut self, told: RateLimitConfig) -> Self {
        self.told = told;
        self
    }

    /// Sets of how many processes this is one, at least.
    #[must_use]
    pub fn with_processes(mut self, processes: u32) -> Self {
        self.processes = processes;
        self
    }

    /// Sets how long a round trip may take.
    #[must_use]
    pub fn with_within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    fn check(&self) -> Result<(), InvalidValue> {
        self.told.check()?;
        for (name, time) in [("within", self.within), ("ask_again", self.ask_again)] {
            if time.is_zero() {
                return Err(InvalidValue::new(name, "0 s", "above zero"));
            }
        }
        if self.processes == 0 {
            return Err(InvalidValue::new("processes", 0, "at least 1"));
        }
        Ok(())
    }
}

/// Shares each quota with all processes that use the same [`QuotaLog`].
///
/// Permits are leased some at a time, each with its place in the order of grants, at most half a second ahead; a lease is
/// one round trip, and a permit that was leased costs none. Permits that nobody takes are given back. While the log
/// cannot be reached, a process goes on by its part of what was known, and tells the others afterwards what it spent. A
/// process that is not heard of for a minute no longer counts.
///
/// It needs a tokio runtime: a task of its own tells what has ended and gives back what was not used. The task ends when
/// the ledger is dropped; what was not told by then is forgotten.
#[derive(Debug)]
pub struct SharedQuotaLedger {
    core: Arc<Core>,
    _worker: JoinSet<()>,
}

#[derive(Debug)]
struct Core {
    config: SharedQuotaConfig,
    log: Arc<dyn QuotaLog>,
    node: u64,
    shares: Mutex<BTreeMap<QuotaScope, Arc<Shared>>>,
    metrics: QuotaMetrics,
    origin: Instant,
    news: Notify,
}

#[derive(Debug)]
struct Shared {
    share: Mutex<Share>,
    /// Letters go one after the other, so that what was appended is in the order in which it happened.
    letters: Semaphore,
}

impl SharedQuotaLedger {
    /// A ledger over a log.
    ///
    /// # Errors
    /// [`InvalidConfig`](ExternalError::InvalidConfig).
    pub fn new(config: SharedQuotaConfig, log: Arc<dyn QuotaLog>) -> Result<Self, ExternalError> {
        config.check()?;
        let node = u64::from_str_radix(random_hex().get(..12).unwrap_or_default(), 16).unwrap_or_default();
        let core = Arc::new(Core {
            config,
            log,
            node,
            shares: Mutex::default(),
            metrics: QuotaMetrics::register(),
            origin: Instant::now(),
            news: Notify::new(),
        });
        let mut worker = JoinSet::new();
        worker.spawn(Arc::clone(&core).work());
        Ok(Self { core, _worker: worker })
    }
}

impl Core {
    fn now(&self) -> f64 {
        self.origin.elapsed().as_secs_f64()
    }

    fn shared(&self, scope: &QuotaScope) -> Arc<Shared> {
        let mut shares = self.shares.lock();
        if let Some(shared) = shares.get(scope) {
            return Arc::clone(shared);
        }
        let share = Share::new(self.node, &self.config.told, self.now());
        let shared = Arc::new(Shared { share: Mutex::new(share), letters: Semaphore::new(1) });
        shares.insert(scope.clone(), Arc::clone(&shared));
        shared
    }

    /// One round trip: tells what is untold, and reads what is new. Whoever holds no turn waits for it.
    async fn exchange(&self, scope: &QuotaScope, shared: &Shared) -> Result<(), ExternalError> {
        let letter = shared.share.lock().letter(self.now());
        let asked = self.log.append(scope, &letter.seen, &letter.events, letter.snapshot);
        let answered = match timeout(self.config.within, asked).await {
            Ok(answered) => answered,
            Err(_) => Err(unreachable_log(&format!("it did not answer within {:?}", self.config.within))),
        };
        let read = answered.and_then(|tail| {
            let read = shared.share.lock().read(tail, self.now());
            read.map_err(|error| unreachable_log(&format!("what it holds cannot be read: {error}")))
        });
        if let Err(error) = &read {
            self.metrics.ledger_errors.increment(1);
            let mut share = shared.share.lock();
            if !share.is_alone() {
                tracing::warn!(target: "wavequill::external", %scope, error = %describe(error), "quota is not shared for now");
            }
            let ask_again = Instant::now() + self.config.ask_again;
            share.cut_off(self.config.processes, ask_again);
        }
        read
    }

    async fn charge(&self, scope: &QuotaScope, cost: &Cost) -> Charged {
        let shared = self.shared(scope);
        let turn = shared.letters.acquire().await;
        if let Some(charged) = shared.share.lock().at_hand(cost, self.now()) {
            return charged;
        }
        shared.share.lock().ask(cost, self.now());
        // What goes wrong here makes this process go on by its part: that is what is at hand then.
        self.exchange(scope, &shared).await.ok();
        drop(turn);
        self.news.notify_one();
        let mut share = shared.share.lock();
        share.at_hand(cost, self.now()).unwrap_or_else(|| share.refusal())
    }

    /// Tells by itself what nobody who asks has told.
    async fn work(self: Arc<Self>) {
        loop {
            let shares: Vec<_> = self
                .shares
                .lock()
                .iter()
                .map(|(scope, shared)| (scope.clone(), Arc::clone(shared)))
                .collect();
            let mut busy = false;
            for (scope, shared) in shares {
                if shared.share.lock().wants_to_write(self.now()) {
                    let turn = shared.letters.acquire().await;
                    // An error was counted and logged, and is acted on.
                    self.exchange(&scope, &shared).await.ok();
                    drop(turn);
                }
                busy |= shared.share.lock().is_busy();
            }
            let rest = if busy { TICK } else { REST };
            tokio::select! {
                () = self.news.notified() => sleep(GATHER).await,
                () = sleep(rest) => {}
            }
        }
    }
}

fn unreachable_log(what: &str) -> ExternalError {
    ExternalError::Ledger { source: Arc::new(std::io::Error::other(what.to_owned())) }
}

fn describe(error: &ExternalError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

#[async_trait]
impl QuotaLedger for SharedQuotaLedger {
    fn try_charge(&self, scope: &QuotaScope, cost: &Cost) -> Option<Charged> {
        self.core.shared(scope).share.lock().at_hand(cost, self.core.now())
    }

    async fn charge(&self, scope: &QuotaScope, cost: &Cost) -> Result<Charged, ExternalError> {
        Ok(self.core.charge(scope, cost).await)
    }

    fn sent(&self, scope: &QuotaScope, charge: &mut Charge) {
        self.core.shared(scope).share.lock().sent(charge, self.core.now());
    }

    fn restore(&self, scope: &QuotaScope, cost: &Cost, _charge: Charge) {
        self.core.shared(scope).share.lock().restore(cost);
        self.core.news.notify_one();
    }

    fn settle(&self, scope: &QuotaScope, cost: &Cost, charge: Charge, seen: &Observation) {
        let shared = self.core.shared(scope);
        let view = {
            let mut share = shared.share.lock();
            share.settle(cost, charge, seen, self.core.now());
            share.view(self.core.now())
        };
        self.core.metrics.settled(&view, seen);
        self.core.news.notify_one();
    }

    fn view(&self, scope: &QuotaScope) -> QuotaView {
        self.core.shared(scope).share.lock().view(self.core.now())
    }
}
