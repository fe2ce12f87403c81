//! L2 and the bus on a Redis server. It stores envelopes under their time to live, and uses four commands: `MGET`,
//! `SET … PX`, `UNLINK`, `PUBLISH`. It decides nothing: what it returns is proven alive by who reads it.

mod notices;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fred::clients::SubscriberClient;
use fred::prelude::{
    Builder, Client, ClientLike, Config, Error, EventInterface, Expiration, KeysInterface, PubsubInterface,
    ReconnectPolicy, Value,
};
use fred::types::config::ServerConfig;
use futures_util::FutureExt;
use wavequill_kernel::InvalidValue;

use super::notices::encode;
use crate::ports::{Backplane, CacheTier, Notice, NoticeReceiver, Removal, TierPut, TierRead, TierVerdict};
use crate::{CacheError, CacheKey, CacheLevel, Count, StoreVerdict};

/// Where notices go.
const CHANNEL: &str = "wq1:notices";
/// How many subjects one message carries.
const SUBJECTS: usize = 400;
/// How many notices may wait in this process for their reader.
const NOTICES: usize = 4_096;
/// How many commands may wait for the connection: beyond that, they fail at once.
const COMMANDS: usize = 10_000;
/// A command that takes longer than this has failed, whoever still waits for it.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// L2 and the bus on one Redis server (or Valkey): not a cluster, since a batch of keys is one command.
///
/// It reconnects by itself, for as long as it takes. A clone is the same connection; the last one to go closes it.
/// Today it speaks plain TCP only.
///
/// ```no_run
/// use std::sync::Arc;
/// use wavequill_caching::{MemoryStore, adapters::RedisCacheTier, ports::{CachePorts, LogScope}};
///
/// # async fn connect() -> Result<(), wavequill_caching::CacheError> {
/// let redis = Arc::new(RedisCacheTier::connect("redis://127.0.0.1:6379/0").await?);
/// let store = Arc::new(MemoryStore::with_scope(LogScope::Fleet)); // in production: a database that all nodes share
/// let ports = CachePorts::on(store).with_l2(redis.clone()).with_backplane(redis);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisCacheTier {
    connections: Arc<Connections>,
}

struct Connections {
    client: Client,
    subscriber: SubscriberClient,
    server: String,
}

impl Drop for Connections {
    fn drop(&mut self) {
        // Quitting only hands a message to the connection's own task: it is done when it is first polled.
        let _ = self.client.quit().now_or_never();
        let _ = self.subscriber.quit().now_or_never();
    }
}

impl RedisCacheTier {
    /// Connects to the server of a `redis://[user:password@]host[:port][/database]` URL.
    ///
    /// # Errors
    /// [`CacheError::InvalidConfig`] if the URL is none of a single server; [`CacheError::Unavailable`] if the
    /// server cannot be reached, or does not let this client in.
    pub async fn connect(url: &str) -> Result<Self, CacheError> {
        let config = parse(url)?;
        let server = config.server.hosts().iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let mut builder = Builder::from_config(config);
        builder
            .set_policy(ReconnectPolicy::new_exponential(0, 50, 2_000, 2))
            .with_performance_config(|performance| {
                performance.default_command_timeout = COMMAND_TIMEOUT;
                performance.broadcast_channel_capacity = NOTICES;
            })
            .with_connection_config(|connection| {
                connection.connection_timeout = CONNECT_TIMEOUT;
                connection.internal_command_timeout = CONNECT_TIMEOUT;
                connection.max_command_attempts = 1;
                connection.max_command_buffer_len = COMMANDS;
            });
        let client = builder.build().map_err(|error| unavailable("connect", error))?;
        let subscriber = builder.build_subscriber_client().map_err(|error| unavailable("connect", error))?;
        let connections = Connections { client, subscriber, server };
        connections.client.init().await.map_err(|error| unavailable("connect", error))?;
        connections.subscriber.init().await.map_err(|error| unavailable("connect", error))?;
        // Its task subscribes anew after each reconnection, and ends with the client.
        drop(connections.subscriber.manage_subscriptions());
        connections.subscriber.subscribe(CHANNEL).await.map_err(|error| unavailable("subscribe", error))?;
        Ok(Self { connections: Arc::new(connections) })
    }
}

fn parse(url: &str) -> Result<Config, CacheError> {
    // The URL may hold a password: it is never shown.
    let refused = |given: &str| CacheError::InvalidConfig {
        source: InvalidValue::new("redis url", given, "redis://[user:password@]host[:port][/database]"),
    };
    if url.starts_with("rediss://") {
        return Err(refused("one that asks for TLS, which this version does not speak"));
    }
    let config = Config::from_url(url).map_err(|_| refused("one that cannot be read"))?;
    match config.server {
        ServerConfig::Centralized { .. } => Ok(config),
        _ => Err(refused("one of several servers")),
    }
}

fn unavailable(operation: &'static str, error: Error) -> CacheError {
    CacheError::unavailable(CacheLevel::L2, operation, error)
}

/// `wq1:<namespace>:<32 raw bytes>`.
fn redis_key(key: &CacheKey) -> fred::types::Key {
    let mut bytes = format!("wq1:{}:", key.namespace()).into_bytes();
    bytes.extend_from_slice(key.digest());
    Bytes::from(bytes).into()
}

impl fmt::Debug for RedisCacheTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCacheTier").field("server", &self.connections.server).finish_non_exhaustive()
    }
}

#[async_trait]
impl CacheTier for RedisCacheTier {
    async fn get(&self, keys: &[CacheKey]) -> Result<TierRead, CacheError> {
        if keys.is_empty() {
            return Ok(TierRead { envelopes: Vec::new(), as_of: None });
        }
        let asked: Vec<_> = keys.iter().map(redis_key).collect();
        let values: Vec<Value> =
            self.connections.client.mget(asked).await.map_err(|error| unavailable("read entries", error))?;
        if values.len() != keys.len() {
            let said = format!("{} answers to {} keys", values.len(), keys.len());
            return Err(CacheError::unavailable(CacheLevel::L2, "read entries", said));
        }
        Ok(TierRead { envelopes: values.into_iter().map(Value::into_bytes).collect(), as_of: None })
    }

    async fn put(&self, puts: Vec<TierPut>) -> Result<Vec<TierVerdict>, CacheError> {
        let verdicts = vec![TierVerdict { verdict: StoreVerdict::Stored, as_of: None }; puts.len()];
        let pipeline = self.connections.client.pipeline();
        let mut commands = 0;
        for put in puts {
            // What is past its keep already needs no room.
            let Ok(left) = put.keep_until.duration_since(put.now) else { continue };
            let Some(ms) = i64::try_from(left.as_millis()).ok().filter(|ms| *ms > 0) else { continue };
            let set = pipeline.set::<(), _, _>(
                redis_key(&put.key),
                put.envelope,
                Some(Expiration::PX(ms)),
                None,
                false,
            );
            set.await.map_err(|error| unavailable("store entries", error))?;
            commands += 1;
        }
        if commands > 0 {
            let _: Vec<Value> = pipeline.all().await.map_err(|error| unavailable("store entries", error))?;
        }
        Ok(verdicts)
    }

    async fn remove(&self, removals: Vec<Removal>) -> Result<(), CacheError> {
        if removals.is_empty() {
            return Ok(());
        }
        // Without their conditions: L3 holds all that lives.
        let keys: Vec<_> = removals.iter().map(|removal| redis_key(&removal.key)).collect();
        let _: Value = self
            .connections
            .client
            .unlink(keys)
            .await
            .map_err(|error| unavailable("remove entries", error))?;
        Ok(())
    }

    async fn count(&self) -> Result<Count, CacheError> {
        // Only a scan could tell these entries from whatever else the server holds.
        Ok(Count::Unknown)
    }
}

#[async_trait]
impl Backplane for RedisCacheTier {
    async fn publish(&self, notice: Notice) {
        for message in encode(&notice, SUBJECTS) {
            let sent: Result<Value, _> = self.connections.client.publish(CHANNEL, message).await;
            if let Err(error) = sent {
                tracing::debug!(target: "wavequill::caching", %error, "a notice is lost: nodes look at the log");
                return;
            }
        }
    }

    fn subscribe(&self) -> Box<dyn NoticeReceiver> {
        let subscriber = &self.connections.subscriber;
        Box::new(notices::RedisReceiver::new(subscriber.message_rx(), subscriber.reconnect_rx()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_cannot_be_used_is_refused_without_showing_its_password() {
        for url in [
            "",
            "http://",
            "rediss://u:secret@h",
            "redis-cluster://u:secret@h:1",
            "redis-sentinel://u:secret@h:1?sentinelServiceName=x",
        ] {
            let error = parse(url).unwrap_err();
            let reason = std::error::Error::source(&error).unwrap().to_string();
            assert!(reason.contains("redis://["), "{reason}");
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
        assert!(parse("redis://user:secret@localhost:6380/3").is_ok());
    }
}
