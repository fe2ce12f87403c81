//! What the API refuses by itself: keys, sizes, durations, forms.

use super::*;

type Change = fn(&mut TranscriptionForm);

#[test]
fn a_wrong_key_and_a_missing_one_are_told_apart() {
    let mut api = SpeechApiSimulator::new().with_api_key("sk-right");
    let mut send = |authorization: Option<&str>| {
        let mut head = head();
        if let Some(value) = authorization {
            head.headers_mut().insert("authorization", value.parse().unwrap());
        }
        let (_, response) = answer(api.answer(Duration::ZERO, &head, &upload(1)));
        (response.status().as_u16(), json(&response)["error"]["code"].clone())
    };
    assert_eq!(send(Some("Bearer sk-right")).0, 200);
    assert_eq!(send(Some("Bearer sk-wrong")), (401, "invalid_api_key".into()));
    assert_eq!(send(None), (401, Value::Null));
    assert_eq!(api.report(Duration::ZERO).count(Outcome::HardStop), 2);
}

#[test]
fn a_byte_over_the_limit_is_413_as_openai_says_it() {
    let mut large = upload(30);
    large.bytes = SpeechApiSimulator::BODY_LIMIT;
    assert_eq!(answer(SpeechApiSimulator::new().answer(ms(0), &head(), &large)).1.status(), 200);
    large.bytes += 1;
    let mut api = SpeechApiSimulator::new();
    let (_, response) = answer(api.answer(ms(0), &head(), &large));
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let body = json(&response);
    assert_eq!(body["error"]["type"], "server_error");
    let message = "413: Maximum content size limit (26214400) exceeded (26214401 bytes read)";
    assert_eq!(body["error"]["message"], message);
    let report = api.report(ms(0));
    assert_eq!((report.bytes_wasted, report.count(Outcome::TooLarge)), (26_214_401, 1));
}

#[test]
fn a_declared_length_over_the_limit_may_be_refused_at_once() {
    let mut api = SpeechApiSimulator::new().with_refusals(Refusals::BeforeUpload);
    let mut head = head();
    head.headers_mut().insert("content-length", "26214401".parse().unwrap());
    let Begun::Answer(actions) = api.begin(ms(0), &head) else { panic!("it does not read the body") };
    assert_eq!(answer(actions).1.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[test]
fn audio_over_the_limit_of_duration_is_refused_with_both_durations() {
    let long = Upload::verbose("whisper-1", HeardAudio::silent(Duration::from_millis(1_500_012)));
    let (status, code, message) = refusal(SpeechApiSimulator::new(), &long);
    assert_eq!((status.as_u16(), code), (400, "invalid_value".into()));
    let expected =
        "audio duration 1500.012 seconds is longer than 1400 seconds which is the maximum for this model";
    assert_eq!(message, expected);
    let mut api = SpeechApiSimulator::new().with_duration_limit(None);
    assert_eq!(answer(api.answer(ms(0), &head(), &long)).1.status(), 200);
}

#[test]
fn forms_that_openai_refuses_are_refused() {
    let wrong = |change: Change| {
        let (status, _, message) = refusal(SpeechApiSimulator::new(), &form(change));
        (status.as_u16(), message)
    };
    let cases: [(Change, u16, &str); 8] = [
        (|form| form.file_name = None, 400, "you must provide a file"),
        (|form| form.model = None, 400, "you must provide a model"),
        (|form| form.model = Some("whisper-9".into()), 404, "`whisper-9` does not exist"),
        (|form| form.file_name = Some("audio".into()), 400, "Unrecognized file format"),
        (|form| form.model = Some("gpt-4o-transcribe".into()), 400, "Use 'json' or 'text' instead"),
        (|form| form.temperature = Some("1.5".into()), 400, "between 0 and 1"),
        (|form| form.response_format = "text".into(), 400, "requires response_format"),
        (|form| form.granularities = vec!["line".into()], 400, "'word' and 'segment'"),
    ];
    for (change, status, text) in cases {
        let (given, message) = wrong(change);
        assert!(given == status && message.contains(text), "{given} {message}");
    }
}

#[test]
fn audio_that_cannot_be_decoded_or_is_too_short_is_refused() {
    let mut bad = upload(30);
    bad.audio = Err("no sync word".into());
    let (status, _, message) = refusal(SpeechApiSimulator::new(), &bad);
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(message, "The audio file could not be decoded or its format is not supported.");
    let short = Upload::verbose("whisper-1", HeardAudio::silent(ms(99)));
    assert_eq!(refusal(SpeechApiSimulator::new(), &short).1, "audio_too_short");
}

#[test]
fn other_addresses_are_404_and_models_are_listed() {
    let mut api = SpeechApiSimulator::new().with_model(SimulatedModel::with_times("tiny.en"));
    let get = |path: &str| Request::get(path).body(()).unwrap();
    let (_, missing) = answer(api.answer(ms(0), &get("/v1/audio"), &upload(1)));
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    let (_, models) = answer(api.answer(ms(0), &get("/v1/models"), &upload(1)));
    let names: Vec<_> = json(&models)["data"].as_array().unwrap().iter().map(|m| m["id"].clone()).collect();
    assert_eq!(names, ["whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "tiny.en"]);
    assert_eq!(api.report(ms(0)).requests, 0);
}
