//! external's `ReplayBody` over processing's `AudioChunk`: a chunk's bytes, made anew for each time they are sent.

use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use wavequill_external::{AudioFormat, BodyReader, ReplayBody, SpeechAudio};
use wavequill_processing::{self as processing, AudioChunk, ChunkBody};

/// The audio of a chunk, as a speech API takes it.
pub(crate) fn speech_audio(chunk: &AudioChunk) -> SpeechAudio {
    let format = match chunk.format() {
        processing::AudioFormat::Wav => AudioFormat::Wav,
        processing::AudioFormat::Flac => AudioFormat::Flac,
        processing::AudioFormat::Mp3 => AudioFormat::Mp3,
    };
    let heard = chunk.rate().duration_of(chunk.pre_roll()) + chunk.duration();
    SpeechAudio::new(std::sync::Arc::new(Body(chunk.clone())), format, heard)
}

#[derive(Debug)]
struct Body(AudioChunk);

impl ReplayBody for Body {
    fn len(&self) -> u64 {
        self.0.content_length()
    }

    fn open(&self) -> Box<dyn BodyReader> {
        Box::new(Reader(self.0.body()))
    }
}

#[derive(Debug)]
struct Reader(ChunkBody);

#[async_trait]
impl BodyReader for Reader {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        self.0.next().await
    }
}
