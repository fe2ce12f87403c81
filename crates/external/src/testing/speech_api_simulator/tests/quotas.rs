//! Each kind of quota, over its whole period.

use super::*;

/// Sends a request each `step` for `time`, and returns how many were granted.
fn granted(api: &mut SpeechApiSimulator, step: Duration, time: Duration) -> u64 {
    let mut now = Duration::ZERO;
    while now < time {
        api.answer(now, &head(), &upload(1));
        now += step;
    }
    api.report(time).granted
}

#[test]
fn an_hour_of_a_bucket_is_granted_to_the_request() {
    let mut api = SpeechApiSimulator::new().with_quota(Quota::requests_per_minute(500));
    assert_eq!(granted(&mut api, ms(97), Duration::from_secs(3_600)), 500 + 500 * 60 - 1);
}

#[test]
fn a_limit_per_second_may_hide_behind_the_headers_of_a_minute() {
    let second = Quota::token_bucket(Measure::Requests, 5, Duration::from_secs(1)).hidden();
    let mut api = SpeechApiSimulator::new().with_quota(Quota::requests_per_minute(300)).with_quota(second);
    for _ in 0..5 {
        api.answer(Duration::ZERO, &head(), &upload(1));
    }
    let (_, response) = answer(api.answer(Duration::ZERO, &head(), &upload(1)));
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(&response, "x-ratelimit-remaining-requests"), Some("295"));
    assert_eq!(header(&response, "retry-after-ms"), Some("200"));
}

#[test]
fn headers_tell_what_openai_tells() {
    let mut api = SpeechApiSimulator::new().with_quota(Quota::requests_per_minute(500));
    let (_, response) = answer(api.answer(Duration::ZERO, &head(), &upload(1)));
    assert_eq!(header(&response, "x-ratelimit-limit-requests"), Some("500"));
    assert_eq!(header(&response, "x-ratelimit-remaining-requests"), Some("499"));
    assert_eq!(header(&response, "x-ratelimit-reset-requests"), Some("120ms"));
    assert!(header(&response, "x-request-id").unwrap().starts_with("req_"));
}

#[test]
fn headers_may_be_those_of_the_end() {
    let api = || {
        SpeechApiSimulator::new()
            .with_quota(Quota::requests_per_minute(60))
            .with_latency(Latency::new(ms(500), Duration::ZERO))
    };
    let reset = |mut api: SpeechApiSimulator| {
        let (_, response) = answer(api.answer(Duration::ZERO, &head(), &upload(1)));
        header(&response, "x-ratelimit-reset-requests").map(str::to_owned)
    };
    assert_eq!(reset(api()).as_deref(), Some("1s"));
    assert_eq!(reset(api().with_quota_headers(QuotaHeaders::OpenAiAtEnd)).as_deref(), Some("500ms"));
    assert_eq!(reset(api().with_quota_headers(QuotaHeaders::None)), None);
}

#[test]
fn a_window_and_a_sliding_log_are_kept() {
    let window = Quota::fixed_window(Measure::Requests, 50, Duration::from_secs(10));
    let mut api = SpeechApiSimulator::new().with_quota(window);
    assert_eq!(granted(&mut api, ms(20), Duration::from_secs(60)), 300);
    let log = Quota::sliding_log(Measure::Requests, 50, Duration::from_secs(10));
    let mut api = SpeechApiSimulator::new().with_quota(log);
    assert_eq!(granted(&mut api, ms(20), Duration::from_secs(60)), 300);
}

#[test]
fn concurrency_counts_requests_from_their_head_to_their_answer() {
    let mut api = SpeechApiSimulator::new()
        .with_quota(Quota::concurrency(2))
        .with_latency(Latency::new(ms(1_000), Duration::ZERO));
    let mut status = |at| {
        let (_, response) = answer(api.answer(ms(at), &head(), &upload(1)));
        (response.status().as_u16(), json(&response)["error"]["code"].as_str().map(str::to_owned))
    };
    assert_eq!(status(0).0, 200);
    assert_eq!(status(100).0, 200);
    assert_eq!(status(200), (429, Some("too_many_concurrent_requests".into())));
    assert_eq!(status(1_000).0, 200);
    assert_eq!(status(1_050).0, 429);
    let report = api.report(ms(1_050));
    assert_eq!((report.peak_in_flight, report.in_flight), (3, 2));
}

#[test]
fn an_upload_in_progress_counts_towards_concurrency_until_it_is_given_up() {
    let mut api = SpeechApiSimulator::new().with_quota(Quota::concurrency(1));
    let Begun::Read { id, .. } = api.begin(Duration::ZERO, &head()) else { panic!("it reads the body") };
    assert_eq!(answer(api.answer(ms(1), &head(), &upload(1))).1.status(), 429);
    api.end(ms(2), id, 1_000);
    assert_eq!(answer(api.answer(ms(3), &head(), &upload(1))).1.status(), 200);
    let report = api.report(ms(3));
    assert_eq!((report.count(Outcome::Cancelled), report.log[0].bytes), (1, 1_000));
}

#[test]
fn audio_seconds_are_a_quota() {
    let hour = Quota::token_bucket(Measure::AudioSeconds, 7_200, Duration::from_secs(3_600));
    let mut api = SpeechApiSimulator::new().with_quota(hour);
    for _ in 0..12 {
        assert_eq!(answer(api.answer(Duration::ZERO, &head(), &upload(600))).1.status(), 200);
    }
    let (_, refused) = answer(api.answer(Duration::ZERO, &head(), &upload(600)));
    assert_eq!(header(&refused, "retry-after"), Some("300"));
    assert_eq!(answer(api.answer(Duration::from_secs(300), &head(), &upload(600))).1.status(), 200);
}

#[test]
fn others_may_use_the_quota_and_the_limit_may_change() {
    let mut api = SpeechApiSimulator::new().with_quota(Quota::requests_per_minute(60));
    api.use_elsewhere(Duration::ZERO, 40);
    let remaining = |api: &mut SpeechApiSimulator| {
        let (_, response) = answer(api.answer(Duration::ZERO, &head(), &upload(1)));
        header(&response, "x-ratelimit-remaining-requests").map(str::to_owned)
    };
    assert_eq!(remaining(&mut api).as_deref(), Some("19"));
    api.set_quotas(Duration::ZERO, vec![Quota::requests_per_minute(100)]);
    assert_eq!(remaining(&mut api).as_deref(), Some("58"));
}

#[test]
fn a_failed_request_uses_the_quota_and_a_refused_one_does_not() {
    let mut api = SpeechApiSimulator::new()
        .with_quota(Quota::requests_per_minute(60).with_burst(2))
        .with_faults(Faults::none().on(0, Fault::Status(StatusCode::INTERNAL_SERVER_ERROR)));
    let mut status = |at| answer(api.answer(ms(at), &head(), &upload(1))).1.status().as_u16();
    assert_eq!([status(0), status(0), status(0), status(0), status(1_000)], [500, 200, 429, 429, 200]);
}
