//! What this context needs from outside, as traits that it owns.

use std::fmt::Debug;

use async_trait::async_trait;
use secrecy::SecretString;

use crate::DatabaseError;

/// Gives the URL for each new connection: for passwords and tokens that rotate.
///
/// # Contract
/// 1. What it returns is good for a connection that is opened now.
/// 2. It does not block; an error counts as a failure to connect, and is retried by its class.
#[async_trait]
pub trait CredentialSource: Debug + Send + Sync + 'static {
    /// The URL, with the credential in it.
    async fn url(&self) -> Result<SecretString, DatabaseError>;
}
