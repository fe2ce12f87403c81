//! Snapshots exchanged through Redis: a key for each process, which goes when the process does, and one for the leader.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fred::prelude::{
    Builder, Client, ClientLike, Config, Expiration, KeysInterface, LuaInterface, ReconnectPolicy,
    SetsInterface,
};
use serde::{Deserialize, Serialize};
use wavequill_kernel::InvalidValue;

use crate::error::MonitoringError;
use crate::model::snapshot::{MetricsSnapshot, ProcessEpoch};
use crate::ports::{Collected, Leadership, SnapshotExchange};

/// What a snapshot begins with: its format.
const MAGIC: &[u8; 4] = b"WQS1";
/// A larger snapshot is not sent: Redis is shared.
const MAX_SNAPSHOT_BYTES: usize = 8 << 20;
const COMMAND_TIMEOUT: Duration = Duration::from_secs(3);

/// Takes the lease if it is free, keeps it if it is ours: in one step, so that no other can come in between.
const LEAD: &str = "
local leader = redis.call('GET', KEYS[1])
if leader == false or leader == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 1
end
return 0";

/// Where a fleet meets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisExchangeConfig {
    /// `redis://…`; its password is never shown.
    pub url: String,
    /// The fleet's name: processes of one name are one fleet. Default: `wavequill`.
    #[serde(default = "default_fleet")]
    pub fleet: String,
    /// How long a process counts as alive without publishing. Default: 1 minute.
    #[serde(default = "default_alive_for")]
    pub alive_for: Duration,
    /// How long a leader leads without saying so again; at least two ticks. Default: 30 s.
    #[serde(default = "default_lead_for")]
    pub lead_for: Duration,
}

fn default_fleet() -> String {
    "wavequill".to_owned()
}

fn default_alive_for() -> Duration {
    Duration::from_secs(60)
}

fn default_lead_for() -> Duration {
    Duration::from_secs(30)
}

impl RedisExchangeConfig {
    /// At this server, with every other field at its default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            fleet: default_fleet(),
            alive_for: default_alive_for(),
            lead_for: default_lead_for(),
        }
    }

    /// As a fleet of this name.
    #[must_use]
    pub fn with_fleet(mut self, fleet: impl Into<String>) -> Self {
        self.fleet = fleet.into();
        self
    }

    /// With processes alive this long without publishing.
    #[must_use]
    pub fn with_alive_for(mut self, alive_for: Duration) -> Self {
        self.alive_for = alive_for;
        self
    }

    /// With a leader that leads this long without saying so again.
    #[must_use]
    pub fn with_lead_for(mut self, lead_for: Duration) -> Self {
        self.lead_for = lead_for;
        self
    }

    fn check(&self) -> Result<(), InvalidValue> {
        if self.fleet.is_empty() {
            return Err(InvalidValue::new("fleet", "empty", "a name"));
        }
        for (name, duration) in [("alive_for", self.alive_for), ("lead_for", self.lead_for)] {
            if duration < Duration::from_millis(100) {
                return Err(InvalidValue::new(name, format!("{duration:?}"), "at least 100 ms"));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RedisExchangeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisExchangeConfig").field("fleet", &self.fleet).finish_non_exhaustive()
    }
}

/// Exchanges snapshots through one Redis server (or Valkey). It reconnects by itself; meanwhile each call fails within
/// three seconds. Today it speaks plain TCP only.
pub struct RedisSnapshotExchange {
    client: Client,
    config: RedisExchangeConfig,
}

impl RedisSnapshotExchange {
    /// Connects.
    ///
    /// # Errors
    /// [`MonitoringError::InvalidConfig`]; [`MonitoringError::Exchange`] if nobody answers.
    pub async fn connect(config: RedisExchangeConfig) -> Result<Self, MonitoringError> {
        config.check()?;
        let parsed = Config::from_url(&config.url)
            .map_err(|error| failed(&format!("the URL is no Redis URL: {}", error.details())))?;
        let client = Builder::from_config(parsed)
            .with_performance_config(|performance| performance.default_command_timeout = COMMAND_TIMEOUT)
            .with_connection_config(|connection| {
                connection.connection_timeout = COMMAND_TIMEOUT;
                connection.internal_command_timeout = COMMAND_TIMEOUT;
                connection.max_command_attempts = 1;
                connection.max_command_buffer_len = 1_000;
            })
            .set_policy(ReconnectPolicy::new_exponential(0, 100, 30_000, 2))
            .build()
            .map_err(exchange)?;
        // The client waits for its first connection as long as it takes; here somebody waits for the answer.
        match tokio::time::timeout(COMMAND_TIMEOUT, client.init()).await {
            Ok(connected) => connected.map_err(exchange)?,
            Err(_) => return Err(failed("no server answers: is Redis running, and the address right?")),
        };
        Ok(Self { client, config })
    }

    /// Ends the connection.
    ///
    /// # Errors
    /// [`MonitoringError::Exchange`] if the server could not be told.
    pub async fn close(&self) -> Result<(), MonitoringError> {
        self.client.quit().await.map_err(exchange)
    }

    fn members(&self) -> String {
        format!("wqm:{}:members", self.config.fleet)
    }

    fn part(&self, epoch: &str) -> String {
        format!("wqm:{}:part:{epoch}", self.config.fleet)
    }
}

impl fmt::Debug for RedisSnapshotExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSnapshotExchange").field("config", &self.config).finish_non_exhaustive()
    }
}

#[async_trait]
impl SnapshotExchange for RedisSnapshotExchange {
    async fn publish(&self, snapshot: &MetricsSnapshot) -> Result<(), MonitoringError> {
        let epoch = snapshot.epoch().to_string();
        let bytes = Bytes::from(encode(snapshot)?);
        let expires = Some(Expiration::PX(millis(self.config.alive_for)));
        self.client
            .set::<(), _, _>(self.part(&epoch), bytes, expires, None, false)
            .await
            .map_err(exchange)?;
        self.client.sadd::<(), _, _>(self.members(), epoch).await.map_err(exchange)
    }

    async fn collect(&self) -> Result<Collected, MonitoringError> {
        let members: BTreeSet<String> = self.client.smembers(self.members()).await.map_err(exchange)?;
        if members.is_empty() {
            return Ok(Collected::default());
        }
        let keys: Vec<String> = members.iter().map(|epoch| self.part(epoch)).collect();
        let found: Vec<Option<Bytes>> = self.client.mget(keys).await.map_err(exchange)?;
        let mut collected = Collected::default();
        let mut gone = Vec::new();
        for (epoch, bytes) in members.into_iter().zip(found) {
            match bytes.map(|bytes| decode(&bytes)) {
                None => gone.push(epoch),
                Some(Some(part)) if part.epoch().to_string() == epoch => collected.parts.push(part),
                Some(_) => collected.damaged += 1,
            }
        }
        if !gone.is_empty() {
            // Who publishes again is a member again.
            self.client.srem::<(), _, _>(self.members(), gone).await.map_err(exchange)?;
        }
        Ok(collected)
    }

    async fn lead(&self, epoch: ProcessEpoch) -> Result<Leadership, MonitoringError> {
        let key = format!("wqm:{}:leader", self.config.fleet);
        let arguments = vec![epoch.to_string(), millis(self.config.lead_for).to_string()];
        let leads: i64 = self.client.eval(LEAD, key, arguments).await.map_err(exchange)?;
        Ok(if leads == 1 { Leadership::Leader } else { Leadership::Follower })
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn encode(snapshot: &MetricsSnapshot) -> Result<Vec<u8>, MonitoringError> {
    let bytes = postcard::to_extend(snapshot, MAGIC.to_vec())
        .map_err(|error| failed(&format!("the snapshot cannot be written: {error}")))?;
    if bytes.len() > MAX_SNAPSHOT_BYTES {
        return Err(failed(&format!("the snapshot takes {} bytes: lower the number of series", bytes.len())));
    }
    Ok(bytes)
}

/// `None` if it does not read.
fn decode(bytes: &[u8]) -> Option<MetricsSnapshot> {
    let body = bytes.strip_prefix(MAGIC).filter(|_| bytes.len() <= MAX_SNAPSHOT_BYTES)?;
    postcard::from_bytes(body).ok()
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn exchange(error: fred::error::Error) -> MonitoringError {
    failed(error.details())
}

fn failed(reason: &str) -> MonitoringError {
    MonitoringError::Exchange { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;
    use crate::{MetricUnit, SeriesKey, Sketch, Tick};

    fn snapshot() -> MetricsSnapshot {
        let tick = Tick { monotonic: Duration::from_secs(5), wall: SystemTime::UNIX_EPOCH };
        let mut sketch = Sketch::new(MetricUnit::Seconds);
        (1..100).for_each(|n| sketch.record(f64::from(n) / 7.0).unwrap());
        MetricsSnapshot::new(ProcessEpoch::from_bits(7), tick, tick)
            .with_counter(SeriesKey::new("a_total", [("x", "1"), ("y", "2")]), 3)
            .with_gauge(SeriesKey::bare("g"), -0.1)
            .with_sketch(SeriesKey::bare("wait_seconds"), sketch)
    }

    #[test]
    fn a_snapshot_reads_back_to_the_bit_and_a_cut_one_is_refused() {
        let bytes = encode(&snapshot()).unwrap();
        assert_eq!(decode(&bytes), Some(snapshot()));
        assert!((0..bytes.len()).all(|len| decode(&bytes[..len]).is_none()));
        assert_eq!(decode(b"WQS2"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(bytes: Vec<u8>) {
            if let Some(read) = decode(&[MAGIC.as_slice(), &bytes].concat()) {
                prop_assert_eq!(decode(&encode(&read).unwrap()), Some(read));
            }
        }
    }
}
