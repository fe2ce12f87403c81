//! The contracts, against each implementation.

use std::sync::Arc;
use std::time::Duration;

use wavequill_external::testing::{
    InMemoryQuotaLog, ScriptedSpeechApi, SpeechApiSimulator, ToneSpeech, conformance,
};
use wavequill_external::{
    AdaptiveRateLimitHandler, AudioFormat, Http2Use, HttpSpeechApi, InMemoryQuotaLedger, ModelId,
    RateLimitConfig, SharedQuotaConfig, SharedQuotaLedger, SpeechAudio, SpeechRequest,
};

use crate::config;

#[tokio::test(start_paused = true)]
async fn the_adaptive_handler_keeps_its_contract() {
    conformance::rate_limit_handler(|told| {
        AdaptiveRateLimitHandler::new(Arc::new(InMemoryQuotaLedger::new(told).unwrap()))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_ledger_in_memory_keeps_its_contract() {
    let told = RateLimitConfig::default().with_max_in_flight(2);
    let probe_interval = told.probe_interval;
    conformance::quota_ledger(InMemoryQuotaLedger::new(told).unwrap(), probe_interval).await;
}

#[tokio::test(start_paused = true)]
async fn the_shared_ledger_keeps_its_contract() {
    let told = RateLimitConfig::default().with_max_in_flight(2);
    let probe_interval = told.probe_interval;
    let config = SharedQuotaConfig::default().with_told(told);
    let ledger = SharedQuotaLedger::new(config, Arc::new(InMemoryQuotaLog::new())).unwrap();
    conformance::quota_ledger(ledger, probe_interval).await;
}

#[tokio::test(start_paused = true)]
async fn the_log_in_memory_keeps_its_contract() {
    conformance::quota_log(InMemoryQuotaLog::new()).await;
}

fn speech() -> SpeechRequest {
    let mut file = Vec::new();
    ToneSpeech::new(Duration::from_secs(5)).write_wav(&mut file).unwrap();
    let audio = SpeechAudio::from_bytes(file, AudioFormat::Wav, Duration::from_secs(5));
    SpeechRequest::new(audio, ModelId::new("whisper-1").unwrap())
}

#[tokio::test]
async fn the_api_over_both_versions_of_http_keeps_its_contract() {
    let simulator = SpeechApiSimulator::new().start().await.unwrap();
    for http2 in [Http2Use::Never, Http2Use::PriorKnowledge] {
        let mut config = config(&simulator.base_url());
        config.hyper.http2 = http2;
        conformance::speech_api(HttpSpeechApi::over_hyper(config).unwrap(), speech).await;
    }
}

#[tokio::test]
async fn the_scripted_api_keeps_its_contract() {
    conformance::speech_api(ScriptedSpeechApi::new().then_hears(Duration::ZERO), speech).await;
}
