//! Three nodes with all levels, a bus that delivers nothing, a shared memory that revives old states, and loads that
//! end late: whatever happens in whatever order, nothing is served that was over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use proptest::prelude::*;
use wavequill_caching::ports::{Backplane, CachePorts, LogScope, Notice, NoticeReceiver};
use wavequill_caching::testing::{MemoryTier, key, seconds};
use wavequill_caching::{
    Cache, CacheConfig, CacheInvalidator, CacheKey, CachePut, Claim, Label, LoadPermit, MemoryStore,
    MultiLevelCache, Namespace, Owner, Selector, TagCacheInvalidator,
};
use wavequill_kernel::Clock;
use wavequill_kernel::testing::ManualClock;

use crate::cache_by;

const NODES: usize = 3;
const KEYS: u64 = 4;
const MAX_STALENESS: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
enum Step {
    Get { node: usize, key: u64 },
    GetAll { node: usize },
    Put { node: usize, key: u64, replace: bool },
    Claim { node: usize, key: u64 },
    FillOldest,
    DropOldest,
    Invalidate { node: usize, what: u8, key: u64 },
    Pass { ms: u64 },
    RememberL2,
    ReviveL2,
}

fn any_step() -> impl Strategy<Value = Step> {
    let (node, key) = (|| 0..NODES, || 0..KEYS);
    prop_oneof![
        6 => (node(), key()).prop_map(|(node, key)| Step::Get { node, key }),
        2 => node().prop_map(|node| Step::GetAll { node }),
        3 => (node(), key(), any::<bool>()).prop_map(|(node, key, replace)| Step::Put { node, key, replace }),
        2 => (node(), key()).prop_map(|(node, key)| Step::Claim { node, key }),
        2 => Just(Step::FillOldest),
        1 => Just(Step::DropOldest),
        2 => (node(), 0_u8..5, key()).prop_map(|(node, what, key)| Step::Invalidate { node, what, key }),
        3 => (0_u64..8_000).prop_map(|ms| Step::Pass { ms }),
        1 => Just(Step::RememberL2),
        1 => Just(Step::ReviveL2),
    ]
}

/// A bus that delivers nothing.
#[derive(Debug)]
struct DeadBus;

#[async_trait]
impl Backplane for DeadBus {
    async fn publish(&self, _notice: Notice) {}
    fn subscribe(&self) -> Box<dyn NoticeReceiver> {
        Box::new(Self)
    }
}

#[async_trait]
impl NoticeReceiver for DeadBus {
    async fn next(&mut self) -> Option<Notice> {
        std::future::pending().await
    }
}

/// Values of a key below this version are over: at once for the node that said so, for the others a little later.
#[derive(Debug)]
struct Over {
    key: u64,
    below: u64,
    node: usize,
    at: Duration,
}

struct Fleet {
    clock: Arc<ManualClock>,
    nodes: Vec<(MultiLevelCache, TagCacheInvalidator)>,
    l2: Arc<MemoryTier>,
    remembered: HashMap<CacheKey, Bytes>,
    versions: u64,
    permits: Vec<(usize, u64, LoadPermit)>,
    over: Vec<Over>,
    hits: usize,
}

impl Fleet {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new());
        let (store, l2) = (Arc::new(MemoryStore::with_scope(LogScope::Fleet)), Arc::new(MemoryTier::new()));
        let node = |_| {
            let ports = CachePorts::on(store.clone()).with_l2(l2.clone()).with_backplane(Arc::new(DeadBus));
            let cache = cache_by(CacheConfig::default().with_max_staleness(MAX_STALENESS), ports, &clock);
            let invalidator = TagCacheInvalidator::new(&cache);
            (cache, invalidator)
        };
        let nodes = (0..NODES).map(node).collect();
        Self {
            clock,
            nodes,
            l2,
            remembered: HashMap::new(),
            versions: 0,
            permits: Vec::new(),
            over: Vec::new(),
            hits: 0,
        }
    }

    fn put_of(number: u64, version: u64) -> CachePut {
        let put = CachePut::new(key(number), version.to_string(), seconds(20_000));
        let put = put.with_label(Label::new(&format!("label {}", number % 2)).unwrap());
        // Keys 0 and 1 are Ada's alone, so that all of hers are over when she is.
        if number < 2 { put.with_owner(Owner::new("ada").unwrap()) } else { put }
    }

    fn version(&mut self) -> u64 {
        self.versions += 1;
        self.versions
    }

    fn check(&mut self, node: usize, number: u64, found: Option<&[u8]>) {
        let Some(body) = found else { return };
        self.hits += 1;
        let version: u64 = std::str::from_utf8(body).unwrap().parse().unwrap();
        let now = self.clock.monotonic();
        for over in self.over.iter().filter(|over| over.key == number && version < over.below) {
            let late = now > over.at + MAX_STALENESS;
            assert!(
                node != over.node && !late,
                "node {node} serves version {version}, but {over:?} at {now:?}"
            );
        }
    }

    async fn run(&mut self, step: Step) {
        match step {
            Step::Get { node, key: number } => {
                let found = self.nodes[node].0.get(&key(number)).await.unwrap();
                self.check(node, number, found.value().map(|value| value.body().as_ref()));
            }
            Step::GetAll { node } => {
                let keys: Vec<_> = (0..KEYS).map(key).collect();
                let found = self.nodes[node].0.get_many(&keys).await.unwrap();
                for (number, found) in (0..KEYS).zip(&found) {
                    self.check(node, number, found.value().map(|value| value.body().as_ref()));
                }
            }
            Step::Put { node, key: number, replace } => {
                let version = self.version();
                let put = Self::put_of(number, version);
                let put = if replace { put.replacing() } else { put };
                self.nodes[node].0.put(put).await.unwrap();
            }
            Step::Claim { node, key: number } => {
                let claim = self.nodes[node].0.claim(&[key(number)]).await.unwrap().pop();
                match claim {
                    Some(Claim::Hit { value, .. }) => self.check(node, number, Some(value.body())),
                    Some(Claim::Load(permit)) => {
                        let version = self.version();
                        self.permits.push((node, version, permit));
                    }
                    Some(Claim::Wait(_)) | None => {}
                }
            }
            Step::FillOldest if !self.permits.is_empty() => {
                let (node, version, permit) = self.permits.remove(0);
                let number = permit.key().content().len();
                let put = Self::put_of(number, version).under(permit);
                self.nodes[node].0.put(put).await.unwrap();
            }
            Step::DropOldest if !self.permits.is_empty() => drop(self.permits.remove(0)),
            Step::FillOldest | Step::DropOldest => {}
            Step::Invalidate { node, what, key: number } => self.invalidate(node, what, number).await,
            Step::Pass { ms } => self.clock.advance(Duration::from_millis(ms)),
            Step::RememberL2 => self.remembered = self.l2.contents(),
            Step::ReviveL2 => self.l2.restore(self.remembered.clone()),
        }
    }

    async fn invalidate(&mut self, node: usize, what: u8, number: u64) {
        let (selector, keys): (_, Vec<u64>) = match what {
            0 => (Selector::Key(key(number)), vec![number]),
            1 => {
                let label = Label::new(&format!("label {}", number % 2)).unwrap();
                (Selector::Label(label), (0..KEYS).filter(|key| key % 2 == number % 2).collect())
            }
            2 => (Selector::Owner(Owner::new("ada").unwrap()), vec![0, 1]),
            3 => (Selector::Namespace(Namespace::CHUNK), (0..KEYS).collect()),
            _ => (Selector::All, (0..KEYS).collect()),
        };
        self.nodes[node].1.invalidate(&selector).await.unwrap();
        let (below, at) = (self.versions + 1, self.clock.monotonic());
        self.over.extend(keys.into_iter().map(|key| Over { key, below, node, at }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_is_served_that_was_over(steps in proptest::collection::vec(any_step(), 1..120)) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut fleet = Fleet::new();
            for step in steps {
                fleet.run(step).await;
            }
            // What lives is found: a cache that serves nothing would pass all of the above.
            let version = fleet.version();
            let put = Fleet::put_of(3, version).replacing();
            fleet.nodes[0].0.put(put).await.unwrap();
            fleet.clock.advance(MAX_STALENESS + Duration::from_millis(1));
            for node in 0..NODES {
                let found = fleet.nodes[node].0.get(&key(3)).await.unwrap();
                let body = found.value().map(|value| value.body().clone());
                assert_eq!(body.as_deref(), Some(version.to_string().as_bytes()));
            }
        });
    }
}
