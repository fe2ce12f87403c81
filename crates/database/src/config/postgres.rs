//! How a pool of PostgreSQL connections is opened.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use wavequill_kernel::InvalidValue;

use super::{above_zero, named};
use crate::{PoolLimits, Utilization};

/// Who decides how many connections a pool has within its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScalingMode {
    /// As many as the maximum, opened when needed; idle ones beyond the minimum are closed after a while.
    #[default]
    Advise,
    /// The pool: it starts at the minimum, grows while callers wait, and shrinks when most are idle for long.
    Auto,
}

/// Settings of each session, as `SET name = value` makes them: `work_mem`, `statement_timeout`, `search_path`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SessionProfile {
    settings: BTreeMap<String, String>,
}

impl SessionProfile {
    /// Adds a setting.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.insert(name.into(), value.into());
        self
    }

    /// The settings by name.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// How PostgreSQL is reached, and how many connections it is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// The name in errors, logs, metrics and in the server's `pg_stat_activity`. Default: `postgres`.
    #[serde(default = "PostgresConfig::default_name")]
    pub name: String,
    /// `postgres://user:password@host:port/database`, or `key=value` pairs as libpq has them. Never shown.
    pub url: SecretString,
    /// The same past a transaction pooler such as PgBouncer, for what needs a session of its own. Default: as `url`.
    #[serde(default)]
    pub direct_url: Option<SecretString>,
    /// Between how many and how many connections. Default: 5 to 20.
    #[serde(default = "PostgresConfig::default_limits")]
    pub limits: PoolLimits,
    /// Who decides how many. Default: [`ScalingMode::Advise`].
    #[serde(default)]
    pub scaling: ScalingMode,
    /// The share of the connections that [`ScalingMode::Auto`] aims to have in use. Default: 0.7.
    #[serde(default = "PostgresConfig::default_utilization")]
    pub utilization: Utilization,
    /// How long a call waits for a connection. Default: 10 s.
    #[serde(default = "PostgresConfig::default_acquire_timeout")]
    pub acquire_timeout: Duration,
    /// How long opening a connection may take. Default: 5 s.
    #[serde(default = "PostgresConfig::default_connect_timeout")]
    pub connect_timeout: Duration,
    /// A connection used or checked within this time is handed out as it is, an older one is asked whether it lives.
    /// Default: 500 ms.
    #[serde(default = "PostgresConfig::default_fresh_for")]
    pub fresh_for: Duration,
    /// After how long an idle connection beyond the minimum is closed. Default: 10 min.
    #[serde(default = "PostgresConfig::default_idle_timeout")]
    pub idle_timeout: Duration,
    /// At what age a connection is replaced, less up to a tenth. Default: 30 min.
    #[serde(default = "PostgresConfig::default_max_lifetime")]
    pub max_lifetime: Duration,
    /// After how long a connection that is still held counts as forgotten: it is logged and counted. Default: 60 s.
    #[serde(default = "PostgresConfig::default_leak_after")]
    pub leak_after: Duration,
    /// A statement that takes this long counts as slow. Default: 1 s.
    #[serde(default = "PostgresConfig::default_slow_query")]
    pub slow_query: Duration,
    /// Settings of each session. Default: none.
    #[serde(default)]
    pub session: SessionProfile,
}

impl PostgresConfig {
    /// The defaults, for the server at this URL.
    pub fn new(url: impl Into<SecretString>) -> Self {
        Self {
            name: Self::default_name(),
            url: url.into(),
            direct_url: None,
            limits: Self::default_limits(),
            scaling: ScalingMode::default(),
            utilization: Self::default_utilization(),
            acquire_timeout: Self::default_acquire_timeout(),
            connect_timeout: Self::default_connect_timeout(),
            fresh_for: Self::default_fresh_for(),
            idle_timeout: Self::default_idle_timeout(),
            max_lifetime: Self::default_max_lifetime(),
            leak_after: Self::default_leak_after(),
            slow_query: Self::default_slow_query(),
            session: SessionProfile::default(),
        }
    }

    /// Sets the name in errors, logs, metrics and in the server's `pg_stat_activity`.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the URL past a transaction pooler.
    #[must_use]
    pub fn with_direct_url(mut self, url: impl Into<SecretString>) -> Self {
        self.direct_url = Some(url.into());
        self
    }

    /// Sets between how many and how many connections there are.
    #[must_use]
    pub fn with_limits(mut self, limits: PoolLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets who decides how many connections there are.
    #[must_use]
    pub fn with_scaling(mut self, mode: ScalingMode) -> Self {
        self.scaling = mode;
        self
    }

    /// Sets how long a call waits for a connection.
    #[must_use]
    pub fn with_acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// Sets how long opening a connection may take.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets for how long a connection counts as alive after its use.
    #[must_use]
    pub fn with_fresh_for(mut self, time: Duration) -> Self {
        self.fresh_for = time;
        self
    }

    /// Sets after how long a connection that is still held counts as forgotten.
    #[must_use]
    pub fn with_leak_after(mut self, time: Duration) -> Self {
        self.leak_after = time;
        self
    }

    /// Sets the settings of each session.
    #[must_use]
    pub fn with_session(mut self, session: SessionProfile) -> Self {
        self.session = session;
        self
    }

    pub(crate) fn validate(&self) -> Result<(), InvalidValue> {
        named(&self.name)?;
        above_zero("acquire_timeout", self.acquire_timeout)?;
        above_zero("connect_timeout", self.connect_timeout)?;
        above_zero("max_lifetime", self.max_lifetime)?;
        above_zero("slow_query", self.slow_query)?;
        check_url("url", &self.url)?;
        self.direct_url.as_ref().map_or(Ok(()), |url| check_url("direct_url", url))
    }

    fn default_name() -> String {
        "postgres".to_owned()
    }

    fn default_limits() -> PoolLimits {
        PoolLimits::POSTGRES
    }

    fn default_utilization() -> Utilization {
        Utilization::DEFAULT
    }

    const fn default_acquire_timeout() -> Duration {
        Duration::from_secs(10)
    }

    const fn default_connect_timeout() -> Duration {
        Duration::from_secs(5)
    }

    const fn default_fresh_for() -> Duration {
        Duration::from_millis(500)
    }

    const fn default_idle_timeout() -> Duration {
        Duration::from_secs(600)
    }

    const fn default_max_lifetime() -> Duration {
        Duration::from_secs(1_800)
    }

    const fn default_leak_after() -> Duration {
        Duration::from_secs(60)
    }

    const fn default_slow_query() -> Duration {
        Duration::from_secs(1)
    }
}

/// Only the scheme is named: the rest may hold a password.
fn check_url(field: &'static str, url: &SecretString) -> Result<(), InvalidValue> {
    let text = url.expose_secret();
    if text.trim().is_empty() {
        return Err(InvalidValue::new(field, "empty", "`postgres://user:password@host/database`"));
    }
    match text.split_once("://") {
        None | Some(("postgres" | "postgresql", _)) => Ok(()),
        Some((scheme, _)) => {
            let given = format!("a URL with scheme `{scheme}`");
            Err(InvalidValue::new(field, given, "one with scheme `postgres` or `postgresql`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scheme_is_refused_without_showing_the_password() {
        let refused = PostgresConfig::new("mysql://me:secret@host/db").validate().unwrap_err();
        assert_eq!(
            refused.to_string(),
            "`url` is a URL with scheme `mysql`, but must be one with scheme `postgres` or `postgresql`"
        );
        let config =
            PostgresConfig::new("postgres://me:secret@host/db").with_direct_url("postgres://a:hidden@b/c");
        let shown = format!("{config:?}");
        assert!(!shown.contains("secret") && !shown.contains("hidden"), "{shown}");
    }

    #[test]
    fn a_configuration_needs_only_its_url() {
        let config: PostgresConfig =
            serde_json::from_str(r#"{"url":"postgres://h/d","scaling":"auto"}"#).unwrap();
        assert_eq!((config.scaling, config.limits.max().get()), (ScalingMode::Auto, 20));
        assert!(config.validate().is_ok());
    }
}
