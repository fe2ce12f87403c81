//! What the pools, optimizers and index managers of both engines are made of. No driver is named here.

pub(crate) mod candidates;
pub(crate) mod catalogue;
pub(crate) mod index_audit;
#[cfg(feature = "postgres")]
pub(crate) mod index_prices;
pub(crate) mod plan_reader;
pub(crate) mod pool_core;
pub(crate) mod recorder;
pub(crate) mod row_by_row;
pub(crate) mod rules;
pub(crate) mod scaling;
#[cfg(feature = "diesel-async-0-9")]
pub(crate) mod schema;
pub(crate) mod sql_text;
#[cfg(feature = "sqlite")]
pub(crate) mod trial_text;
