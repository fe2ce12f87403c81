//! Helpers for tests of this crate and of those who use it. Not for production.

pub mod conformance;
mod scripted_recognizer;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wavequill_kernel::ContentHash;

use crate::model::recipe::{Piece, Recipe};
use crate::{AudioChunk, AudioFormat, CutQuality, MemoryAudioSource, SampleIndex, SampleRate, SampleSpan};

pub use scripted_recognizer::{Call, Load, ScriptedRecognizer, Step, words_of};

/// Chunks of equal length, one behind the other from the start of a recording. Their bytes are no audio.
pub fn chunks_of(count: usize, length: Duration, rate: SampleRate) -> Vec<AudioChunk> {
    let samples = rate.samples_in(length);
    (0..count)
        .map(|index| {
            let start = SampleIndex::new(index as u64 * samples);
            chunk_of_bytes(index, SampleSpan::new(start, start.plus(samples)), rate, vec![0; 100])
        })
        .collect()
}

/// A chunk whose body is `body`, whatever that is. Its hash is made of its index and length alone.
pub fn chunk_of_bytes(
    index: usize,
    owned: SampleSpan,
    rate: SampleRate,
    body: impl Into<Bytes>,
) -> AudioChunk {
    let body = body.into();
    let mut digest = [0; 32];
    for (to, from) in digest.iter_mut().zip((index as u64).to_be_bytes()) {
        *to = from;
    }
    AudioChunk {
        index,
        owned,
        heard: owned,
        first_sample: owned.start().get() as i64,
        rate,
        format: AudioFormat::Wav,
        cut: CutQuality::Pause,
        hash: ContentHash::new(digest, body.len() as u64),
        recipe: Arc::new(Recipe {
            head_len: 0,
            content_length: body.len() as u64,
            pieces: vec![Piece::Bytes(body)],
        }),
        source: Arc::new(MemoryAudioSource::new("a test's chunk", Bytes::new())),
    }
}
