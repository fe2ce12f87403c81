//! The rules, in time that is given: each quota, each refusal, each fault.

mod faults;
mod quotas;
mod refusals;
mod retry_after;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::Value;

use super::*;
use crate::testing::ToneSpeech;

fn head() -> Request<()> {
    Request::post("/v1/audio/transcriptions").body(()).unwrap()
}

fn upload(seconds: u64) -> Upload {
    Upload::verbose("whisper-1", HeardAudio::silent(Duration::from_secs(seconds)))
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The one answer, and the time before it.
fn answer(actions: Vec<Action>) -> (Duration, Response<Bytes>) {
    let mut waited = Duration::ZERO;
    for action in actions {
        match action {
            Action::Wait(time) => waited += time,
            Action::Respond(response) => return (waited, response),
            other => panic!("an answer was expected, not {other:?}"),
        }
    }
    panic!("no answer")
}

fn json(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

fn header<'a>(response: &'a Response<Bytes>, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

/// Sends one request and returns status, `code` and `message` of the error.
fn refusal(api: SpeechApiSimulator, upload: &Upload) -> (StatusCode, Value, String) {
    let mut api = api;
    let (_, response) = answer(api.answer(Duration::ZERO, &head(), upload));
    let error = &json(&response)["error"];
    (response.status(), error["code"].clone(), error["message"].as_str().unwrap().to_owned())
}

fn form(change: impl FnOnce(&mut TranscriptionForm)) -> Upload {
    let mut upload = upload(30);
    change(upload.form.as_mut().unwrap());
    upload
}

#[test]
fn the_same_seed_and_the_same_requests_give_the_same_answers() {
    let run = |seed| {
        let mut api = SpeechApiSimulator::new()
            .with_seed(seed)
            .with_quota(Quota::requests_per_minute(100))
            .with_latency(Latency::new(ms(100), ms(10)).with_stragglers(0.1, 4.0))
            .with_faults(Faults::none().with_chance(0.2, Fault::Status(StatusCode::INTERNAL_SERVER_ERROR)));
        let times =
            (0..2_000).map(|n| format!("{:?}", api.answer(ms(n * 300), &head(), &upload(n % 60 + 1))));
        times.collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
