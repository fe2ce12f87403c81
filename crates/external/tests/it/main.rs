//! The services over real sockets on the loopback interface.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: what goes wrong there is to fail the test"
)]

#[cfg(feature = "testing")]
mod conformance;
mod errors;
mod events;
mod http1;
mod http2;
mod proxy;
#[cfg(feature = "testing")]
mod quota;
mod raw_http2;
#[cfg(all(feature = "fred", feature = "testing"))]
mod redis;
mod secrets;
mod server;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use wavequill_external::{
    AudioFormat, ConnectionPoolConfig, Http2ConnectionPoolManager, Http2Use, HttpSpeechApi, HyperConfig,
    HyperHttpTransport, HyperSpeechApiConfig, ModelId, SecretString, SpeechApiConfig, SpeechAudio,
    SpeechRequest,
};

/// What a whisper-like server answers.
const HELLO: &str = r#"{"task":"transcribe","language":"english","duration":1.0,"text":" Hello.","segments":[{"id":0,"start":0.0,"end":1.0,"text":" Hello."}],"words":[{"word":"Hello","start":0.0,"end":0.5}]}"#;

fn config(base_url: &str) -> HyperSpeechApiConfig {
    let url = base_url.parse().unwrap();
    let key = SecretString::from("sk-marker-key-0123456789".to_owned());
    HyperSpeechApiConfig::new(url).with_api(SpeechApiConfig::new(base_url.parse().unwrap()).with_key(key))
}

fn api(base_url: &str) -> HttpSpeechApi {
    HttpSpeechApi::over_hyper(config(base_url)).unwrap()
}

fn request(bytes: usize) -> SpeechRequest {
    let audio = SpeechAudio::from_bytes(vec![b'a'; bytes], AudioFormat::Wav, Duration::from_secs(1));
    SpeechRequest::new(audio, ModelId::new("whisper-1").unwrap())
}

fn pool(config: ConnectionPoolConfig, http2: Http2Use) -> Arc<Http2ConnectionPoolManager> {
    let transport = HyperHttpTransport::new(HyperConfig::default().with_http2(http2)).unwrap();
    Arc::new(Http2ConnectionPoolManager::new(config, Arc::new(transport)).unwrap())
}
