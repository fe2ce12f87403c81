//! Each fault, and what it costs.

use super::*;

fn failing(fault: Fault) -> SpeechApiSimulator {
    SpeechApiSimulator::new().with_faults(Faults::none().on(0, fault))
}

fn spoken() -> Upload {
    let truth = ToneSpeech::new(Duration::from_secs(30)).truth().collect();
    let audio = HeardAudio { duration: Duration::from_secs(30), words: truth, fingerprint: Some(1) };
    Upload::verbose("whisper-1", audio)
}

#[test]
fn answers_that_are_errors_have_their_status_their_code_and_their_outcome() {
    let status = Fault::Status;
    let cases = [
        (Fault::InsufficientQuota, 429, "insufficient_quota", Outcome::HardStop),
        (Fault::SlowDown, 429, "slow_down", Outcome::Throttled),
        (Fault::TooManyConcurrent, 429, "too_many_concurrent_requests", Outcome::Throttled),
        (status(StatusCode::SERVICE_UNAVAILABLE), 503, "server_is_overloaded", Outcome::ServerError),
    ];
    for (fault, status, code, outcome) in cases {
        let mut api = failing(fault);
        let (_, response) = answer(api.answer(ms(0), &head(), &upload(1)));
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(json(&response)["error"]["code"], code);
        let report = api.report(ms(0));
        assert_eq!((report.count(outcome), report.rejected, report.audio_billed), (1, 1, Duration::ZERO));
    }
    let internal = failing(status(StatusCode::INTERNAL_SERVER_ERROR));
    assert_eq!(refusal(internal, &upload(1)).1, Value::Null);
}

#[test]
fn gateways_answer_in_plain_text_and_some_servers_in_successes() {
    let mut api = failing(Fault::PlainText(StatusCode::BAD_GATEWAY));
    let (_, response) = answer(api.answer(ms(0), &head(), &upload(1)));
    assert_eq!(header(&response, "content-type"), Some("text/plain"));
    assert_eq!(response.body().as_ref(), b"502 Bad Gateway\n");
    let mut api = failing(Fault::ErrorInSuccess);
    let (_, response) = answer(api.answer(ms(0), &head(), &upload(1)));
    assert_eq!((response.status().as_u16(), json(&response)["status_code"].clone()), (200, 400.into()));
    let mut api = failing(Fault::Redirect);
    let (_, response) = answer(api.answer(ms(0), &head(), &upload(1)));
    assert_eq!(header(&response, "location"), Some("http://elsewhere.invalid/v1"));
}

#[test]
fn a_connection_may_end_before_during_and_after_the_upload() {
    let mut api = failing(Fault::DropBeforeUpload);
    let begun = api.begin(ms(0), &head());
    assert!(matches!(begun, Begun::Answer(actions) if matches!(actions[..], [Action::Disconnect])));
    assert_eq!(api.report(ms(0)).audio_billed, Duration::ZERO);

    let mut api = failing(Fault::DropDuringUpload(1_000));
    let Begun::Read { id, at_most: 1_000 } = api.begin(ms(0), &head()) else {
        panic!("it reads 1,000 bytes")
    };
    let actions = api.finish(ms(0), id, &Upload::unreadable(1_000, "cut".into()));
    assert!(matches!(actions[..], [Action::Disconnect]));
    assert_eq!(api.report(ms(0)).bytes_wasted, 1_000);

    let mut api = failing(Fault::DropAfterUpload);
    assert!(matches!(api.answer(ms(0), &head(), &spoken())[..], [Action::Disconnect]));
    let report = api.report(ms(0));
    assert_eq!((report.count(Outcome::Dropped), report.audio_billed), (1, Duration::from_secs(30)));
}

#[test]
fn what_was_billed_for_a_lost_answer_is_billed_twice_when_it_is_sent_again() {
    let mut api = failing(Fault::DropAfterUpload);
    api.answer(ms(0), &head(), &spoken());
    answer(api.answer(ms(1), &head(), &spoken()));
    let report = api.report(ms(1));
    let words: Vec<_> = ToneSpeech::new(Duration::from_secs(30)).truth().collect();
    let between = words.last().unwrap().start.abs_diff(words[0].start);
    assert_eq!((report.audio_billed, report.audio_billed_twice), (Duration::from_secs(60), between));
    assert_eq!((report.granted, report.log[1].billed_twice), (1, between));
}

#[test]
fn answers_are_cut_stalled_padded_broken_or_empty() {
    let whole = answer(SpeechApiSimulator::new().answer(ms(0), &head(), &spoken())).1;
    let length = whole.body().len();
    let act = |fault| {
        let mut api = failing(fault);
        let mut actions = api.answer(ms(0), &head(), &spoken());
        assert_eq!(api.report(ms(0)).count(Outcome::Damaged), 1);
        actions.pop().unwrap()
    };
    let half = |action, ending| {
        let Action::RespondInPart { response, sent, then } = action else { panic!("half an answer") };
        assert_eq!(header(&response, "content-length"), Some(length.to_string().as_str()));
        assert_eq!((sent, then), (length / 2, ending));
    };
    half(act(Fault::TruncatedBody), Ending::Disconnect);
    half(act(Fault::StalledBody), Ending::Stall);
    let padded = act(Fault::OversizedBody(20_000_000));
    assert!(matches!(padded, Action::RespondPadded { blanks: 20_000_000, .. }));
    let (_, broken) = answer(vec![act(Fault::MalformedJson)]);
    assert!(serde_json::from_slice::<Value>(broken.body()).is_err() && !broken.body().is_empty());
    assert!(answer(vec![act(Fault::EmptyBody)]).1.body().is_empty());
}

#[test]
fn a_stalled_request_stays_in_flight_until_its_client_gives_up() {
    let mut api = failing(Fault::Stall);
    let Begun::Read { id, .. } = api.begin(ms(0), &head()) else { panic!("it reads the body") };
    assert!(matches!(api.finish(ms(10), id, &upload(1))[..], [Action::Stall]));
    assert_eq!(api.report(Duration::from_secs(9_999)).in_flight, 1);
    api.end(Duration::from_secs(10_000), id, 0);
    let report = api.report(Duration::from_secs(10_000));
    assert_eq!((report.in_flight, report.count(Outcome::Stalled)), (0, 1));
    assert_eq!(report.log[0].ended, Some(Duration::from_secs(10_000)));
}

#[test]
fn an_early_answer_does_not_wait_for_the_body() {
    let mut api = failing(Fault::Status(StatusCode::SERVICE_UNAVAILABLE).early());
    let Begun::Answer(actions) = api.begin(ms(0), &head()) else { panic!("it does not read the body") };
    assert_eq!(answer(actions).1.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(api.report(ms(0)).in_flight, 0);
}

#[test]
fn what_the_client_gives_up_before_its_answer_is_not_billed() {
    let mut api = SpeechApiSimulator::new().with_latency(Latency::new(ms(1_000), Duration::ZERO));
    let Begun::Read { id, .. } = api.begin(ms(0), &head()) else { panic!("it reads the body") };
    let (wait, _) = answer(api.finish(ms(0), id, &spoken()));
    assert_eq!(wait, ms(1_000));
    api.end(ms(999), id, 10);
    let report = api.report(ms(2_000));
    assert_eq!((report.count(Outcome::Cancelled), report.audio_billed), (1, Duration::ZERO));
    assert_eq!((report.log[0].status, report.audio_received), (None, Duration::from_secs(30)));
}

#[test]
fn new_faults_count_from_the_next_request() {
    let mut api = SpeechApiSimulator::new();
    let status =
        |api: &mut SpeechApiSimulator| answer(api.answer(ms(0), &head(), &upload(1))).1.status().as_u16();
    assert_eq!(status(&mut api), 200);
    api.set_faults(Faults::none().on(1, Fault::SlowDown));
    assert_eq!([status(&mut api), status(&mut api), status(&mut api)], [200, 429, 200]);
}
