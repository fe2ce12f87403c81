//! How a cache is set up. All of it is data; it is checked once, when a cache is built.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wavequill_kernel::{InvalidValue, Ttl};

use crate::{ByteSize, CacheError};

/// The limits and times of a `MultiLevelCache`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// The bytes that L1 may hold, with the overhead of its table. Default: 64 MiB.
    pub l1_bytes: ByteSize,
    /// How long L1 serves an entry before it asks a level below again. Default: 5 min.
    pub l1_ttl: Duration,
    /// How long L2 keeps an entry. Default: 24 h.
    pub l2_ttl: Duration,
    /// The largest body that is stored at all. Default: 64 MiB.
    pub max_value_bytes: ByteSize,
    /// The largest body that L2 gets. Default: 4 MiB.
    pub l2_max_value_bytes: ByteSize,
    /// How long a node that is cut off from the log may go on serving from L1 and L2. Default: 5 s.
    pub max_staleness: Duration,
    /// The longest that an entry lives. Default: 400 d.
    pub max_ttl: Duration,
    /// The longest that the lack of a result is believed. Default: 10 min.
    pub negative_ttl: Duration,
    /// How long a load is another process's own business if that process is not heard of. Default: 30 s.
    pub lease_ttl: Duration,
    /// How long a read waits for L2 before it goes on without. Default: 50 ms.
    pub l2_get_timeout: Duration,
    /// How long a write waits for L2 before it goes on without. Default: 250 ms.
    pub l2_put_timeout: Duration,
    /// Bodies from here on are compressed for L2 and L3. Default: 1 KiB.
    pub compress_from: ByteSize,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            l1_bytes: ByteSize::from_mib(64),
            l1_ttl: Duration::from_secs(300),
            l2_ttl: Duration::from_secs(86_400),
            max_value_bytes: ByteSize::from_mib(64),
            l2_max_value_bytes: ByteSize::from_mib(4),
            max_staleness: Duration::from_secs(5),
            max_ttl: Ttl::MAX.as_duration(),
            negative_ttl: Duration::from_secs(600),
            lease_ttl: Duration::from_secs(30),
            l2_get_timeout: Duration::from_millis(50),
            l2_put_timeout: Duration::from_millis(250),
            compress_from: ByteSize::from_kib(1),
        }
    }
}

impl CacheConfig {
    /// Sets [`l1_bytes`](Self::l1_bytes).
    #[must_use]
    pub const fn with_l1_bytes(mut self, bytes: ByteSize) -> Self {
        self.l1_bytes = bytes;
        self
    }

    /// Sets [`l1_ttl`](Self::l1_ttl).
    #[must_use]
    pub const fn with_l1_ttl(mut self, ttl: Duration) -> Self {
        self.l1_ttl = ttl;
        self
    }

    /// Sets [`l2_ttl`](Self::l2_ttl).
    #[must_use]
    pub const fn with_l2_ttl(mut self, ttl: Duration) -> Self {
        self.l2_ttl = ttl;
        self
    }

    /// Sets [`max_value_bytes`](Self::max_value_bytes).
    #[must_use]
    pub const fn with_max_value_bytes(mut self, bytes: ByteSize) -> Self {
        self.max_value_bytes = bytes;
        self
    }

    /// Sets [`max_staleness`](Self::max_staleness).
    #[must_use]
    pub const fn with_max_staleness(mut self, staleness: Duration) -> Self {
        self.max_staleness = staleness;
        self
    }

    /// Sets [`negative_ttl`](Self::negative_ttl).
    #[must_use]
    pub const fn with_negative_ttl(mut self, ttl: Duration) -> Self {
        self.negative_ttl = ttl;
        self
    }

    /// Sets [`lease_ttl`](Self::lease_ttl).
    #[must_use]
    pub const fn with_lease_ttl(mut self, ttl: Duration) -> Self {
        self.lease_ttl = ttl;
        self
    }

    /// The largest weight of one L1 entry: an eighth of the budget.
    pub(crate) const fn l1_entry_limit(&self) -> u64 {
        self.l1_bytes.as_bytes() / 8
    }

    pub(crate) fn validate(&self) -> Result<(), CacheError> {
        let bytes = [
            ("l1_bytes", self.l1_bytes, ByteSize::from_kib(64), ByteSize::from_mib(1 << 20)),
            ("max_value_bytes", self.max_value_bytes, ByteSize::from_bytes(1), ByteSize::from_mib(1024)),
            ("l2_max_value_bytes", self.l2_max_value_bytes, ByteSize::from_bytes(0), ByteSize::from_mib(512)),
        ];
        for (name, given, least, most) in bytes {
            if given < least || given > most {
                let expected = format!("{} to {}", least.as_bytes(), most.as_bytes());
                return Err(refused(name, format!("{} bytes", given.as_bytes()), expected));
            }
        }
        let second = Duration::from_secs(1);
        let ms = Duration::from_millis(1);
        let times = [
            ("l1_ttl", self.l1_ttl, ms, Ttl::MAX.as_duration()),
            ("l2_ttl", self.l2_ttl, ms, Ttl::MAX.as_duration()),
            ("max_staleness", self.max_staleness, 4 * ms, 3_600 * second),
            ("max_ttl", self.max_ttl, ms, Ttl::MAX.as_duration()),
            ("negative_ttl", self.negative_ttl, ms, Ttl::MAX.as_duration()),
            ("lease_ttl", self.lease_ttl, 100 * ms, 3_600 * second),
            ("l2_get_timeout", self.l2_get_timeout, ms, 60 * second),
            ("l2_put_timeout", self.l2_put_timeout, ms, 60 * second),
        ];
        for (name, given, least, most) in times {
            if given < least || given > most {
                return Err(refused(name, format!("{given:?}"), format!("{least:?} to {most:?}")));
            }
        }
        Ok(())
    }
}

fn refused(name: &'static str, given: String, expected: String) -> CacheError {
    CacheError::InvalidConfig { source: InvalidValue::new(name, given, expected) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;

    #[test]
    fn the_defaults_are_valid_and_a_field_out_of_range_is_named_with_its_range() {
        CacheConfig::default().validate().unwrap();
        let config = CacheConfig::default().with_lease_ttl(Duration::ZERO);
        let error = config.validate().unwrap_err();
        assert_eq!(error.source().unwrap().to_string(), "`lease_ttl` is 0ns, but must be 100ms to 3600s");
    }

    #[test]
    fn a_field_that_is_not_given_has_its_default_and_an_unknown_one_is_refused() {
        let config: CacheConfig = serde_json::from_str(r#"{"l1_bytes": 1048576}"#).unwrap();
        assert_eq!(config, CacheConfig::default().with_l1_bytes(ByteSize::from_mib(1)));
        assert!(serde_json::from_str::<CacheConfig>(r#"{"l1_byte": 1}"#).is_err());
    }
}
