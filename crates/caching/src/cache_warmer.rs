//! The role that fills memory after a start with what is likely to be asked for.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{CacheError, WarmLimits, WarmReport, WarmSnapshot};

/// Remembers what is often asked for, and brings it back into memory after a restart.
///
/// # Contract
/// 1. It never calls a loader: what no level has stays missing.
/// 2. It never displaces an entry that was hit since the start.
/// 3. It keeps to its limits of bytes and keys a second.
/// 4. It may be dropped at any point.
#[async_trait]
pub trait CacheWarmer: Debug + Send + Sync + 'static {
    /// Remembers the hot set for the next start: call it now and then, and at shutdown.
    ///
    /// # Errors
    /// [`CacheError::Unavailable`] if the store did not take it.
    async fn snapshot(&self) -> Result<WarmSnapshot, CacheError>;

    /// Reads the remembered hot set into memory, the most worth first.
    ///
    /// # Errors
    /// [`CacheError::Unavailable`] if the store did not answer; what is in memory by then stays.
    async fn warm(&self, limits: &WarmLimits) -> Result<WarmReport, CacheError>;
}

macro_rules! forward_warmer {
    ($($pointer:ident),*) => {$(
        #[async_trait]
        impl<T: CacheWarmer + ?Sized> CacheWarmer for $pointer<T> {
            async fn snapshot(&self) -> Result<WarmSnapshot, CacheError> {
                (**self).snapshot().await
            }
            async fn warm(&self, limits: &WarmLimits) -> Result<WarmReport, CacheError> {
                (**self).warm(limits).await
            }
        }
    )*};
}
forward_warmer!(Arc, Box);
