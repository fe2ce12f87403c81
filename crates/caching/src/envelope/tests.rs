use proptest::prelude::*;
use wavequill_kernel::ContentHash;

use super::*;
use crate::Namespace;

const MAX: u64 = 1 << 20;

fn key() -> CacheKey {
    CacheKey::new(Namespace::CHUNK, [7; 32], ContentHash::new([9; 32], 1_234))
}

fn parts(body: Vec<u8>) -> ValueParts {
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    ValueParts {
        body: body.into(),
        codec: Codec::Json,
        schema: 3,
        outcome: Outcome::Negative(NegativeCause::TooLarge),
        subjects: [
            Subject::of_key(&key()),
            Subject::of_namespace(Namespace::CHUNK),
            Subject::everything(),
            Subject::from_bytes([5; 16]),
        ]
        .into(),
        owner_count: 1,
        cost: MissCost {
            load_time: Duration::from_millis(41_250),
            audio: Duration::from_millis(600_001),
            micro_dollars: 60_000,
        },
        policy: PutPolicy::KeepFirst,
        created_at: at(1_767_225_600),
        expires_at: at(1_767_312_000),
        stale_until: at(1_767_398_400),
    }
}

fn sealed(body: Vec<u8>) -> Bytes {
    let as_of = LogPosition { log: LogId::from_bytes([4; 16]), seq: 77 };
    seal(&key(), &CacheValue::from_parts(parts(body)), Some(as_of), 64)
}

/// Puts the right checksum behind what a test changed.
fn resealed(mut sealed: Vec<u8>) -> Bytes {
    sealed.truncate(sealed.len() - CHECKSUM);
    let checksum = Sha256::digest(&sealed);
    sealed.extend_from_slice(&checksum[..CHECKSUM]);
    sealed.into()
}

#[test]
fn the_first_release_s_envelope_is_still_read_and_still_written() {
    let golden = include_bytes!("golden-1.bin");
    let opened = open(&key(), &Bytes::from_static(golden), MAX).unwrap();
    assert_eq!(opened.value.body().as_ref(), b"so it goes");
    assert_eq!(sealed(b"so it goes".to_vec()).as_ref(), golden);
}

#[test]
fn an_envelope_of_another_key_content_or_namespace_is_none_of_this_one() {
    let sealed = sealed(b"x".to_vec());
    for other in [
        CacheKey::new(Namespace::CHUNK, [8; 32], key().content()),
        CacheKey::new(Namespace::CHUNK, *key().digest(), ContentHash::new([9; 32], 1_235)),
        CacheKey::new(Namespace::TRANSCRIPT, *key().digest(), key().content()),
    ] {
        assert_eq!(open(&other, &sealed, MAX).unwrap_err(), Damage::OtherKey);
    }
}

#[test]
fn a_newer_format_is_foreign_even_with_a_right_checksum() {
    let mut newer = sealed(b"x".to_vec()).to_vec();
    newer[4] = 2;
    assert_eq!(open(&key(), &resealed(newer), MAX).unwrap_err(), Damage::Foreign);
}

#[test]
fn a_body_that_claims_to_be_larger_than_the_limit_is_refused_before_it_is_allocated() {
    let body = vec![0; 1_000];
    let mut bomb = sealed(body).to_vec();
    let at = HEAD + 4 * Subject::LEN;
    bomb[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(open(&key(), &resealed(bomb.clone()), MAX).unwrap_err(), Damage::Lengths);
    // Within the limit, but more than LZ4 can have compressed.
    bomb[at..at + 4].copy_from_slice(&1_000_000_u32.to_le_bytes());
    assert_eq!(open(&key(), &resealed(bomb), MAX).unwrap_err(), Damage::Lengths);
}

#[test]
fn every_flip_of_a_bit_is_noticed() {
    let sealed =
        sealed(b"a body that is long enough to be compressed, compressed, compressed, compressed".to_vec());
    for bit in 0..sealed.len() * 8 {
        let mut flipped = sealed.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&key(), &flipped.into(), MAX).is_err(), "bit {bit}");
    }
}

proptest! {
    #[test]
    fn what_is_sealed_opens_as_it_was(body: Vec<u8>, repeats in 1_usize..50) {
        let body = body.repeat(repeats);
        let opened = open(&key(), &sealed(body.clone()), MAX).unwrap();
        let (was, is) = (parts(body), opened.value.parts());
        prop_assert_eq!(&was.body, &is.body);
        prop_assert_eq!((was.codec, was.schema, was.outcome), (is.codec, is.schema, is.outcome));
        prop_assert_eq!((&was.subjects, was.owner_count), (&is.subjects, is.owner_count));
        prop_assert_eq!((was.cost, was.policy), (is.cost, is.policy));
        prop_assert_eq!(
            (was.created_at, was.expires_at, was.stale_until),
            (is.created_at, is.expires_at, is.stale_until)
        );
        prop_assert_eq!(opened.as_of, Some(LogPosition { log: LogId::from_bytes([4; 16]), seq: 77 }));
    }

    #[test]
    fn any_bytes_are_opened_or_refused_without_a_panic(bytes: Vec<u8>) {
        prop_assert!(open(&key(), &bytes.into(), MAX).is_err());
    }

    #[test]
    fn any_change_under_a_right_checksum_is_opened_or_refused_without_a_panic(
        changes in proptest::collection::vec((0_usize..400, any::<u8>()), 1..8),
        cut in 0_usize..400,
    ) {
        let mut bytes = sealed(vec![b'a'; 300]).to_vec();
        for (at, byte) in changes {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        bytes.truncate(bytes.len() - cut.min(bytes.len() - CHECKSUM));
        if let Ok(opened) = open(&key(), &resealed(bytes), MAX) {
            prop_assert!(opened.value.body().len() as u64 <= MAX);
        }
    }
}
