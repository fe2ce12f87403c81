//! What can go wrong on the way to a speech API and back.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use wavequill_kernel::{ErrorClass, InvalidValue, Retryable};

use crate::model::capabilities::ModelId;
use crate::model::http::Processed;
use crate::model::origin::Origin;
use crate::model::quota::{StopCause, ThrottleCause};

/// A step of a request that has a time-out of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Waiting for quota.
    Quota,
    /// Waiting for a stream of a connection.
    Stream,
    /// Resolving the host's name.
    Dns,
    /// Opening a connection.
    Connect,
    /// Agreeing on encryption.
    Tls,
    /// Sending the body.
    Upload,
    /// Waiting for the answer's head.
    FirstByte,
    /// Reading the answer's body.
    Body,
    /// Everything together: the caller's deadline.
    Whole,
}

impl Phase {
    /// The name of the phase, as it stands in messages and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quota => "quota",
            Self::Stream => "stream",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Upload => "upload",
            Self::FirstByte => "first_byte",
            Self::Body => "body",
            Self::Whole => "whole",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Quota => "waiting for quota",
            Self::Stream => "waiting for a free connection",
            Self::Dns => "resolving the host's name",
            Self::Connect => "connecting",
            Self::Tls => "agreeing on encryption",
            Self::Upload => "sending the audio",
            Self::FirstByte => "waiting for the answer",
            Self::Body => "reading the answer",
            Self::Whole => "the whole request",
        })
    }
}

/// Why no connection came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectFailure {
    /// Nobody listens there.
    Refused,
    /// The name is not known.
    UnknownHost,
    /// The address is private, and the configuration does not allow that.
    ForbiddenAddress,
    /// The certificate is not one that is trusted for this host.
    Certificate,
    /// The encryption could not be agreed on.
    Tls,
    /// The proxy did not open a tunnel.
    Proxy,
    /// Anything else: unreachable, reset, out of ports or files.
    Other,
}

/// What can go wrong. No message holds a key, a prompt or a transcript.
#[non_exhaustive]
#[derive(Clone, Debug, thiserror::Error)]
pub enum ExternalError {
    /// A value of the configuration was refused.
    #[error("the configuration is wrong")]
    InvalidConfig {
        /// The value.
        #[source]
        reason: InvalidValue,
    },
    /// The request cannot be put into the API's form. Nothing was sent.
    #[error("the request's {field} is not usable: {reason}")]
    InvalidRequest {
        /// The field.
        field: &'static str,
        /// What is wrong with it, and what would do.
        reason: String,
    },
    /// The model cannot do what is asked. Nothing was sent.
    #[error("the model {model} gives no {what}: ask for less, or take another model")]
    Unsupported {
        /// The model.
        model: ModelId,
        /// What it cannot do.
        what: &'static str,
    },
    /// The model does not exist there, or does not any more.
    #[error("the model {model} is not available: {reason}")]
    ModelUnavailable {
        /// The model.
        model: ModelId,
        /// What is known, and which models there are.
        reason: String,
    },
    /// The request has more bytes than the API takes. Send the audio in smaller pieces.
    #[error("the request has {bytes} bytes, {}: send smaller pieces", over(*limit_bytes))]
    TooLarge {
        /// The bytes of the whole body.
        bytes: u64,
        /// The limit, if it is known.
        limit_bytes: Option<u64>,
        /// Whether the API was asked.
        processed: Processed,
    },
    /// The audio is longer than the model takes. Send it in shorter pieces.
    #[error("the audio lasts {} s, {}: send shorter pieces", audio.as_secs_f64(), longer(*limit))]
    TooLong {
        /// The duration of the audio.
        audio: Duration,
        /// The limit, if it is known.
        limit: Option<Duration>,
        /// Whether the API was asked.
        processed: Processed,
    },
    /// The API refuses this audio or these parameters: sending them again cannot help.
    #[error("the API refused the request ({status}{}): {message}", shown(code.as_deref()))]
    Rejected {
        /// The status.
        status: StatusCode,
        /// The API's code, if it gave one.
        code: Option<String>,
        /// What the API said, keys blotted out.
        message: String,
        /// What to name when writing to the provider.
        request_id: Option<String>,
    },
    /// Nothing goes with this credential until somebody does something about it.
    #[error("{}", stopped(*cause, *status, message))]
    Stopped {
        /// Why.
        cause: StopCause,
        /// The status, if this very request was refused.
        status: Option<StatusCode>,
        /// What the API said, keys blotted out.
        message: String,
    },
    /// The quota is used up for the moment.
    #[error("the quota is used up for the moment{}{}", wait(*retry_after), said(message))]
    Throttled {
        /// Why.
        cause: ThrottleCause,
        /// How long to wait, from now.
        retry_after: Option<Duration>,
        /// What the API said, keys blotted out; empty if it was not asked.
        message: String,
    },
    /// The API asks for more patience than is worth waiting in the process.
    #[error("the API asks for {} s of patience: try again then", wait.as_secs())]
    RetryAfterTooLong {
        /// How long it asks for.
        wait: Duration,
        /// When that ends.
        until: SystemTime,
    },
    /// The API failed; it may work a little later.
    #[error("the API failed ({status}{}): {message}", shown(code.as_deref()))]
    ServerFailed {
        /// The status.
        status: StatusCode,
        /// The API's code, if it gave one.
        code: Option<String>,
        /// What the API said, keys blotted out.
        message: String,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
        /// What to name when writing to the provider.
        request_id: Option<String>,
    },
    /// The API, or the way to it, has failed again and again: nothing is sent for a while. Nothing was sent.
    #[error("{origin} has failed again and again: nothing is sent to it for {:.1} s", retry_after.as_secs_f64())]
    CircuitOpen {
        /// Where to.
        origin: Origin,
        /// When one request tries again.
        retry_after: Duration,
    },
    /// No connection came about. Nothing was sent.
    #[error("{}", not_connected(origin, *failure))]
    Connect {
        /// Where to.
        origin: Origin,
        /// Why not.
        failure: ConnectFailure,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The connection broke.
    #[error("the connection to {origin} broke{}", after(*processed))]
    ConnectionLost {
        /// Where to.
        origin: Origin,
        /// Whether the API may have done the work.
        processed: Processed,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// A step took longer than it may.
    #[error("{phase} took longer than {after:?}")]
    Timeout {
        /// The step.
        phase: Phase,
        /// What it was allowed.
        after: Duration,
        /// Whether the API may have done the work.
        processed: Processed,
    },
    /// The answer makes no sense: broken, too large, encoded without being asked, times that fall.
    #[error("the API's answer is not usable: {reason}")]
    InvalidResponse {
        /// What is wrong.
        reason: String,
    },
    /// The API wants the request elsewhere; it is not followed, since it holds a key.
    #[error("the API redirects to {location} ({status}): set that as the base URL if it is right")]
    Redirected {
        /// The status.
        status: StatusCode,
        /// Where to, without a query.
        location: String,
    },
    /// The audio could not be read while it was sent.
    #[error("the audio could not be read while it was sent")]
    Source {
        /// What reading said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The ledger that holds the quota could not be asked.
    #[error("the quota's ledger cannot be reached")]
    Ledger {
        /// What it said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The pool was closed.
    #[error("the connections were closed: the client is shutting down")]
    Closed,
}

impl ExternalError {
    /// Whether the API may have done the work that this request asked for.
    pub fn processed(&self) -> Processed {
        match self {
            Self::InvalidConfig { .. }
            | Self::InvalidRequest { .. }
            | Self::Unsupported { .. }
            | Self::ModelUnavailable { .. }
            | Self::Connect { .. }
            | Self::Throttled { .. }
            | Self::RetryAfterTooLong { .. }
            | Self::CircuitOpen { .. }
            | Self::Stopped { .. }
            | Self::Source { .. }
            | Self::Ledger { .. }
            | Self::Closed => Processed::No,
            Self::TooLarge { processed, .. }
            | Self::TooLong { processed, .. }
            | Self::ConnectionLost { processed, .. }
            | Self::Timeout { processed, .. } => *processed,
            Self::ServerFailed { .. } => Processed::Maybe,
            Self::Rejected { .. } | Self::InvalidResponse { .. } | Self::Redirected { .. } => Processed::Yes,
        }
    }

    /// Whether no other request of the same client can fare better: a wrong key, no credit, no such model, no server.
    pub fn concerns_the_client(&self) -> bool {
        match self {
            Self::InvalidConfig { .. }
            | Self::Unsupported { .. }
            | Self::ModelUnavailable { .. }
            | Self::Stopped { .. }
            | Self::Redirected { .. }
            | Self::Closed => true,
            Self::Connect { failure, .. } => match failure {
                ConnectFailure::Refused
                | ConnectFailure::UnknownHost
                | ConnectFailure::ForbiddenAddress
                | ConnectFailure::Certificate => true,
                ConnectFailure::Tls | ConnectFailure::Proxy | ConnectFailure::Other => false,
            },
            Self::InvalidRequest { .. }
            | Self::TooLarge { .. }
            | Self::TooLong { .. }
            | Self::Rejected { .. }
            | Self::Throttled { .. }
            | Self::RetryAfterTooLong { .. }
            | Self::CircuitOpen { .. }
            | Self::ServerFailed { .. }
            | Self::ConnectionLost { .. }
            | Self::Timeout { .. }
            | Self::InvalidResponse { .. }
            | Self::Source { .. }
            | Self::Ledger { .. } => false,
        }
    }

    /// Reads the error of a response body back out of the `io::Error` that carried it.
    pub(crate) fn from_body(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => own,
            Err(error) => Self::InvalidResponse { reason: format!("its body ended early: {error}") },
        }
    }
}

impl From<InvalidValue> for ExternalError {
    fn from(reason: InvalidValue) -> Self {
        Self::InvalidConfig { reason }
    }
}

impl Retryable for ExternalError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::InvalidConfig { .. }
            | Self::InvalidRequest { .. }
            | Self::Unsupported { .. }
            | Self::ModelUnavailable { .. }
            | Self::TooLarge { .. }
            | Self::TooLong { .. }
            | Self::Rejected { .. }
            | Self::Stopped { .. }
            | Self::Redirected { .. }
            | Self::Source { .. }
            | Self::Closed => ErrorClass::Permanent,
            Self::Throttled { retry_after, .. } => ErrorClass::Throttled { retry_after: *retry_after },
            Self::CircuitOpen { retry_after, .. } => {
                ErrorClass::Throttled { retry_after: Some(*retry_after) }
            }
            Self::RetryAfterTooLong { wait, .. } => ErrorClass::Throttled { retry_after: Some(*wait) },
            Self::Connect { failure, .. } => match failure {
                ConnectFailure::ForbiddenAddress | ConnectFailure::Certificate => ErrorClass::Permanent,
                ConnectFailure::Refused
                | ConnectFailure::UnknownHost
                | ConnectFailure::Tls
                | ConnectFailure::Proxy
                | ConnectFailure::Other => ErrorClass::Transient,
            },
            Self::ServerFailed { .. }
            | Self::ConnectionLost { .. }
            | Self::Timeout { .. }
            | Self::InvalidResponse { .. }
            | Self::Ledger { .. } => ErrorClass::Transient,
        }
    }
}

fn over(limit_bytes: Option<u64>) -> String {
    limit_bytes.map_or_else(|| "more than the API takes".into(), |limit| format!("the API takes {limit}"))
}

fn longer(limit: Option<Duration>) -> String {
    let known = |limit: Duration| format!("the model takes {} s", limit.as_secs_f64());
    limit.map_or_else(|| "more than the model takes".into(), known)
}

fn shown(code: Option<&str>) -> String {
    code.map_or_else(String::new, |code| format!(", {code}"))
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

fn wait(retry_after: Option<Duration>) -> String {
    retry_after.map_or_else(String::new, |wait| format!(", for {:.1} s", wait.as_secs_f64()))
}

fn after(processed: Processed) -> &'static str {
    match processed {
        Processed::No => " before the request was processed",
        Processed::Maybe => "; the request may have been processed",
        Processed::Yes => " while the answer was read",
    }
}

fn stopped(cause: StopCause, status: Option<StatusCode>, message: &str) -> String {
    let what = match (cause, status) {
        (StopCause::Credential, Some(StatusCode::FORBIDDEN)) => {
            "the key may not use this: check what it is allowed"
        }
        (StopCause::Credential, _) => "the key is missing or wrong: check it",
        (StopCause::Billing, _) => "there is no credit left: top it up, or raise the spending limit",
    };
    let status = status.map_or_else(String::new, |status| format!(" ({})", status.as_u16()));
    format!("{what}{status}{}", said(message))
}

fn not_connected(origin: &Origin, failure: ConnectFailure) -> String {
    match failure {
        ConnectFailure::Refused => format!("nobody answers at {origin}: is the server running there?"),
        ConnectFailure::UnknownHost => {
            format!("the host of {origin} cannot be found: check the base URL and the network")
        }
        ConnectFailure::ForbiddenAddress => {
            format!("{origin} leads to a private address, which the configuration does not allow")
        }
        ConnectFailure::Certificate => {
            format!("the certificate of {origin} is not trusted: check the host, the clock, and the roots")
        }
        ConnectFailure::Tls => format!("no encrypted connection to {origin} could be agreed on"),
        ConnectFailure::Proxy => {
            format!("the proxy opened no way to {origin}: check its address, user and password")
        }
        ConnectFailure::Other => format!("no connection to {origin} could be opened"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_asks_whether_the_server_runs() {
        let error = ExternalError::Connect {
            origin: "http://127.0.0.1:8000".parse().unwrap(),
            failure: ConnectFailure::Refused,
            source: Arc::new(io::ErrorKind::ConnectionRefused.into()),
        };
        assert_eq!(
            error.to_string(),
            "nobody answers at http://127.0.0.1:8000: is the server running there?"
        );
        assert_eq!(error.class(), ErrorClass::Transient);
        assert!(error.concerns_the_client());
    }

    #[test]
    fn a_limit_and_the_value_are_both_named() {
        let error = ExternalError::TooLarge { bytes: 30, limit_bytes: Some(25), processed: Processed::No };
        assert_eq!(error.to_string(), "the request has 30 bytes, the API takes 25: send smaller pieces");
        let error = ExternalError::TooLong {
            audio: Duration::from_millis(1_500_500),
            limit: Some(Duration::from_secs(1400)),
            processed: Processed::Yes,
        };
        assert_eq!(
            error.to_string(),
            "the audio lasts 1500.5 s, the model takes 1400 s: send shorter pieces"
        );
    }
}
