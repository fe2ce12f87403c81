//! Puts a speech API of one's own in the place of the HTTP client: a local model, a provider with a protocol of its own.
//!
//! Everything else stays: cutting, parallel requests, retries, the cache, jobs, metrics.
//!
//! ```console
//! $ cargo run --example bring_your_own_api -- talk.wav
//! ```
#![expect(clippy::print_stdout, reason = "it prints the transcript")]

use std::time::Duration;

use async_trait::async_trait;
use wavequill::Wavequill;
use wavequill::external::{
    ExternalError, ModelCapabilities, ModelId, SpeechApi, SpeechRequest, SpeechResponse, TimedWord, Timing,
    Usage,
};

/// Says how many seconds it was given: where it stands, a model would listen.
#[derive(Debug)]
struct Stopwatch;

#[async_trait]
impl SpeechApi for Stopwatch {
    fn capabilities(&self, model: &ModelId) -> Option<ModelCapabilities> {
        // Words with times, any length of audio.
        Some(ModelCapabilities { max_audio: None, ..ModelCapabilities::like_whisper(model.clone()) })
    }

    async fn transcribe(&self, request: SpeechRequest) -> Result<SpeechResponse, ExternalError> {
        let duration = request.audio.duration();
        let second = |n: u64| TimedWord {
            text: format!("second-{n}"),
            start: Duration::from_secs(n),
            end: Duration::from_millis(1_000 * n + 500),
            speaker: None,
        };
        let words: Vec<TimedWord> = (0..duration.as_secs()).map(second).collect();
        let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        Ok(SpeechResponse {
            text: texts.join(" "),
            language: None,
            duration: Some(duration),
            timing: Timing::Words { words, segments: Vec::new() },
            usage: Usage::default(),
            request_id: None,
            raw: bytes::Bytes::new(),
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1).ok_or("name a recording")?;
    let wavequill = Wavequill::builder().speech_api(Stopwatch).model("stopwatch").build().await?;
    let transcript = wavequill.transcribe(file).await?.await?;
    println!("{}", transcript.text);
    Ok(())
}
