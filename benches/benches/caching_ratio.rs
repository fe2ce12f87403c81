//! How many of the requests each cache answers from memory: on generated loads, and on the public traces of the folder
//! that `WAVEQUILL_TRACES` names (Caffeine's and moka's; needs `xz`, `gzip` and `zstd`). The first 400,000 requests of
//! each, with room for 2 % and for 10 % of its different keys.
//!
//! `WAVEQUILL_TRACES=<folder> cargo bench -p wavequill-benches --bench caching_ratio`
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::disallowed_methods, reason = "a bench is told by the environment where the traces are")]

use std::collections::HashSet;
use std::error::Error;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use wavequill_benches::caching::{Random, Zipf, digest};
use wavequill_caching::ports::CachePorts;
use wavequill_caching::{
    ByteSize, Cache, CacheConfig, CacheKey, CacheLevel, CachePut, MemoryStore, MultiLevelCache, Namespace,
};
use wavequill_kernel::{ContentHash, Ttl};

const REQUESTS: usize = 400_000;

struct Load {
    name: &'static str,
    keys: Vec<u64>,
}

fn generated() -> Vec<Load> {
    let zipf = Zipf::new(100_000, 0.9);
    let mut random = Random::new(3);
    let mut scan = 1_u64 << 40;
    let polluted = (0..REQUESTS).map(|_| {
        if random.next_f64() < 0.1 {
            scan += 1;
            scan
        } else {
            u64::from(zipf.pick(&mut random))
        }
    });
    let polluted = polluted.collect();
    let mut random = Random::new(4);
    let drifting = (0..REQUESTS).map(|at| u64::from(zipf.pick(&mut random)) + at as u64 / 20).collect();
    vec![
        Load { name: "Zipf 0.9", keys: zipf.draw(REQUESTS, 2).into_iter().map(u64::from).collect() },
        Load { name: "Zipf 0.9, 10 % scans", keys: polluted },
        Load { name: "Zipf 0.9, drifting", keys: drifting },
        Load { name: "loop of 10,000", keys: (0..REQUESTS as u64).map(|at| at % 10_000).collect() },
    ]
}

#[derive(Clone, Copy)]
enum Format {
    /// A line: start, count, and what does not matter.
    Ranges,
    Lines,
    U32,
    I64,
    /// A line: time, key, size.
    Keyed,
}

const TRACES: [(&str, &str, Format); 11] = [
    ("OLTP.lis.zst", "zstd", Format::Ranges),
    ("P3.lis.zst", "zstd", Format::Ranges),
    ("P12.lis.zst", "zstd", Format::Ranges),
    ("loop.trace.gz", "gzip", Format::Lines),
    ("multi3.trace.gz", "gzip", Format::Lines),
    ("orm-busy.trace.xz", "xz", Format::U32),
    ("web12.trace.xz", "xz", Format::U32),
    ("w106.trace.xz", "xz", Format::U32),
    ("trace_vaultservice.gz", "gzip", Format::I64),
    ("scarab-recs.trace.xz", "xz", Format::I64),
    ("request.trace.xz", "xz", Format::Keyed),
];

fn read(folder: &Path, file: &'static str, tool: &str, format: Format) -> Result<Load, Box<dyn Error>> {
    let unpacked = Command::new(tool).arg("-dc").arg(folder.join(file)).output()?;
    if !unpacked.status.success() {
        return Err(format!("{tool}: {}", String::from_utf8_lossy(&unpacked.stderr)).into());
    }
    let bytes = unpacked.stdout;
    let text = || std::str::from_utf8(&bytes).unwrap_or_default().lines();
    let number = |field: Option<&str>| field.and_then(|field| field.parse::<u64>().ok());
    let keys: Vec<u64> = match format {
        Format::U32 => {
            bytes.as_chunks::<4>().0.iter().map(|word| u64::from(u32::from_be_bytes(*word))).collect()
        }
        Format::I64 => bytes.as_chunks::<8>().0.iter().map(|word| u64::from_be_bytes(*word)).collect(),
        Format::Lines => text().filter_map(|line| number(Some(line.trim()))).collect(),
        Format::Keyed => text().filter_map(|line| number(line.split_whitespace().nth(1))).collect(),
        Format::Ranges => text()
            .filter_map(|line| {
                let mut fields = line.split_whitespace();
                let (start, count) = (number(fields.next())?, number(fields.next())?);
                Some(start..start + count)
            })
            .flatten()
            .take(REQUESTS)
            .collect(),
    };
    Ok(Load { name: file, keys: keys.into_iter().take(REQUESTS).collect() })
}

/// Asks for each key in turn; what is missing is put.
fn ask(keys: &[u64], mut ask: impl FnMut(u64) -> bool) -> f64 {
    keys.iter().filter(|key| ask(**key)).count() as f64 * 100.0 / keys.len() as f64
}

fn lru(keys: &[u64], room: NonZeroUsize) -> f64 {
    let mut cache = lru::LruCache::new(room);
    ask(keys, |key| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.put(key, ());
        }
        hit
    })
}

fn quick(keys: &[u64], room: NonZeroUsize) -> f64 {
    let cache = quick_cache::sync::Cache::new(room.get());
    ask(keys, |key| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, ());
        }
        hit
    })
}

fn moka(keys: &[u64], room: NonZeroUsize) -> f64 {
    let cache = moka::sync::Cache::new(room.get() as u64);
    let mut asked = 0_u32;
    ask(keys, |key| {
        asked += 1;
        if asked.is_multiple_of(64) {
            cache.run_pending_tasks();
        }
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, ());
        }
        hit
    })
}

fn key(number: u64) -> CacheKey {
    CacheKey::new(Namespace::CHUNK, digest(number), ContentHash::new([0; 32], 1))
}

fn cache(l1: ByteSize) -> Result<MultiLevelCache, Box<dyn Error>> {
    let config = CacheConfig::default().with_l1_bytes(l1).with_l1_ttl(Duration::from_secs(86_400));
    Ok(MultiLevelCache::new(config, CachePorts::on(Arc::new(MemoryStore::new())))?)
}

/// What one entry weighs in L1: the room of the others in entries is this one's in bytes.
async fn weight(ttl: Ttl) -> Result<u64, Box<dyn Error>> {
    let probe = cache(ByteSize::from_mib(1))?;
    probe.put(CachePut::new(key(0), "x", ttl)).await?;
    Ok(probe.stats().await.l1_memory_bytes)
}

async fn ours(keys: &[u64], room: NonZeroUsize) -> Result<f64, Box<dyn Error>> {
    let ttl = Ttl::new(Duration::from_secs(30 * 86_400))?;
    let cache = cache(ByteSize::from_bytes(room.get() as u64 * weight(ttl).await?))?;
    let mut hits = 0_u64;
    for number in keys {
        let key = key(*number);
        let found = cache.get(&key).await?;
        match found.level() {
            Some(CacheLevel::L1) => hits += 1,
            Some(_) => {}
            None => {
                cache.put(CachePut::new(key, "x", ttl)).await?;
            }
        }
    }
    Ok(hits as f64 * 100.0 / keys.len() as f64)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut loads = generated();
    if let Some(folder) = std::env::var_os("WAVEQUILL_TRACES") {
        for (file, tool, format) in TRACES {
            loads.push(read(Path::new(&folder), file, tool, format)?);
        }
    }
    println!("load, room, ours, quick_cache, moka, LRU (hits in %)");
    let mut sums = [0.0; 4];
    let mut rows = 0.0;
    for load in &loads {
        let different = load.keys.iter().collect::<HashSet<_>>().len();
        for share in [50, 10] {
            // Below some hundreds, the smallest budget of ours is more than the others' room.
            let room = NonZeroUsize::new(different / share).ok_or("an empty load")?.max(NonZeroUsize::MIN);
            if room.get() < 400 {
                continue;
            }
            let keys = &load.keys;
            let row = [ours(keys, room).await?, quick(keys, room), moka(keys, room), lru(keys, room)];
            let [ours, quick, moka, lru] = row;
            println!("{}, {room}, {ours:.1}, {quick:.1}, {moka:.1}, {lru:.1}", load.name);
            rows += 1.0;
            for (sum, figure) in sums.iter_mut().zip(row) {
                *sum += figure;
            }
        }
    }
    let [ours, quick, moka, lru] = sums.map(|sum| sum / rows);
    println!("mean, , {ours:.1}, {quick:.1}, {moka:.1}, {lru:.1}");
    Ok(())
}
