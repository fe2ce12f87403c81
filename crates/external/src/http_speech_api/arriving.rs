//! An answer that arrives as server-sent events, and holds its stream and its quota until it has ended.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use tokio::time::{Instant, timeout_at};

use super::named;
use crate::answer::classify::request_id;
use crate::answer::event_stream::EventParser;
use crate::body::BodyReader;
use crate::error::{ExternalError, Phase};
use crate::metrics::{ModelMetrics, Outcome};
use crate::model::events::{SpeechEvent, SpeechEventSource, StreamedPart};
use crate::model::http::{HttpResponse, Processed};
use crate::model::quota::{Observation, SeenLimits, SeenOutcome};
use crate::model::response::{SpeechResponse, TimedSegment, Timing, Usage};
use crate::ports::SpeechDialect;
use crate::rate_limit_handler::{QuotaPermit, RateLimitHandler};

/// A read that goes on where it was when whoever waited for it has gone.
type Reading = Pin<Box<dyn Future<Output = (Box<dyn BodyReader>, io::Result<Option<Bytes>>)> + Send>>;

/// What is needed besides the answer.
pub(super) struct Parts {
    pub(super) dialect: Arc<dyn SpeechDialect>,
    pub(super) quota: Arc<dyn RateLimitHandler>,
    pub(super) metrics: ModelMetrics,
    pub(super) begun: Instant,
    pub(super) deadline: Option<Duration>,
    pub(super) audio: Duration,
    pub(super) price: u64,
    pub(super) most_bytes: usize,
}

/// An answer whose head has come.
pub(super) struct Opened {
    pub(super) response: HttpResponse,
    pub(super) permit: QuotaPermit,
    pub(super) limits: SeenLimits,
}

pub(super) struct Arriving {
    parts: Parts,
    headers: HeaderMap,
    reading: Option<Reading>,
    parser: EventParser,
    bytes: usize,
    text: String,
    segments: Vec<TimedSegment>,
    /// Given back with what the head told when the answer has ended, however it does.
    permit: Option<(QuotaPermit, SeenLimits)>,
    outcome: Outcome,
}

fn read(mut body: Box<dyn BodyReader>) -> Reading {
    Box::pin(async move {
        let piece = body.next().await;
        (body, piece)
    })
}

impl Arriving {
    pub(super) fn new(parts: Parts, opened: Opened) -> Self {
        let Opened { response, permit, limits } = opened;
        Self {
            parts,
            headers: response.headers,
            reading: Some(read(response.body)),
            parser: EventParser::default(),
            bytes: 0,
            text: String::new(),
            segments: Vec::new(),
            permit: Some((permit, limits)),
            outcome: Outcome::Cancelled,
        }
    }

    /// The data of the next event; `None` at the end of the body.
    async fn data(&mut self) -> Result<Option<String>, ExternalError> {
        loop {
            if let Some(data) = self.parser.next() {
                return Ok(Some(data));
            }
            let Some(reading) = &mut self.reading else { return Ok(None) };
            let (body, piece) = match self.parts.deadline {
                None => reading.await,
                Some(within) => timeout_at(self.parts.begun + within, reading).await.map_err(|_| {
                    let processed = Processed::Yes;
                    ExternalError::Timeout { phase: Phase::Whole, after: within, processed }
                })?,
            };
            self.reading = None;
            let Some(piece) = piece.map_err(ExternalError::from_body)? else { return Ok(None) };
            self.bytes += piece.len();
            if self.bytes > self.parts.most_bytes {
                return Err(broken(&format!("it has more than {} bytes", self.parts.most_bytes)));
            }
            self.parser.push(&piece).map_err(|bad| broken(bad.as_str()))?;
            self.reading = Some(read(body));
        }
    }

    async fn event(&mut self) -> Result<SpeechEvent, ExternalError> {
        loop {
            let Some(data) = self.data().await? else {
                return Err(broken("its events ended before the whole transcript had come"));
            };
            match self.parts.dialect.decode_event(&data)? {
                None => {}
                Some(StreamedPart::Delta(text)) => {
                    self.text.push_str(&text);
                    return Ok(SpeechEvent::Delta(text));
                }
                Some(StreamedPart::Segment(segment)) => {
                    self.in_order(&segment)?;
                    self.segments.push(segment.clone());
                    return Ok(SpeechEvent::Segment(segment));
                }
                Some(StreamedPart::Done { text, usage }) => return Ok(self.done(text, usage, data)),
            }
        }
    }

    fn in_order(&self, next: &TimedSegment) -> Result<(), ExternalError> {
        let last = self.segments.last().map_or(Duration::ZERO, |segment| segment.start);
        if next.start < last || next.end < next.start {
            return Err(broken(&format!("a segment is at {:?}, the one before it at {last:?}", next.start)));
        }
        Ok(())
    }

    fn done(&mut self, text: Option<String>, usage: Usage, data: String) -> SpeechEvent {
        let segments = std::mem::take(&mut self.segments);
        let text = text.unwrap_or_else(|| std::mem::take(&mut self.text));
        SpeechEvent::Done(Box::new(SpeechResponse {
            text: text.trim().to_owned(),
            language: None,
            duration: None,
            timing: if segments.is_empty() { Timing::ChunkOnly } else { Timing::Segments(segments) },
            usage,
            request_id: request_id(&self.headers),
            raw: Bytes::from(data),
        }))
    }

    /// Gives back what the answer held.
    fn end(&mut self) {
        self.reading = None;
        let Some((permit, limits)) = self.permit.take() else { return };
        let outcome = if self.outcome == Outcome::Ok { SeenOutcome::Served } else { SeenOutcome::Failed };
        self.parts.quota.observe(permit, &Observation { outcome, limits });
        let metrics = &self.parts.metrics;
        metrics.attempt(self.outcome);
        metrics.request(self.outcome, self.parts.begun.elapsed(), self.parts.audio);
        if self.outcome == Outcome::Ok {
            metrics.cost(self.parts.price);
        }
    }
}

fn broken(reason: &str) -> ExternalError {
    ExternalError::InvalidResponse { reason: reason.to_owned() }
}

#[async_trait]
impl SpeechEventSource for Arriving {
    async fn next(&mut self) -> Option<Result<SpeechEvent, ExternalError>> {
        self.permit.as_ref()?;
        let event = self.event().await;
        if !matches!(event, Ok(SpeechEvent::Delta(_) | SpeechEvent::Segment(_))) {
            self.outcome = named(&event);
            self.end();
        }
        Some(event)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.end();
    }
}
