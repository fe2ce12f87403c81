//! The service that callers use: audio in, transcript out, whatever the provider.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::ExternalError;
use crate::model::capabilities::{ModelCapabilities, ModelId};
use crate::model::events::SpeechEvents;
use crate::model::request::SpeechRequest;
use crate::model::response::SpeechResponse;

/// A speech API.
///
/// # Contract
/// 1. A request takes quota, then a stream, then is sent; if no stream comes in time, the quota is given back.
/// 2. What is a byte or a second over the model's row is [`TooLarge`](ExternalError::TooLarge) or
///    [`TooLong`](ExternalError::TooLong), unsent, naming limit and value.
/// 3. Times that the model lacks are [`Unsupported`](ExternalError::Unsupported), unsent; with
///    [`TimingNeed::BestEffort`](crate::TimingNeed::BestEffort) the answer's [`Timing`](crate::Timing) says what there is.
/// 4. It retries nothing but what was provably never processed, and refusals of the quota while it owns the permit.
/// 5. A 200 that holds an error, nothing, or times that fall is an error.
/// 6. Dropping the future stops the upload and frees quota and stream.
/// 7. No key, prompt or text is in a `Debug` form, an error, a log or a metric.
#[async_trait]
pub trait SpeechApi: Debug + Send + Sync + 'static {
    /// What the model can do; `None` if this API does not know it.
    fn capabilities(&self, model: &ModelId) -> Option<ModelCapabilities>;

    /// Transcribes one piece of audio: one attempt.
    ///
    /// # Errors
    /// Any [`ExternalError`]; its class tells whether the caller, who owns the retries, should try again.
    ///
    /// # Cancellation
    /// Dropping the future stops the upload and frees quota and stream. The API may have done the work.
    async fn transcribe(&self, request: SpeechRequest) -> Result<SpeechResponse, ExternalError>;

    /// Transcribes one piece of audio and gives the text as it comes, where the model can do so; otherwise the whole is
    /// the one event.
    ///
    /// # Errors
    /// As [`transcribe`](Self::transcribe), for what goes wrong until the answer begins.
    ///
    /// # Cancellation
    /// As [`transcribe`](Self::transcribe); dropping the events ends the request too.
    async fn transcribe_stream(&self, request: SpeechRequest) -> Result<SpeechEvents, ExternalError> {
        self.transcribe(request).await.map(SpeechEvents::whole)
    }
}

#[async_trait]
impl<T: SpeechApi + ?Sized> SpeechApi for Arc<T> {
    fn capabilities(&self, model: &ModelId) -> Option<ModelCapabilities> {
        (**self).capabilities(model)
    }

    async fn transcribe(&self, request: SpeechRequest) -> Result<SpeechResponse, ExternalError> {
        (**self).transcribe(request).await
    }

    async fn transcribe_stream(&self, request: SpeechRequest) -> Result<SpeechEvents, ExternalError> {
        (**self).transcribe_stream(request).await
    }
}

#[async_trait]
impl<T: SpeechApi + ?Sized> SpeechApi for Box<T> {
    fn capabilities(&self, model: &ModelId) -> Option<ModelCapabilities> {
        (**self).capabilities(model)
    }

    async fn transcribe(&self, request: SpeechRequest) -> Result<SpeechResponse, ExternalError> {
        (**self).transcribe(request).await
    }

    async fn transcribe_stream(&self, request: SpeechRequest) -> Result<SpeechEvents, ExternalError> {
        (**self).transcribe_stream(request).await
    }
}
