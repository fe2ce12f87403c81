//! The client of this crate against the simulator: what each fault becomes, over both protocols.

#![cfg(feature = "hyper")]

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinSet;
use wavequill_kernel::{ErrorClass, Retryable};

use crate::testing::{
    Fault, Faults, Latency, Outcome, Quota, RetryAfterForm, SimulatorHandle, SpeechApiSimulator, ToneScore,
    ToneSpeech, ToneWord,
};
use crate::{
    AudioFormat, BaseUrl, ExternalError, Http2Use, HttpSpeechApi, HyperConfig, HyperSpeechApiConfig, ModelId,
    Processed, RateLimitConfig, SecretString, SpeechApi, SpeechApiConfig, SpeechAudio, SpeechRequest,
    SpeechResponse, StopCause,
};

const PROTOCOLS: [Http2Use; 2] = [Http2Use::Never, Http2Use::PriorKnowledge];

fn client(handle: &SimulatorHandle, http2: Http2Use) -> HttpSpeechApi {
    client_with(handle, http2, RateLimitConfig::default())
}

fn client_with(handle: &SimulatorHandle, http2: Http2Use, quota: RateLimitConfig) -> HttpSpeechApi {
    let url = BaseUrl::new(&handle.base_url()).unwrap();
    let key = SecretString::from("sk-right".to_owned());
    let config = HyperSpeechApiConfig::new(url.clone())
        .with_api(SpeechApiConfig::new(url).with_key(key))
        .with_quota(quota)
        .with_hyper(HyperConfig::default().with_http2(http2));
    HttpSpeechApi::over_hyper(config).unwrap()
}

fn speech(seconds: u64, seed: u64) -> ToneSpeech {
    ToneSpeech::new(Duration::from_secs(seconds)).with_seed(seed)
}

fn request(speech: &ToneSpeech) -> SpeechRequest {
    let mut file = Vec::new();
    speech.write_wav(&mut file).unwrap();
    let duration = Duration::from_secs(speech.len_samples() / 16_000);
    let audio = SpeechAudio::from_bytes(file, AudioFormat::Wav, duration);
    SpeechRequest::new(audio, ModelId::new("whisper-1").unwrap())
}

fn score(speech: &ToneSpeech, answer: &SpeechResponse) -> ToneScore {
    let words = answer.timing.words().iter();
    let words = words.map(|word| ToneWord { text: word.text.clone(), start: word.start, end: word.end });
    ToneScore::of(speech.truth(), words)
}

/// The error that a fault becomes if each request meets it.
async fn failing(fault: Fault, http2: Http2Use) -> (ExternalError, SimulatorHandle) {
    let faults = Faults::none().first(u64::MAX, fault);
    let handle = SpeechApiSimulator::new().with_faults(faults).start().await.unwrap();
    let client = client(&handle, http2);
    let error = client.transcribe(request(&speech(10, 0))).await.unwrap_err();
    (error, handle)
}

#[tokio::test]
async fn words_and_times_come_back_exactly() {
    for http2 in PROTOCOLS {
        let handle = SpeechApiSimulator::new().with_api_key("sk-right").start().await.unwrap();
        let speech = speech(60, 3);
        let answer = client(&handle, http2).transcribe(request(&speech)).await.unwrap();
        let score = score(&speech, &answer);
        assert!(score.is_exact(Duration::from_millis(3)) && score.spoken > 100, "{score}");
        let record = handle.report().log[0].clone();
        assert!(record.idempotency_key.is_some_and(|key| !key.is_empty()));
        let version = if http2 == Http2Use::Never { http::Version::HTTP_11 } else { http::Version::HTTP_2 };
        assert_eq!(record.protocol, version);
    }
}

#[tokio::test]
async fn answers_that_are_errors_become_errors_of_the_right_class() {
    for http2 in PROTOCOLS {
        let (error, _) = failing(Fault::InsufficientQuota, http2).await;
        assert!(matches!(error, ExternalError::Stopped { cause: StopCause::Billing, .. }), "{error:?}");
        for fault in [
            Fault::Status(StatusCode::INTERNAL_SERVER_ERROR),
            Fault::Status(StatusCode::SERVICE_UNAVAILABLE),
            Fault::Status(StatusCode::SERVICE_UNAVAILABLE).early(),
            Fault::PlainText(StatusCode::BAD_GATEWAY),
        ] {
            let (error, _) = failing(fault.clone(), http2).await;
            assert!(matches!(error, ExternalError::ServerFailed { .. }), "{fault:?}: {error:?}");
            assert_eq!(error.class(), ErrorClass::Transient, "{fault:?}");
        }
        let (error, _) = failing(Fault::Redirect, http2).await;
        assert!(matches!(error, ExternalError::Redirected { .. }), "{error:?}");
        let (error, _) = failing(Fault::ErrorInSuccess, http2).await;
        assert!(error.processed() == Processed::Yes && !error.class().is_retryable(), "{error:?}");
    }
}

#[tokio::test]
async fn connections_that_break_and_answers_that_are_damaged_are_transient_errors() {
    for http2 in PROTOCOLS {
        for fault in [
            Fault::DropDuringUpload(20_000),
            Fault::DropAfterUpload,
            Fault::TruncatedBody,
            Fault::OversizedBody(20_000_000),
            Fault::MalformedJson,
            Fault::EmptyBody,
        ] {
            let (error, handle) = failing(fault.clone(), http2).await;
            assert_eq!(error.class(), ErrorClass::Transient, "{http2:?} {fault:?}: {error:?}");
            let report = handle.shutdown().await;
            let claimed_unbilled = error.processed() == Processed::No && !report.audio_billed.is_zero();
            assert!(!claimed_unbilled, "{http2:?} {fault:?}: {error:?}");
        }
    }
}

#[tokio::test]
async fn each_form_of_retry_after_is_waited_for() {
    let mut waits = JoinSet::new();
    for form in [
        RetryAfterForm::OpenAi,
        RetryAfterForm::Seconds,
        RetryAfterForm::FloatSeconds,
        RetryAfterForm::HttpDate,
        RetryAfterForm::Milliseconds,
        RetryAfterForm::ResetDuration,
        RetryAfterForm::Text,
    ] {
        waits.spawn(async move {
            let patience = Duration::from_millis(100);
            let faults = Faults::none().on(0, Fault::throttled(form, patience));
            let handle = SpeechApiSimulator::new().with_faults(faults).start().await.unwrap();
            let answer = client(&handle, Http2Use::PriorKnowledge).transcribe(request(&speech(5, 1))).await;
            assert!(answer.is_ok(), "{form:?}: {answer:?}");
            let log = handle.shutdown().await.log;
            let waited = log[1].started.saturating_sub(log[0].ended.unwrap());
            // Dates and whole seconds are rounded up, never down.
            assert!(waited >= patience.mul_f64(0.9), "{form:?}: {waited:?}");
        });
    }
    waits.join_all().await;
}

#[tokio::test]
async fn limits_of_size_and_duration_are_named_to_the_caller() {
    for http2 in PROTOCOLS {
        let api = SpeechApiSimulator::new().with_body_limit(200_000);
        let handle = api.start().await.unwrap();
        let error = client(&handle, http2).transcribe(request(&speech(60, 1))).await.unwrap_err();
        let ExternalError::TooLarge { limit_bytes: Some(200_000), .. } = error else { panic!("{error:?}") };
        let api = SpeechApiSimulator::new().with_duration_limit(Duration::from_secs(30));
        let handle = api.start().await.unwrap();
        let error = client(&handle, http2).transcribe(request(&speech(60, 1))).await.unwrap_err();
        let ExternalError::TooLong { limit, .. } = error else { panic!("{error:?}") };
        assert_eq!(limit, Some(Duration::from_secs(30)));
    }
}

#[tokio::test]
async fn a_wrong_key_stops_everything_and_is_not_repeated_in_the_error() {
    let handle = SpeechApiSimulator::new().with_api_key("sk-other").start().await.unwrap();
    let error =
        client(&handle, Http2Use::PriorKnowledge).transcribe(request(&speech(5, 1))).await.unwrap_err();
    assert!(matches!(error, ExternalError::Stopped { cause: StopCause::Credential, .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("sk-right"));
    assert_eq!(handle.report().count(Outcome::HardStop), 1);
}

#[tokio::test]
async fn goaways_lose_nothing_and_bill_nothing_twice() {
    let api = SpeechApiSimulator::new()
        .with_faults(Faults::none().with_goaway_after(5))
        .with_latency(Latency::new(Duration::from_millis(2), Duration::ZERO));
    let handle = api.start().await.unwrap();
    let client = Arc::new(client(&handle, Http2Use::PriorKnowledge));
    for round in 0..8 {
        let mut requests = JoinSet::new();
        for seed in 0..8 {
            let client = Arc::clone(&client);
            requests.spawn(async move {
                let speech = speech(5, 8 * round + seed);
                client.transcribe(request(&speech)).await.map(|answer| score(&speech, &answer).errors())
            });
        }
        let answers = requests.join_all().await;
        let lost = answers.iter().filter(|answer| !matches!(answer, Ok(0))).collect::<Vec<_>>();
        assert!(lost.is_empty(), "{lost:?}");
    }
    let report = handle.shutdown().await;
    assert_eq!((report.granted, report.requests), (64, 64));
    assert_eq!(report.audio_billed_twice, Duration::ZERO);
    assert!(report.goaways >= 7 && report.connections >= 7, "{} {}", report.goaways, report.connections);
}

#[tokio::test]
async fn a_known_limit_of_concurrency_is_never_refused() {
    for http2 in PROTOCOLS {
        let api = SpeechApiSimulator::new()
            .with_quota(Quota::concurrency(3))
            .with_latency(Latency::new(Duration::from_millis(3), Duration::ZERO));
        let handle = api.start().await.unwrap();
        let quota = RateLimitConfig::default().with_max_in_flight(3);
        let client = Arc::new(client_with(&handle, http2, quota));
        let mut requests = JoinSet::new();
        for seed in 0..20 {
            let client = Arc::clone(&client);
            requests.spawn(async move { client.transcribe(request(&speech(5, seed))).await.is_ok() });
        }
        assert!(requests.join_all().await.into_iter().all(|granted| granted));
        let report = handle.shutdown().await;
        assert_eq!((report.granted, report.rejected), (20, 0), "{http2:?}");
        assert!(report.peak_in_flight <= 3, "{}", report.peak_in_flight);
    }
}
