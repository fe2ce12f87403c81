//! Each form in which a refusal says when to come again.

use std::time::SystemTime;

use wavequill_kernel::testing::ManualClock;

use super::*;

/// The headers of a refusal that asks for 6.512 s, and its text.
fn told(form: RetryAfterForm) -> (Vec<(String, String)>, String) {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_514_400);
    let mut api = SpeechApiSimulator::new()
        .with_clock(Arc::new(ManualClock::starting_at(wall)))
        .with_faults(Faults::none().on(0, Fault::throttled(form, ms(6_512))));
    let (_, response) = answer(api.answer(Duration::ZERO, &head(), &upload(1)));
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    let told = response
        .headers()
        .iter()
        .filter(|(name, _)| name.as_str().contains("retry") || name.as_str().contains("ratelimit"));
    let told = told.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let message = json(&response)["error"]["message"].as_str().unwrap().to_owned();
    (told.collect(), message)
}

#[test]
fn each_form_says_when_in_its_own_way_and_in_no_other() {
    let one = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    assert_eq!(told(RetryAfterForm::Seconds).0, one("retry-after", "7"));
    assert_eq!(told(RetryAfterForm::FloatSeconds).0, one("retry-after", "6.512"));
    assert_eq!(told(RetryAfterForm::HttpDate).0, one("retry-after", "Tue, 24 Nov 2026 10:00:07 GMT"));
    assert_eq!(told(RetryAfterForm::Milliseconds).0, one("retry-after-ms", "6512"));
    assert_eq!(told(RetryAfterForm::ResetDuration).0, one("x-ratelimit-reset-requests", "6.512s"));
    assert_eq!(told(RetryAfterForm::OpenAi).0.len(), 2);
    for form in [RetryAfterForm::None, RetryAfterForm::Text] {
        assert_eq!(told(form).0, []);
    }
    assert!(told(RetryAfterForm::Text).1.ends_with("Please try again in 6.512s."));
    assert!(!told(RetryAfterForm::None).1.contains("again"));
}
