//! [`RedisQuotaLog`] and [`RedisQuotaLedger`]: quota shared through one Redis (or Valkey) server.
//!
//! The server keeps an order of events and a snapshot; one script appends and reads, by the server's own clock. What the
//! events mean is not known here.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fred::prelude::{Builder, Client, ClientLike, Config, Error, ReconnectPolicy, Value};
use fred::types::config::ServerConfig;
use fred::types::scripts::Script;
use futures_util::FutureExt;
use wavequill_kernel::InvalidValue;

use crate::error::ExternalError;
use crate::model::quota::{Cost, Observation, QuotaScope, QuotaView};
use crate::multipart::random_hex;
use crate::ports::{Charge, Charged, LogPosition, LogSnapshot, LogTail, LoggedEvent, QuotaLedger, QuotaLog};
use crate::shared_quota_ledger::{SharedQuotaConfig, SharedQuotaLedger};

/// A command that takes longer than this has failed, whoever still waits for it.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How many commands may wait for the connection: beyond that, they fail at once.
const COMMANDS: usize = 1_000;
/// A quota that nobody uses for so long is forgotten: longer than the longest period that limits have, a day.
const KEPT_MS: u64 = 25 * 3_600 * 1_000;

/// KEYS: 1 what is known of the log, 2 its events.
/// ARGV: 1 the reader's epoch, 2 its position, 3 a name for a new log, 4 the position of a snapshot or an empty string,
/// 5 the snapshot, 6 how long to keep it all in ms, 7… the events.
/// An event stands behind its time in microseconds and a space.
const APPEND: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local known = redis.call('HMGET', KEYS[1], 'epoch', 'next', 'kept_from', 'at')
local epoch, next, kept_from = known[1], tonumber(known[2]), tonumber(known[3])
if not epoch then
  epoch, next, kept_from = ARGV[3], 0, 0
  redis.call('DEL', KEYS[2])
end
now = math.max(now, tonumber(known[4] or 0))
local stamp = string.format('%.0f', now)
for index = 7, #ARGV do
  redis.call('RPUSH', KEYS[2], stamp .. ' ' .. ARGV[index])
  next = next + 1
end
local upto = tonumber(ARGV[4])
if upto and epoch == ARGV[1] and upto > kept_from then
  redis.call('LTRIM', KEYS[2], upto - kept_from, -1)
  redis.call('HSET', KEYS[1], 'snapshot', ARGV[5])
  kept_from = upto
end
redis.call('HSET', KEYS[1], 'epoch', epoch, 'next', next, 'kept_from', kept_from, 'at', stamp)
redis.call('PEXPIRE', KEYS[1], ARGV[6])
redis.call('PEXPIRE', KEYS[2], ARGV[6])
local from = tonumber(ARGV[2])
local snapshot = ''
if epoch ~= ARGV[1] or from < kept_from then
  from = kept_from
  snapshot = redis.call('HGET', KEYS[1], 'snapshot') or ''
end
local events = redis.call('LRANGE', KEYS[2], from - kept_from, -1)
return {epoch, stamp, tostring(from), snapshot, events}
";

/// The order of events on a Redis server. It decides nothing.
///
/// It reconnects by itself, for as long as it takes. Today it speaks plain TCP to a single server.
#[derive(Clone)]
pub struct RedisQuotaLog {
    connection: Arc<Connection>,
}

struct Connection {
    client: Client,
    script: Script,
    server: String,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Quitting only hands a message to the connection's own task: it is done when it is first polled.
        let _ = self.client.quit().now_or_never();
    }
}

impl RedisQuotaLog {
    /// Connects to the server of a `redis://[user:password@]host[:port][/database]` URL.
    ///
    /// # Errors
    /// [`InvalidConfig`](ExternalError::InvalidConfig) if the URL is none of a single server;
    /// [`Ledger`](ExternalError::Ledger) if the server cannot be reached, or does not let this client in.
    pub async fn connect(url: &str) -> Result<Self, ExternalError> {
        let config = parse(url)?;
        let server = config.server.hosts().iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let mut builder = Builder::from_config(config);
        builder
            .set_policy(ReconnectPolicy::new_exponential(0, 50, 1_000, 2))
            .with_performance_config(|performance| {
                performance.default_command_timeout = COMMAND_TIMEOUT;
            })
            .with_connection_config(|connection| {
                connection.connection_timeout = CONNECT_TIMEOUT;
                connection.internal_command_timeout = CONNECT_TIMEOUT;
                connection.max_command_attempts = 1;
                connection.max_command_buffer_len = COMMANDS;
            });
        let client = builder.build().map_err(unreachable_server)?;
        let connection = Connection { client, script: Script::from_lua(APPEND), server };
        connection.client.init().await.map_err(unreachable_server)?;
        Ok(Self { connection: Arc::new(connection) })
    }
}

impl std::fmt::Debug for RedisQuotaLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisQuotaLog").field("server", &self.connection.server).finish_non_exhaustive()
    }
}

fn parse(url: &str) -> Result<Config, ExternalError> {
    // The URL may hold a password: it is never shown.
    let refused = |given: &str| {
        let expected = "redis://[user:password@]host[:port][/database]";
        ExternalError::from(InvalidValue::new("redis url", given, expected))
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

fn unreachable_server(error: Error) -> ExternalError {
    ExternalError::Ledger { source: Arc::new(std::io::Error::other(error)) }
}

fn senseless(what: &str) -> ExternalError {
    ExternalError::Ledger {
        source: Arc::new(std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned())),
    }
}

#[async_trait]
impl QuotaLog for RedisQuotaLog {
    async fn append(
        &self,
        scope: &QuotaScope,
        seen: &LogPosition,
        events: &[String],
        snapshot: Option<LogSnapshot>,
    ) -> Result<LogTail, ExternalError> {
        // Braces: in a cluster both keys are on the same server.
        let keys = vec![format!("wqx:1:{{{scope}}}"), format!("wqx:1:{{{scope}}}:events")];
        let (upto, state) = snapshot.map(|s| (s.next.to_string(), s.state)).unwrap_or_default();
        let mut arguments =
            vec![seen.epoch.clone(), seen.next.to_string(), random_hex(), upto, state, KEPT_MS.to_string()];
        arguments.extend_from_slice(events);
        let Connection { client, script, .. } = &*self.connection;
        let answer: Value =
            script.evalsha_with_reload(client, keys, arguments).await.map_err(unreachable_server)?;
        read(answer).ok_or_else(|| senseless("its answer makes no sense: does something else use its keys?"))
    }
}

/// What the script returns.
fn read(answer: Value) -> Option<LogTail> {
    let Value::Array(parts) = answer else { return None };
    let [epoch, now, from, state, events] = <[Value; 5]>::try_from(parts).ok()?;
    let first = from.as_string()?.parse().ok()?;
    let state = state.as_string()?;
    let events = match events {
        Value::Array(events) => events,
        Value::Null => Vec::new(),
        _ => return None,
    };
    let event = |event: Value| {
        let text = event.as_string()?;
        let (at, event) = text.split_once(' ')?;
        Some(LoggedEvent { at_s: seconds(at)?, event: event.to_owned() })
    };
    Some(LogTail {
        epoch: epoch.as_string()?,
        now_s: seconds(&now.as_string()?)?,
        snapshot: (!state.is_empty()).then_some(LogSnapshot { next: first, state }),
        first,
        events: events.into_iter().map(event).collect::<Option<_>>()?,
    })
}

fn seconds(micros: &str) -> Option<f64> {
    micros.parse::<u64>().ok().map(|micros| micros as f64 / 1e6)
}

/// One quota for all processes that use the same Redis server.
///
/// ```no_run
/// use std::sync::Arc;
/// use wavequill_external::{
///     AdaptiveRateLimitHandler, RateLimitConfig, RedisQuotaLedger, SharedQuotaConfig,
/// };
///
/// # async fn share() -> Result<(), wavequill_external::ExternalError> {
/// let told = RateLimitConfig::default().with_requests_per_minute(500);
/// let config = SharedQuotaConfig::default().with_told(told).with_processes(4);
/// let ledger = RedisQuotaLedger::connect("redis://127.0.0.1:6379/0", config).await?;
/// let quota = AdaptiveRateLimitHandler::new(Arc::new(ledger));
/// # drop(quota);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct RedisQuotaLedger(SharedQuotaLedger);

impl RedisQuotaLedger {
    /// Connects as [`RedisQuotaLog::connect`] does.
    ///
    /// # Errors
    /// As [`RedisQuotaLog::connect`]; [`InvalidConfig`](ExternalError::InvalidConfig).
    pub async fn connect(url: &str, config: SharedQuotaConfig) -> Result<Self, ExternalError> {
        let log = RedisQuotaLog::connect(url).await?;
        SharedQuotaLedger::new(config, Arc::new(log)).map(Self)
    }
}

#[async_trait]
impl QuotaLedger for RedisQuotaLedger {
    fn try_charge(&self, scope: &QuotaScope, cost: &Cost) -> Option<Charged> {
        self.0.try_charge(scope, cost)
    }

    async fn charge(&self, scope: &QuotaScope, cost: &Cost) -> Result<Charged, ExternalError> {
        self.0.charge(scope, cost).await
    }

    fn sent(&self, scope: &QuotaScope, charge: &mut Charge) {
        self.0.sent(scope, charge);
    }

    fn restore(&self, scope: &QuotaScope, cost: &Cost, charge: Charge) {
        self.0.restore(scope, cost, charge);
    }

    fn settle(&self, scope: &QuotaScope, cost: &Cost, charge: Charge, seen: &Observation) {
        self.0.settle(scope, cost, charge, seen);
    }

    fn view(&self, scope: &QuotaScope) -> QuotaView {
        self.0.view(scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_cannot_be_used_is_refused_without_showing_its_password() {
        for url in ["", "http://", "rediss://u:secret@h", "redis-cluster://u:secret@h:1"] {
            let error = parse(url).unwrap_err();
            assert!(matches!(error, ExternalError::InvalidConfig { .. }), "{url}");
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
        assert!(parse("redis://user:secret@localhost:6380/3").is_ok());
    }

    #[test]
    fn what_is_no_answer_of_the_script_is_refused() {
        for answer in [Value::Null, Value::Array(vec![]), Value::Array(vec![Value::Null; 5])] {
            assert_eq!(read(answer), None);
        }
    }
}
