//! What a hit in memory costs, beside other caches: hits per second of processor time, on keys that are digests, asked
//! for by Zipf's law (exponent 1), 100,000 resident, by one thread and by two.
//!
//! `cargo bench -p wavequill-benches --bench caching_l1`
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use wavequill_benches::caching::{Zipf, digest};
use wavequill_caching::ports::CachePorts;
use wavequill_caching::{
    ByteSize, Cache, CacheConfig, CacheKey, CachePut, MemoryStore, MultiLevelCache, Namespace,
};
use wavequill_kernel::{ContentHash, Ttl};

const RESIDENT: u64 = 100_000;
const HITS: usize = 1_000_000;
const RUNS: usize = 7;

type Value = Arc<[u8]>;
type Failure = Box<dyn Error + Send + Sync>;

trait Candidate: Sync {
    fn name(&self) -> &'static str;
    fn hit(&self, number: usize) -> bool;
}

struct Ours {
    cache: MultiLevelCache,
    keys: Vec<CacheKey>,
}

impl Candidate for Ours {
    fn name(&self) -> &'static str {
        "wavequill-caching (time, log, statistics)"
    }

    fn hit(&self, number: usize) -> bool {
        self.keys.get(number).is_some_and(|key| black_box(self.cache.get_local(key)).is_some())
    }
}

struct Theirs<C> {
    name: &'static str,
    cache: C,
    keys: Vec<[u8; 32]>,
    get: fn(&C, &[u8; 32]) -> Option<Value>,
}

impl<C: Sync> Candidate for Theirs<C> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn hit(&self, number: usize) -> bool {
        self.keys.get(number).is_some_and(|key| black_box((self.get)(&self.cache, key)).is_some())
    }
}

async fn ours() -> Result<Ours, Box<dyn Error>> {
    let config = CacheConfig::default()
        .with_l1_bytes(ByteSize::from_mib(128))
        .with_l1_ttl(Duration::from_secs(86_400));
    let cache = MultiLevelCache::new(config, CachePorts::on(Arc::new(MemoryStore::new())))?;
    let content = ContentHash::new([0; 32], 16);
    let keys: Vec<_> =
        (0..RESIDENT).map(|number| CacheKey::new(Namespace::CHUNK, digest(number), content)).collect();
    let month = Ttl::new(Duration::from_secs(30 * 86_400))?;
    for some in keys.chunks(1_000) {
        let puts = some.iter().map(|key| CachePut::new(*key, vec![7; 16], month)).collect();
        cache.put_many(puts).await?;
    }
    Ok(Ours { cache, keys })
}

fn candidates(ours: Ours) -> Vec<Box<dyn Candidate>> {
    let keys: Vec<_> = (0..RESIDENT).map(digest).collect();
    let value: Value = Arc::from([7; 16].as_slice());
    let quick = quick_cache::sync::Cache::new(RESIDENT as usize * 2);
    let moka = moka::sync::Cache::new(RESIDENT * 2);
    let mut lru = lru::LruCache::unbounded();
    for key in &keys {
        quick.insert(*key, value.clone());
        moka.insert(*key, value.clone());
        lru.put(*key, value.clone());
    }
    moka.run_pending_tasks();
    vec![
        Box::new(ours),
        Box::new(Theirs {
            name: "quick_cache 0.7.0",
            cache: quick,
            keys: keys.clone(),
            get: |cache, key| cache.get(key),
        }),
        Box::new(Theirs {
            name: "moka 0.12.16",
            cache: moka,
            keys: keys.clone(),
            get: |cache, key| cache.get(key),
        }),
        Box::new(Theirs {
            name: "Mutex<LruCache>",
            cache: Mutex::new(lru),
            keys,
            get: |cache, key| cache.lock().get(key).cloned(),
        }),
    ]
}

/// The processor time of this thread so far, in nanoseconds; Linux tells.
fn processor_time() -> Result<u64, Failure> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(told.split_whitespace().next().ok_or("no figure")?.parse()?)
}

/// Hits per second of processor time, over all threads.
fn run(candidate: &dyn Candidate, orders: &[Vec<u32>]) -> Result<f64, Failure> {
    let one = |order: &[u32]| -> Result<u64, Failure> {
        let before = processor_time()?;
        let hits = order.iter().filter(|number| candidate.hit(**number as usize)).count();
        let spent = processor_time()? - before;
        if hits < order.len() {
            return Err(format!("{} of {} were misses", order.len() - hits, order.len()).into());
        }
        Ok(spent)
    };
    let spent = std::thread::scope(|scope| {
        let threads: Vec<_> = orders.iter().map(|order| scope.spawn(|| one(order))).collect();
        let mut spent = 0;
        for thread in threads {
            spent += thread.join().map_err(|_| "a thread panicked")??;
        }
        Ok::<u64, Failure>(spent)
    })?;
    let hits: usize = orders.iter().map(Vec::len).sum();
    Ok(hits as f64 * 1e9 / spent as f64)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let candidates = candidates(ours().await?);
    let zipf = Zipf::new(RESIDENT as usize, 1.0);
    let orders: Vec<Vec<u32>> = (1..=2).map(|seed| zipf.draw(HITS, seed)).collect();
    for threads in 1..=2 {
        let orders = orders.get(..threads).unwrap_or_default();
        let mut figures = vec![Vec::new(); candidates.len()];
        // Interleaved, so that what else the machine does meets all of them.
        for _ in 0..RUNS {
            for (candidate, figures) in candidates.iter().zip(&mut figures) {
                let figure = run(candidate.as_ref(), orders).map_err(|failure| failure.to_string())?;
                figures.push(figure);
            }
        }
        for (candidate, mut figures) in candidates.iter().zip(figures) {
            figures.sort_by(f64::total_cmp);
            let median = figures.get(RUNS / 2).copied().unwrap_or_default();
            println!(
                "{threads} thread(s), {}: {:.2} million hits per CPU-second",
                candidate.name(),
                median / 1e6
            );
        }
    }
    Ok(())
}
