//! How an SQLite database is opened.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wavequill_kernel::InvalidValue;

use super::{above_zero, named};

/// Where an SQLite database is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SqliteLocation {
    /// In this file, which is made if it is missing; its folder must exist.
    File(PathBuf),
    /// In the memory of this process; gone with the pool.
    Memory,
}

impl From<&str> for SqliteLocation {
    /// `:memory:` is memory, anything else a path.
    fn from(text: &str) -> Self {
        if text == ":memory:" { Self::Memory } else { Self::File(PathBuf::from(text)) }
    }
}

impl From<PathBuf> for SqliteLocation {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&std::path::Path> for SqliteLocation {
    fn from(path: &std::path::Path) -> Self {
        Self::File(path.to_owned())
    }
}

/// How an SQLite database is opened: one writer, and readers beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqliteConfig {
    /// The name in errors, logs and metrics. Default: `sqlite`.
    #[serde(default = "SqliteConfig::default_name")]
    pub name: String,
    /// The file, or memory.
    pub location: SqliteLocation,
    /// How many reads may run at the same time; in memory there is one connection for all. Default: 4.
    #[serde(default = "SqliteConfig::default_readers")]
    pub readers: u32,
    /// How long a statement waits for a lock that another process holds. Default: 5 s.
    #[serde(default = "SqliteConfig::default_busy_timeout")]
    pub busy_timeout: Duration,
    /// How long a call waits for a reader or for its turn at the writer. Default: 10 s.
    #[serde(default = "SqliteConfig::default_acquire_timeout")]
    pub acquire_timeout: Duration,
    /// After how long an idle reader beyond two is closed. Default: 10 min.
    #[serde(default = "SqliteConfig::default_idle_timeout")]
    pub idle_timeout: Duration,
    /// After how long a reader that is still held counts as forgotten: it is logged and counted. Default: 60 s.
    #[serde(default = "SqliteConfig::default_leak_after")]
    pub leak_after: Duration,
    /// A statement that takes this long counts as slow. Default: 1 s.
    #[serde(default = "SqliteConfig::default_slow_query")]
    pub slow_query: Duration,
    /// How many writes may wait in line before callers wait to join it. Default: 1024.
    #[serde(default = "SqliteConfig::default_write_queue")]
    pub write_queue: u32,
    /// How many writes share a transaction at most. Default: 256.
    #[serde(default = "SqliteConfig::default_group_limit")]
    pub group_limit: u32,
    /// To what size the write-ahead log is cut after a checkpoint, in bytes. Default: 64 MiB.
    #[serde(default = "SqliteConfig::default_journal_size_limit_bytes")]
    pub journal_size_limit_bytes: u64,
}

impl SqliteConfig {
    /// The defaults, for the database at this place: a path, or `:memory:`.
    pub fn new(location: impl Into<SqliteLocation>) -> Self {
        Self {
            name: Self::default_name(),
            location: location.into(),
            readers: Self::default_readers(),
            busy_timeout: Self::default_busy_timeout(),
            acquire_timeout: Self::default_acquire_timeout(),
            idle_timeout: Self::default_idle_timeout(),
            leak_after: Self::default_leak_after(),
            slow_query: Self::default_slow_query(),
            write_queue: Self::default_write_queue(),
            group_limit: Self::default_group_limit(),
            journal_size_limit_bytes: Self::default_journal_size_limit_bytes(),
        }
    }

    /// Sets the name in errors, logs and metrics.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets how many reads may run at the same time.
    #[must_use]
    pub fn with_readers(mut self, readers: u32) -> Self {
        self.readers = readers;
        self
    }

    /// Sets how long a statement waits for a lock that another process holds.
    #[must_use]
    pub fn with_busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// Sets how long a call waits for a reader or for its turn at the writer.
    #[must_use]
    pub fn with_acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    pub(crate) fn validate(&self) -> Result<(), InvalidValue> {
        named(&self.name)?;
        at_least_one("readers", self.readers)?;
        at_least_one("write_queue", self.write_queue)?;
        at_least_one("group_limit", self.group_limit)?;
        above_zero("acquire_timeout", self.acquire_timeout)?;
        above_zero("slow_query", self.slow_query)?;
        if self.readers > 1_024 {
            return Err(InvalidValue::new("readers", self.readers, "at most 1024: each is a thread"));
        }
        if i32::try_from(self.busy_timeout.as_millis()).is_err() {
            return Err(InvalidValue::new(
                "busy_timeout",
                format!("{:?}", self.busy_timeout),
                "at most 24 days",
            ));
        }
        Ok(())
    }

    fn default_name() -> String {
        "sqlite".to_owned()
    }

    const fn default_readers() -> u32 {
        4
    }

    const fn default_busy_timeout() -> Duration {
        Duration::from_secs(5)
    }

    const fn default_acquire_timeout() -> Duration {
        Duration::from_secs(10)
    }

    const fn default_idle_timeout() -> Duration {
        Duration::from_secs(600)
    }

    const fn default_leak_after() -> Duration {
        Duration::from_secs(60)
    }

    const fn default_slow_query() -> Duration {
        Duration::from_secs(1)
    }

    const fn default_write_queue() -> u32 {
        1_024
    }

    const fn default_group_limit() -> u32 {
        256
    }

    const fn default_journal_size_limit_bytes() -> u64 {
        64 * 1024 * 1024
    }
}

fn at_least_one(name: &'static str, given: u32) -> Result<(), InvalidValue> {
    if given == 0 { Err(InvalidValue::new(name, given, "at least 1")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_readers_and_zero_time_are_refused_by_name() {
        let refused = SqliteConfig::new(":memory:").with_readers(0).validate().unwrap_err();
        assert_eq!(refused.to_string(), "`readers` is 0, but must be at least 1");
        let refused = SqliteConfig::new("x").with_acquire_timeout(Duration::ZERO).validate().unwrap_err();
        assert_eq!(refused.name(), "acquire_timeout");
    }

    #[test]
    fn a_configuration_needs_only_its_place() {
        let config: SqliteConfig = serde_json::from_str(r#"{"location":{"file":"a.db"}}"#).unwrap();
        assert_eq!(config, SqliteConfig::new("a.db"));
        assert!(serde_json::from_str::<SqliteConfig>(r#"{"location":"memory","reeders":2}"#).is_err());
    }
}
