use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::AtomicU32;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::*;
use crate::ConnectFailure;

thread_local! {
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

fn now() -> Duration {
    NOW.get()
}

fn advance(by: Duration) {
    NOW.set(NOW.get() + by);
}

/// A connection that counts itself among those that are open.
struct Fake {
    clean: bool,
    open: Arc<AtomicU32>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pooled for Fake {
    fn is_clean(&mut self) -> bool {
        self.clean
    }

    fn canceller(&self) -> Option<Canceller> {
        None
    }
}

type Discard = (Fake, DiscardTicket<Fake>);

/// Opens and closes only when the test says so.
#[derive(Clone, Default)]
struct Scripted {
    open: Arc<AtomicU32>,
    connects: Arc<Mutex<Vec<ConnectTicket<Fake>>>>,
    discards: Arc<Mutex<Vec<Discard>>>,
}

impl Connector<Fake> for Scripted {
    fn connect(&self, ticket: ConnectTicket<Fake>) {
        self.connects.lock().push(ticket);
    }

    fn discard(&self, conn: Fake, ticket: DiscardTicket<Fake>) {
        self.discards.lock().push((conn, ticket));
    }
}

impl Scripted {
    fn open_one(&self) -> bool {
        let Some(ticket) = self.connects.lock().pop() else { return false };
        self.open.fetch_add(1, Ordering::Relaxed);
        ticket.finish(Ok(Fake { clean: true, open: Arc::clone(&self.open) }));
        true
    }

    fn fail_one(&self, failure: ConnectFailure) -> bool {
        let Some(ticket) = self.connects.lock().pop() else { return false };
        ticket.finish(Err(DatabaseError::Connect { pool: "test".into(), failure, detail: "no".to_owned() }));
        true
    }

    fn close_one(&self) -> bool {
        let Some((conn, ticket)) = self.discards.lock().pop() else { return false };
        drop(conn);
        drop(ticket);
        true
    }
}

fn policy(min: u32, max: u32, initial: u32) -> Policy {
    Policy {
        limits: PoolLimits::new(min, max).unwrap(),
        initial: PoolSize::new(initial).unwrap(),
        idle_timeout: Duration::from_secs(600),
        max_lifetime: Duration::from_secs(1_800),
        fresh_for: Duration::from_millis(500),
        leak_after: Duration::from_secs(60),
        scaling: None,
    }
}

fn pool(min: u32, max: u32) -> (Scripted, Arc<PoolCore<Fake>>) {
    let scripted = Scripted::default();
    let core = PoolCore::new("test".into(), policy(min, max, max), Box::new(scripted.clone()), now);
    (scripted, core)
}

fn poll<C: Pooled>(acquire: &mut Acquire<C>) -> Poll<Result<Lease<C>, DatabaseError>> {
    std::pin::Pin::new(acquire).poll(&mut Context::from_waker(Waker::noop()))
}

#[track_caller]
fn asked(priority: LeasePriority) -> Asked {
    Asked { priority, ..Asked::new(Location::caller(), "test") }
}

fn ready(acquire: &mut Acquire<Fake>) -> Option<Lease<Fake>> {
    match poll(acquire) {
        Poll::Ready(lease) => Some(lease.unwrap()),
        Poll::Pending => None,
    }
}

/// As many leases as there are connections.
fn take_all(scripted: &Scripted, core: &Arc<PoolCore<Fake>>, count: usize) -> Vec<Lease<Fake>> {
    (0..count)
        .map(|_| {
            let mut acquire = core.acquire(asked(LeasePriority::Foreground));
            ready(&mut acquire).unwrap_or_else(|| {
                assert!(scripted.open_one());
                ready(&mut acquire).unwrap()
            })
        })
        .collect()
}

#[test]
fn every_fourth_grant_is_the_backgrounds() {
    let (scripted, core) = pool(1, 1);
    let first = take_all(&scripted, &core, 1);
    let mut waiting: Vec<_> = [LeasePriority::Background; 2]
        .into_iter()
        .chain([LeasePriority::Foreground; 6])
        .map(|priority| (priority, core.acquire(asked(priority))))
        .collect();
    for (_, acquire) in &mut waiting {
        assert!(poll(acquire).is_pending());
    }
    drop(first);
    let mut order = String::new();
    while !waiting.is_empty() {
        let at = waiting.iter_mut().position(|(_, acquire)| ready(acquire).is_some()).unwrap();
        let (priority, _) = waiting.remove(at);
        order.push(if priority == LeasePriority::Background { 'b' } else { 'f' });
    }
    assert_eq!(order, "fffbfffb");
}

#[test]
fn a_shrink_is_a_debt_that_a_later_growth_does_not_forget() {
    let (scripted, core) = pool(1, 16);
    let mut leases = take_all(&scripted, &core, 16);
    assert_eq!(core.scale_to(PoolSize::new(4).unwrap()).unwrap().to, 4);
    assert_eq!(core.stats().overflow, 12);
    core.scale_to(PoolSize::new(6).unwrap()).unwrap();
    let mut waiter = core.acquire(asked(LeasePriority::Foreground));
    assert!(poll(&mut waiter).is_pending());
    leases.truncate(6);
    assert!(poll(&mut waiter).is_pending(), "6 are in use, and 6 may be");
    assert_eq!(scripted.open.load(Ordering::Relaxed), 6);
    leases.pop();
    assert!(ready(&mut waiter).is_some());
}

#[test]
fn a_dead_connection_is_replaced_without_losing_the_turn() {
    let (scripted, core) = pool(1, 1);
    drop(take_all(&scripted, &core, 1));
    advance(Duration::from_secs(1));
    core.tick();
    assert!(core.try_acquire(asked(LeasePriority::Foreground)).is_none(), "it may be dead");
    let lease = ready(&mut core.acquire(asked(LeasePriority::Foreground))).unwrap();
    assert!(!lease.is_fresh());
    let mut later = core.acquire(asked(LeasePriority::Foreground));
    assert!(poll(&mut later).is_pending());
    let mut again = lease.replace(asked(LeasePriority::Foreground));
    assert!(scripted.open_one());
    assert!(poll(&mut later).is_pending());
    let lease = ready(&mut again).unwrap();
    assert!(lease.is_fresh());
    drop(lease);
    assert!(ready(&mut later).is_some());
}

#[test]
fn a_permanent_failure_tells_all_who_wait_at_once_and_makes_no_storm() {
    let (scripted, core) = pool(1, 4);
    let mut waiting: Vec<_> = (0..3).map(|_| core.acquire(asked(LeasePriority::Foreground))).collect();
    for acquire in &mut waiting {
        assert!(poll(acquire).is_pending());
    }
    assert_eq!(core.stats().connecting, 3);
    assert!(scripted.fail_one(ConnectFailure::Unsuitable));
    for acquire in &mut waiting {
        assert!(matches!(poll(acquire), Poll::Ready(Err(DatabaseError::Connect { .. }))));
    }
    while scripted.fail_one(ConnectFailure::Unsuitable) {}
    let mut another = core.acquire(asked(LeasePriority::Foreground));
    assert!(matches!(poll(&mut another), Poll::Ready(Err(DatabaseError::Connect { .. }))));
    assert_eq!(core.stats().connecting, 0);
    advance(Duration::from_secs(5));
    let mut later = core.acquire(asked(LeasePriority::Foreground));
    assert!(poll(&mut later).is_pending());
    assert!(scripted.open_one());
    assert!(ready(&mut later).is_some());
}

#[test]
fn each_time_out_names_its_cause() {
    let (scripted, core) = pool(1, 1);
    let mut acquire = core.acquire(asked(LeasePriority::Foreground));
    assert!(poll(&mut acquire).is_pending());
    scripted.fail_one(ConnectFailure::Unreachable);
    let cause = |acquire: Acquire<Fake>| match acquire.expire() {
        Err(DatabaseError::AcquireTimeout { cause, .. }) => cause.to_string(),
        other => format!("{:?}", other.err()),
    };
    assert!(cause(acquire).contains("cannot be reached"));
    advance(Duration::from_secs(6));
    let lease = {
        let mut acquire = core.acquire(asked(LeasePriority::Foreground));
        assert!(poll(&mut acquire).is_pending());
        scripted.open_one();
        ready(&mut acquire).unwrap()
    };
    let wait = || {
        let mut acquire = core.acquire(asked(LeasePriority::Foreground));
        assert!(poll(&mut acquire).is_pending());
        advance(Duration::from_secs(10));
        acquire
    };
    let saturated = cause(wait());
    assert!(saturated.contains("all 1 are in use") && saturated.contains("tests.rs"), "{saturated}");
    advance(Duration::from_secs(60));
    core.tick();
    let leaked = cause(wait());
    assert!(leaked.starts_with("a connection is held for too long"), "{leaked}");
    drop(lease);
}

#[tokio::test]
async fn a_task_that_waits_for_itself_is_told_so() {
    let (scripted, core) = pool(1, 1);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let _held = take_all(&scripted, &core, 1);
        let mut second = core.acquire(asked(LeasePriority::Foreground));
        assert!(poll(&mut second).is_pending());
        second.expire().err().unwrap().to_string()
    });
    let message = tasks.join_next().await.unwrap().unwrap();
    assert!(message.contains("the task that waits holds one already"), "{message}");
}

#[test]
fn the_minimum_stays_open_and_idle_ones_beyond_it_go() {
    let (scripted, core) = pool(2, 8);
    drop(take_all(&scripted, &core, 8));
    advance(Duration::from_secs(601));
    core.tick();
    assert_eq!(core.stats().size, 2);
    advance(Duration::from_secs(1_800));
    core.tick();
    assert_eq!(core.stats().size, 0, "too old, both");
}

#[test]
fn closing_refuses_those_who_wait_and_closes_what_returns() {
    let (scripted, core) = pool(1, 2);
    let leases = take_all(&scripted, &core, 2);
    let mut waiter = core.acquire(asked(LeasePriority::Foreground));
    assert!(poll(&mut waiter).is_pending());
    assert_eq!(core.close(), 1);
    assert!(matches!(poll(&mut waiter), Poll::Ready(Err(DatabaseError::Closed { .. }))));
    assert_eq!(core.holders().len(), 2);
    drop(leases);
    assert_eq!(scripted.open.load(Ordering::Relaxed), 0);
}

#[derive(Clone, Debug)]
enum Action {
    Acquire(LeasePriority),
    GiveUp(usize),
    Expire(usize),
    GiveBack(usize),
    GiveBackUnclean(usize),
    Replace(usize),
    Dedicate(usize),
    EndDedicated(usize),
    Open,
    FailToOpen,
    LoseTicket,
    CloseOne,
    Resize(u32),
    Restart,
    Time(u64),
}

fn action() -> impl Strategy<Value = Action> {
    let any = 0_usize..1_000;
    prop_oneof![
        6 => Just(Action::Acquire(LeasePriority::Foreground)),
        2 => Just(Action::Acquire(LeasePriority::Background)),
        3 => any.clone().prop_map(Action::GiveUp),
        1 => any.clone().prop_map(Action::Expire),
        6 => any.clone().prop_map(Action::GiveBack),
        1 => any.clone().prop_map(Action::GiveBackUnclean),
        1 => any.clone().prop_map(Action::Replace),
        1 => any.clone().prop_map(Action::Dedicate),
        1 => any.prop_map(Action::EndDedicated),
        6 => Just(Action::Open),
        1 => Just(Action::FailToOpen),
        1 => Just(Action::LoseTicket),
        2 => Just(Action::CloseOne),
        2 => (1_u32..9).prop_map(Action::Resize),
        1 => Just(Action::Restart),
        2 => (1_u64..2_000).prop_map(Action::Time),
    ]
}

const MAX: u32 = 8;

/// What the callers of a pool have and wait for.
struct World {
    scripted: Scripted,
    core: Arc<PoolCore<Fake>>,
    waiting: Vec<(u64, LeasePriority, Acquire<Fake>)>,
    leases: Vec<(u64, LeasePriority, Lease<Fake>)>,
    dedicated: Vec<Dedicated<Fake>>,
    arrivals: u64,
    occupied: u32,
}

/// Takes one of many, if there are any.
fn pick<T>(from: &mut Vec<T>, at: usize) -> Option<T> {
    if from.is_empty() { None } else { Some(from.remove(at % from.len())) }
}

impl World {
    fn new() -> Self {
        let (scripted, core) = pool(1, MAX);
        core.scale_to(PoolSize::new(4).unwrap()).unwrap();
        Self {
            scripted,
            core,
            waiting: Vec::new(),
            leases: Vec::new(),
            dedicated: Vec::new(),
            arrivals: 0,
            occupied: 0,
        }
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::Acquire(priority) => {
                self.arrivals += 1;
                self.waiting.push((self.arrivals, priority, self.core.acquire(asked(priority))));
            }
            Action::GiveUp(at) => drop(pick(&mut self.waiting, at)),
            Action::Expire(at) => {
                if let Some((arrival, priority, acquire)) = pick(&mut self.waiting, at)
                    && let Ok(lease) = acquire.expire()
                {
                    self.leases.push((arrival, priority, lease));
                }
            }
            Action::GiveBack(at) => drop(pick(&mut self.leases, at)),
            Action::GiveBackUnclean(at) => {
                if let Some((_, _, mut lease)) = pick(&mut self.leases, at) {
                    lease.clean = false;
                }
            }
            Action::Replace(at) => {
                if let Some((arrival, priority, lease)) = pick(&mut self.leases, at) {
                    self.waiting.push((arrival, priority, lease.replace(asked(priority))));
                }
            }
            Action::Dedicate(at) => {
                if let Some((_, _, lease)) = pick(&mut self.leases, at)
                    && let Ok(dedicated) = self.core.dedicate(lease)
                {
                    self.dedicated.push(dedicated);
                }
            }
            Action::EndDedicated(at) => drop(pick(&mut self.dedicated, at)),
            Action::Open => drop(self.scripted.open_one()),
            Action::FailToOpen => drop(self.scripted.fail_one(ConnectFailure::Unreachable)),
            Action::LoseTicket => drop(self.scripted.connects.lock().pop()),
            Action::CloseOne => drop(self.scripted.close_one()),
            Action::Resize(target) => drop(self.core.scale_to(PoolSize::new(target).unwrap())),
            Action::Restart => self.core.new_generation(),
            Action::Time(ms) => {
                advance(Duration::from_millis(ms));
                self.core.tick();
            }
        }
    }

    /// Polls all who wait, and checks that nobody was overtaken.
    fn collect(&mut self) {
        let mut granted = Vec::new();
        let mut still = Vec::new();
        for (arrival, priority, mut acquire) in std::mem::take(&mut self.waiting) {
            match poll(&mut acquire) {
                Poll::Ready(lease) => granted.push((arrival, priority, lease.unwrap())),
                Poll::Pending => still.push((arrival, priority, acquire)),
            }
        }
        for (arrival, priority, _) in &granted {
            let overtaken = still.iter().find(|(other, its, _)| its == priority && other < arrival);
            assert!(overtaken.is_none(), "{arrival} was served before {:?}", overtaken.map(|it| it.0));
        }
        self.waiting = still;
        self.leases.extend(granted);
    }

    fn check(&mut self) {
        let stats = self.core.stats();
        let connecting = self.scripted.connects.lock().len() as u32;
        let closing = self.scripted.discards.lock().len() as u32;
        let open = self.scripted.open.load(Ordering::Relaxed);
        let dedicated = self.dedicated.len() as u32;
        assert_eq!(stats.connecting, connecting);
        assert_eq!(stats.checked_out, self.leases.len() as u32 + closing);
        assert_eq!(stats.waiting, self.waiting.len() as u32);
        assert_eq!(stats.size + dedicated, open, "a connection is lost, or counted twice");
        assert!(open + connecting <= MAX, "{open} open and {connecting} connecting of {MAX}");
        let occupied = stats.checked_out + connecting;
        let allowed = stats.target.min(MAX - dedicated);
        assert!(occupied <= allowed.max(self.occupied), "{occupied} of {allowed}, {} before", self.occupied);
        let tried_lately = self.core.trouble().is_some();
        if stats.waiting > connecting && occupied < allowed {
            assert!(tried_lately, "callers wait, there is room, and nothing is done");
            assert_eq!(stats.checked_in, 0);
        }
        self.occupied = occupied;
    }

    /// Everything is given back: everyone who waits must be served.
    fn wind_down(mut self) {
        self.dedicated.clear();
        self.leases.clear();
        for _ in 0..10_000 {
            advance(Duration::from_secs(6));
            self.core.tick();
            while self.scripted.close_one() {}
            while self.scripted.open_one() {}
            self.collect();
            self.leases.clear();
            if self.waiting.is_empty() {
                break;
            }
        }
        assert!(self.waiting.is_empty(), "{} wait for ever", self.waiting.len());
        self.core.close();
        while self.scripted.close_one() {}
        while self.scripted.open_one() {}
        let open = self.scripted.open.load(Ordering::Relaxed);
        assert_eq!((open, self.core.stats().size), (0, 0));
    }
}

proptest! {
    // 100 histories of 1,000 steps.
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn no_step_exceeds_the_bound_loses_a_connection_or_overtakes(
        actions in proptest::collection::vec(action(), 1_000),
    ) {
        let mut world = World::new();
        for action in &actions {
            world.act(action);
            world.collect();
            world.check();
        }
        world.wind_down();
    }

    #[test]
    fn holders_are_those_who_hold(count in 1_usize..8) {
        let (scripted, core) = pool(1, 8);
        let leases = take_all(&scripted, &core, count);
        let lines: BTreeSet<_> = core.holders().iter().map(|holder| holder.location.file()).collect();
        prop_assert_eq!(core.holders().len(), count);
        prop_assert_eq!(lines.into_iter().collect::<Vec<_>>(), vec![file!()]);
        drop(leases);
        prop_assert!(core.holders().is_empty());
    }
}
