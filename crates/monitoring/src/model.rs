//! The values of monitoring: series, sketches, snapshots, rules, alerts. No I/O, no clock.

pub(crate) mod alert;
pub(crate) mod history;
pub(crate) mod layout;
pub(crate) mod quantile;
pub(crate) mod routes;
pub(crate) mod rule;
pub(crate) mod rule_check;
pub(crate) mod run_report;
pub(crate) mod series_key;
pub(crate) mod sketch;
pub(crate) mod snapshot;
