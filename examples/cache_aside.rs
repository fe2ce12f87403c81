//! A cache for values of one's own: found in memory or in a file, made by one caller when missing, ended by label.
//!
//! ```console
//! $ cargo run --example cache_aside
//! ```
#![expect(clippy::print_stdout, reason = "it prints what it does")]

use std::sync::Arc;
use std::time::Duration;

use wavequill::caching::adapters::SqliteCacheStore;
use wavequill::caching::ports::CachePorts;
use wavequill::caching::{
    CacheConfig, CacheExt, CacheInvalidatorExt, CachePut, ContentAddresser, KeyPattern, Label, Metadata,
    MultiLevelCache, Namespace, Sha256ContentAddresser, TagCacheInvalidator,
};
use wavequill::database::{DieselConnectionPoolManager, SqliteConfig};
use wavequill::kernel::{InvalidValue, Ttl};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1).unwrap_or_else(|| "cache-aside.db".into());
    let manager = DieselConnectionPoolManager::open_sqlite(SqliteConfig::new(file.as_str())).await?;
    let store = Arc::new(SqliteCacheStore::open(manager.pool()).await?);
    let cache = MultiLevelCache::new(CacheConfig::default(), CachePorts::on(store))?;

    // A key is made of what was asked: the same question has the same key, in every process and release.
    let addresser = Sha256ContentAddresser::new();
    let key = addresser.generate_text_key("capital of France", Namespace::new("answers")?, &Metadata::new());
    let (hour, label) = (Ttl::new(Duration::from_secs(3_600))?, Label::new("geography")?);
    let ask = async || {
        cache
            .get_or_load(&key, async |key| {
                println!("asking the expensive service");
                Ok::<_, InvalidValue>(CachePut::new(key, "Paris", hour).with_label(label))
            })
            .await
    };

    // Of callers that ask at once, one asks the service.
    let (first, second) = tokio::join!(ask(), ask());
    println!("{:?} {:?}", first?.body(), second?.body());

    // All answers with the label end together, here and in all processes on this file.
    TagCacheInvalidator::new(&cache).invalidate_pattern(&"label:geography".parse::<KeyPattern>()?).await?;
    println!("{:?}", ask().await?.body());
    cache.close().await;
    Ok(())
}
