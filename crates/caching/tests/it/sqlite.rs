//! SQLite in a file: what survives, and what is really gone.

use std::path::Path;
use std::sync::Arc;

use wavequill_caching::adapters::SqliteCacheStore;
use wavequill_caching::ports::CachePorts;
use wavequill_caching::testing::{key, seconds};
use wavequill_caching::{
    Cache, CacheConfig, CacheInvalidatorExt, CacheLevel, CachePut, Claim, Label, MultiLevelCache, Owner,
    TagCacheInvalidator, Waited,
};
use wavequill_database::{DieselConnectionPoolManager, SqliteConfig};

async fn open(path: &Path) -> MultiLevelCache {
    let manager = DieselConnectionPoolManager::open_sqlite(SqliteConfig::new(path)).await.unwrap();
    let store = SqliteCacheStore::open(manager.pool()).await.unwrap();
    MultiLevelCache::new(
        CacheConfig::default().with_max_staleness(std::time::Duration::from_millis(40)),
        CachePorts::on(Arc::new(store)),
    )
    .unwrap()
}

#[tokio::test]
async fn what_was_stored_is_found_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.db");
    let first = open(&path).await;
    let label = Label::new("radio").unwrap();
    first
        .put_many(
            (0..50).map(|n| CachePut::new(key(n), format!("{n}"), seconds(100)).with_label(label)).collect(),
        )
        .await
        .unwrap();
    drop(first);
    let second = open(&path).await;
    let found = second.get_many(&(0..50).map(key).collect::<Vec<_>>()).await.unwrap();
    for (number, found) in found.iter().enumerate() {
        assert_eq!(found.level(), Some(CacheLevel::L3));
        assert_eq!(found.value().unwrap().body().as_ref(), format!("{number}").as_bytes());
    }
}

#[tokio::test]
async fn two_pools_on_one_file_load_a_key_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.db");
    let (one, other) = (open(&path).await, open(&path).await);
    let Some(Claim::Load(permit)) = one.claim(&[key(1)]).await.unwrap().pop() else { panic!("nobody leads") };
    let Some(Claim::Wait(wait)) = other.claim(&[key(1)]).await.unwrap().pop() else { panic!("no lease") };
    let fill = async { one.put(CachePut::new(key(1), "once", seconds(100)).under(permit)).await.unwrap() };
    let (waited, _) = futures_util::future::join(wait.wait(), fill).await;
    assert!(matches!(waited, Ok(Waited::Filled { level: CacheLevel::L3, .. })), "{waited:?}");
}

/// Whether the bytes are anywhere in the files of the database.
fn on_disk(folder: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}

#[tokio::test]
async fn erased_speech_is_in_no_file_of_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(&folder.path().join("cache.db")).await;
    let speech = "a sentence that only Ada has ever said";
    let other = "and one of Bob's";
    let ada = Owner::new("ada").unwrap();
    // Large and small: some bodies are in the row, some in pages of their own.
    let puts = (0..20).map(|number| {
        let body = speech.to_owned() + &"-".repeat(number * 40);
        CachePut::new(key(number as u64), body, seconds(100)).with_owner(ada)
    });
    cache.put_many(puts.collect()).await.unwrap();
    let bob = Owner::new("bob").unwrap();
    cache.put(CachePut::new(key(100), other, seconds(100)).with_owner(bob)).await.unwrap();
    assert!(on_disk(folder.path(), speech.as_bytes()));
    let report = TagCacheInvalidator::new(&cache).invalidate_user_data("ada").await.unwrap();
    assert_eq!(report.erased_entries, 20);
    assert!(!on_disk(folder.path(), speech.as_bytes()));
    assert!(on_disk(folder.path(), other.as_bytes()));
    assert!(cache.get(&key(100)).await.unwrap().is_hit());
}
