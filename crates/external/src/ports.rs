//! What the services need from outside: how a provider speaks, where quota is kept, how bytes travel.

mod quota_log;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

pub use self::quota_log::{LogPosition, LogSnapshot, LogTail, LoggedEvent, QuotaLog};
use crate::error::ExternalError;
use crate::model::capabilities::ModelCapabilities;
use crate::model::events::StreamedPart;
use crate::model::http::{HttpRequest, HttpResponse, Processed};
use crate::model::origin::{BaseUrl, Origin};
use crate::model::quota::{Cost, Observation, QuotaScope, QuotaView, SeenLimits, StopCause};
use crate::model::request::SpeechRequest;
use crate::model::response::SpeechResponse;

/// Where and as whom a request is sent.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint<'a> {
    /// The root of the API.
    pub base_url: &'a BaseUrl,
    /// The key, if the API wants one.
    pub key: Option<&'a SecretString>,
    /// What the model can do.
    pub model: &'a ModelCapabilities,
}

/// An answer that was read to its end.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body.
    pub body: &'a Bytes,
    /// What the model can do.
    pub model: &'a ModelCapabilities,
    /// The duration of the audio that was sent.
    pub audio: Duration,
    /// The bytes of the body that was sent.
    pub sent_bytes: u64,
    /// The wall time, for dates in headers.
    pub now: SystemTime,
}

impl Debug for Answer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// How one family of APIs speaks. Pure: the same arguments give the same result.
///
/// # Contract
/// 1. [`encode`](Self::encode) gives a body of exactly known length, and refuses what the API has no form for as
///    [`InvalidRequest`](ExternalError::InvalidRequest). What the caller wrote cannot end a header or a part.
/// 2. [`decode`](Self::decode) takes any bytes without a panic; times in its result are whole microseconds and do not
///    fall. A success that holds an error is an error.
/// 3. [`classify`](Self::classify) decides by the status first, then by the code in the body.
/// 4. [`read_limits`](Self::read_limits) ignores and counts what makes no sense.
/// 5. No result holds the key.
pub trait SpeechDialect: Debug + Send + Sync + 'static {
    /// The name of the dialect, as it stands in the configuration.
    fn name(&self) -> &'static str;

    /// The models that are known to speak it.
    fn models(&self) -> Vec<ModelCapabilities>;

    /// Puts a request into the API's form.
    ///
    /// # Errors
    /// [`InvalidRequest`](ExternalError::InvalidRequest), [`Unsupported`](ExternalError::Unsupported).
    fn encode(&self, endpoint: Endpoint<'_>, request: &SpeechRequest) -> Result<HttpRequest, ExternalError>;

    /// Reads a successful answer.
    ///
    /// # Errors
    /// [`InvalidResponse`](ExternalError::InvalidResponse), or what the answer says went wrong.
    fn decode(&self, request: &SpeechRequest, answer: Answer<'_>) -> Result<SpeechResponse, ExternalError>;

    /// Reads the data of one event of a streamed answer; `None` if it says nothing that counts.
    ///
    /// Default: an error, for dialects without streams.
    ///
    /// # Errors
    /// [`InvalidResponse`](ExternalError::InvalidResponse), or what the event says went wrong.
    fn decode_event(&self, data: &str) -> Result<Option<StreamedPart>, ExternalError> {
        let reason = format!("{} bytes came as an event, and this dialect has none", data.len());
        Err(ExternalError::InvalidResponse { reason })
    }

    /// Names the error that an unsuccessful answer stands for.
    fn classify(&self, answer: Answer<'_>) -> ExternalError;

    /// Reads what the headers of any answer tell about quota.
    fn read_limits(&self, headers: &HeaderMap, now: SystemTime) -> SeenLimits;
}

/// What a ledger noted about a dimension when a request was sent, to compare the answer with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChargeMark {
    /// Seconds until the bucket would be full, as the ledger saw it.
    pub predicted_s: f64,
    /// The sum of the ledger's corrections until then, in seconds.
    pub shift_s: f64,
    /// The limit that it reckoned with.
    pub limit: f64,
}

/// A receipt of a ledger.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Charge {
    /// Tells charges apart.
    pub id: u64,
    /// When it was granted, in seconds of the ledger's own clock.
    pub at_s: f64,
    /// By [`Dimension`](crate::Dimension), in the order of [`Dimension::ALL`](crate::Dimension::ALL).
    pub marks: [Option<ChargeMark>; 4],
}

/// The answer of a ledger.
#[derive(Clone, Debug, PartialEq)]
pub enum Charged {
    /// It was charged.
    Granted(Charge),
    /// Nothing was charged; it may be worth asking again after this time, or when something is observed.
    Wait(Duration),
    /// Nothing was charged, and nothing will be, until the credential works again.
    Stopped(StopCause),
}

/// Keeps the state of quotas, for one process or for many.
///
/// # Contract
/// 1. All dimensions of a cost are charged, or none.
/// 2. Whoever is granted may send at once without being refused, as far as is known.
/// 3. [`restore`](Self::restore) undoes a charge that was not sent; [`settle`](Self::settle) ends one that was.
/// 4. A stop refuses all but one probe a minute, until a request is served.
#[async_trait]
pub trait QuotaLedger: Debug + Send + Sync + 'static {
    /// Charges without I/O; `None` where only [`charge`](Self::charge) can tell.
    fn try_charge(&self, scope: &QuotaScope, cost: &Cost) -> Option<Charged>;

    /// Charges.
    ///
    /// # Errors
    /// [`Ledger`](ExternalError::Ledger) if it cannot be reached.
    async fn charge(&self, scope: &QuotaScope, cost: &Cost) -> Result<Charged, ExternalError>;

    /// The request is being put on the wire now.
    fn sent(&self, scope: &QuotaScope, charge: &mut Charge);

    /// The request was never sent.
    fn restore(&self, scope: &QuotaScope, cost: &Cost, charge: Charge);

    /// The request was sent, and this is what came of it.
    fn settle(&self, scope: &QuotaScope, cost: &Cost, charge: Charge, seen: &Observation);

    /// What is known.
    fn view(&self, scope: &QuotaScope) -> QuotaView;
}

/// The version of HTTP that a link speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1: one request at a time.
    Http1,
    /// HTTP/2: streams.
    Http2,
}

/// Whether a link can take streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkPhase {
    /// It takes new streams.
    Open,
    /// The peer has announced the end: it takes no new stream, the old ones go on.
    Draining,
    /// It is gone.
    Closed,
}

/// The state of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkState {
    /// Whether it takes streams.
    pub phase: LinkPhase,
    /// How many streams the peer grants in all, now.
    pub max_streams: usize,
}

/// An error of a link, and what became of the request.
#[derive(Clone, Debug)]
pub struct LinkError {
    /// What happened.
    pub error: ExternalError,
    /// Whether the peer may have processed the request.
    pub processed: Processed,
    /// Whether the peer is why: GOAWAY, a refused stream, a connection that ended before the request was on it.
    pub replay: Option<ReplayCause>,
}

/// Why a request can be sent again without the caller's knowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplayCause {
    /// The peer announced the end of the connection before it took the request.
    GoAway,
    /// The peer refused the stream.
    Refused,
    /// The request never left.
    Unsent,
}

/// One connection to an origin.
///
/// # Contract
/// 1. [`state`](Self::state) is free of I/O; `max_streams` is 1 until the peer has said more.
/// 2. [`changed`](Self::changed) returns as soon as the state differs from the one given; a closed link stays closed.
/// 3. [`send`](Self::send) returns at the answer's head, whether or not the body was sent by then.
/// 4. An error says truthfully whether the peer may have processed the request.
/// 5. Dropping the link closes the connection.
#[async_trait]
pub trait HttpLink: Debug + Send + Sync + 'static {
    /// The version of HTTP.
    fn protocol(&self) -> Protocol;

    /// The state now.
    fn state(&self) -> LinkState;

    /// Waits until the state is another than `seen`.
    async fn changed(&self, seen: LinkState) -> LinkState;

    /// Sends a request.
    ///
    /// # Errors
    /// What happened, and whether the request may have been processed.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, LinkError>;

    /// Takes no new stream, and closes the connection once the old ones have ended.
    fn drain(&self);
}

/// Opens connections.
///
/// # Contract
/// 1. Each phase of opening has a time-out of its own.
/// 2. The address that was checked is the address that is dialled.
/// 3. The name is resolved anew for each link.
#[async_trait]
pub trait HttpTransport: Debug + Send + Sync + 'static {
    /// Opens a connection.
    ///
    /// # Errors
    /// [`Connect`](ExternalError::Connect), or [`Timeout`](ExternalError::Timeout) of the phase that took too long.
    async fn connect(&self, origin: &Origin) -> Result<Arc<dyn HttpLink>, ExternalError>;
}

#[async_trait]
impl<T: HttpTransport + ?Sized> HttpTransport for Arc<T> {
    async fn connect(&self, origin: &Origin) -> Result<Arc<dyn HttpLink>, ExternalError> {
        (**self).connect(origin).await
    }
}
