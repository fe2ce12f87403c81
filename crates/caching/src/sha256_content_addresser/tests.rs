use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::Temperature;

fn hex(key: &CacheKey) -> String {
    key.to_string().rsplit(':').next().unwrap_or_default().to_owned()
}

fn addresser() -> Sha256ContentAddresser {
    Sha256ContentAddresser::new()
}

fn request() -> RequestSpec {
    RequestSpec::new("openai", "whisper-1")
        .with_language("en")
        .with_temperature(Temperature::ZERO)
        .with_response_format("verbose_json")
}

fn transcript(request: &RequestSpec) -> CacheKey {
    let content = addresser().hash_content(b"abc");
    addresser().generate_transcript_key(&TranscriptKeySpec {
        content,
        request,
        plan_fingerprint: None,
        post_processing: None,
    })
}

#[test]
fn each_domain_has_its_golden_vector() {
    let request = request();
    let content = addresser().hash_content(b"abc");
    assert_eq!(
        hex(&transcript(&request)),
        "985901d958032a3f9ef53136239e67c39f6bacc463c39093ad8ca9a78ce533ce"
    );
    let chunk = addresser().generate_chunk_key(&ChunkKeySpec { content, request: &request });
    assert_eq!(hex(&chunk), "fd11cbc722c6ec5db1508571cb097f34b340e8c8f2fd3b56c64c66edfdd641ce");
    let embeddings = addresser().generate_embeddings_key(&EmbeddingsKeySpec {
        text: "abc",
        provider: "openai",
        model: "text-embedding-3-small",
        model_revision: None,
        dimension: Some(512),
    });
    assert_eq!(hex(&embeddings), "cc82e17ec51995f1775feaacea1ef7aae4fccfca931e5c64933b26a3190a8561");
    let metadata = Metadata::new().with("voice", "alto").with("speed", 2).with("loud", true);
    let generic = addresser().generate_key(b"abc", Namespace::new("speech").unwrap(), &metadata);
    assert_eq!(hex(&generic), "240abf0fa94e6c659854aa3d23e9e1fbb9183907679f45b80fe943b2147c13e4");
}

#[test]
fn each_field_of_a_request_changes_the_key() {
    let base = request();
    let variants = [
        base.clone(),
        RequestSpec { provider: "groq".into(), ..base.clone() },
        RequestSpec { model: "whisper-2".into(), ..base.clone() },
        base.clone().with_model_revision(""),
        base.clone().with_model_revision("2026-01"),
        base.clone().with_task(Task::Translate),
        base.clone().with_language("de"),
        base.clone().with_language(""),
        RequestSpec { language: None, ..base.clone() },
        base.clone().with_prompt(""),
        base.clone().with_prompt("Names: Ayn."),
        base.clone().with_temperature(Temperature::new(0.2).unwrap()),
        RequestSpec { temperature: None, ..base.clone() },
        base.clone().with_response_format("json"),
        RequestSpec { response_format: None, ..base.clone() },
        base.clone().with_granularities(["word"]),
        base.clone().with_granularities(["word", "segment"]),
        base.clone().with_options(Metadata::new().with("vad", true)),
        base.clone().with_options(Metadata::new().with("vad", false)),
        base.clone().with_options(Metadata::new().with("vad", 1)),
        base.with_options(Metadata::new().with("vad", "1")),
    ];
    let keys: HashSet<_> = variants.iter().map(transcript).collect();
    assert_eq!(keys.len(), variants.len());
    let content = addresser().hash_content(b"abc");
    let chunks: HashSet<_> = variants
        .iter()
        .map(|request| addresser().generate_chunk_key(&ChunkKeySpec { content, request }))
        .collect();
    assert_eq!(chunks.len(), variants.len());
}

#[test]
fn content_plan_and_post_processing_change_a_transcript_key() {
    let request = request();
    let content = addresser().hash_content(b"abc");
    let base =
        TranscriptKeySpec { content, request: &request, plan_fingerprint: None, post_processing: None };
    let variants = [
        base,
        TranscriptKeySpec { content: addresser().hash_content(b"abd"), ..base },
        TranscriptKeySpec { plan_fingerprint: Some([0; 32]), ..base },
        TranscriptKeySpec { plan_fingerprint: Some([1; 32]), ..base },
        TranscriptKeySpec { post_processing: Some(0), ..base },
        TranscriptKeySpec { post_processing: Some(1), ..base },
    ];
    let keys: HashSet<_> = variants.iter().map(|spec| addresser().generate_transcript_key(spec)).collect();
    assert_eq!(keys.len(), variants.len());
}

#[test]
fn each_field_of_an_embedding_changes_the_key() {
    let base =
        EmbeddingsKeySpec { text: "abc", provider: "p", model: "m", model_revision: None, dimension: None };
    let variants = [
        base,
        EmbeddingsKeySpec { text: "abcd", ..base },
        EmbeddingsKeySpec { provider: "q", ..base },
        EmbeddingsKeySpec { model: "n", ..base },
        EmbeddingsKeySpec { model_revision: Some(""), ..base },
        EmbeddingsKeySpec { dimension: Some(0), ..base },
        EmbeddingsKeySpec { dimension: Some(256), ..base },
    ];
    let keys: HashSet<_> = variants.iter().map(|spec| addresser().generate_embeddings_key(spec)).collect();
    assert_eq!(keys.len(), variants.len());
}

#[test]
fn language_case_and_the_order_of_granularities_and_options_do_not_matter() {
    let base = request();
    assert_eq!(transcript(&base), transcript(&base.clone().with_language("EN")));
    assert_eq!(
        transcript(&base.clone().with_granularities(["word", "segment"])),
        transcript(&base.clone().with_granularities(["segment", "word", "word"])),
    );
    assert_eq!(
        transcript(&base.clone().with_options(Metadata::new().with("a", 1).with("b", 2))),
        transcript(&base.with_options(Metadata::new().with("b", 2).with("a", 1))),
    );
}

#[test]
fn metadata_appended_to_content_is_not_the_content_with_that_metadata() {
    let metadata = Metadata::new().with("language", "en");
    let namespace = Namespace::new("first-sketch").unwrap();
    let with = addresser().generate_key(b"hello", namespace, &metadata);
    let joined = addresser().generate_key(br#"hello{"language":"en"}"#, namespace, &Metadata::new());
    assert_ne!(with, joined);
}

#[test]
fn a_colon_in_a_field_does_not_move_it_into_the_next() {
    let one = RequestSpec { language: Some("en:gpt".into()), model: "4o".into(), ..request() };
    let other = RequestSpec { language: Some("en".into()), model: "gpt:4o".into(), ..request() };
    assert_ne!(transcript(&one), transcript(&other));
}

#[test]
fn a_key_is_valid_for_its_content_and_for_no_other() {
    let spec =
        EmbeddingsKeySpec { text: "", provider: "p", model: "m", model_revision: None, dimension: None };
    let key = addresser().generate_embeddings_key(&spec);
    assert!(addresser().validate_key(&key, b""));
    assert!(!addresser().validate_key(&key, b"\0"));
    assert!(addresser().validate_key(&transcript(&request()), b"abc"));
    assert!(!addresser().validate_key(&transcript(&request()), b"abcd"));
}

#[test]
fn tenants_share_no_key_and_their_secret_is_not_shown() {
    let request = request();
    let content = addresser().hash_content(b"abc");
    let spec = ChunkKeySpec { content, request: &request };
    let one = Sha256ContentAddresser::with_tenant_key(b"one secret");
    let keys: HashSet<_> = [
        addresser().generate_chunk_key(&spec),
        one.generate_chunk_key(&spec),
        Sha256ContentAddresser::with_tenant_key(b"other secret").generate_chunk_key(&spec),
    ]
    .into();
    assert_eq!(keys.len(), 3);
    assert_eq!(format!("{one:?}"), r#"Sha256ContentAddresser { tenant_key: Some("***") }"#);
}

fn any_request() -> impl Strategy<Value = RequestSpec> {
    // Few characters, so that equal and nearly equal requests are drawn often.
    let text = || "[ab:]{0,2}";
    let option = || proptest::option::of("[ab:]{0,2}");
    let options = proptest::collection::btree_map("[ab]{0,1}", "[ab]{0,1}", 0..3);
    let names = proptest::collection::vec("[ab]{0,2}", 0..3);
    (text(), text(), option(), option(), option(), option(), names, options).prop_map(
        |(provider, model, model_revision, language, prompt, response_format, granularities, options)| {
            let options =
                options.into_iter().fold(Metadata::new(), |all, (name, value)| all.with(name, value));
            RequestSpec {
                model_revision,
                language,
                prompt,
                response_format,
                granularities,
                options,
                ..RequestSpec::new(provider, model)
            }
        },
    )
}

fn canonical(mut request: RequestSpec) -> RequestSpec {
    request.granularities.sort();
    request.granularities.dedup();
    request
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn two_requests_have_one_key_only_if_they_are_equal(one in any_request(), other in any_request()) {
        let same = canonical(one.clone()) == canonical(other.clone());
        prop_assert_eq!(transcript(&one) == transcript(&other), same);
    }

    #[test]
    fn content_in_parts_hashes_like_content_whole(content: Vec<u8>, cut in 0_usize..64) {
        let (head, tail) = content.split_at(cut.min(content.len()));
        let mut hasher = addresser().hasher();
        hasher.update(head);
        hasher.update(tail);
        prop_assert_eq!(hasher.finish(), addresser().hash_content(&content));
    }

    #[test]
    fn bytes_and_text_of_equal_content_have_different_keys(text: String) {
        let namespace = Namespace::new("own").unwrap();
        let metadata = Metadata::new();
        prop_assert_ne!(
            addresser().generate_key(text.as_bytes(), namespace, &metadata),
            addresser().generate_text_key(&text, namespace, &metadata)
        );
    }
}
