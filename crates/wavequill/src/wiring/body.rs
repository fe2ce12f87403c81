//! external's `ReplayBody` over processing's `AudioChunk`: a chunk's bytes, made anew for each time they are sent.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use wavequill_external::{AudioFormat, BodyReader, ReplayBody, SpeechAudio};
use wavequill_processing::{AudioChunk, ChunkBody};

/// The audio of a chunk, as a speech API takes it. `None` if the API's client knows no such format.
pub(crate) fn speech_audio(chunk: &AudioChunk) -> Option<SpeechAudio> {
    let format = AudioFormat::from_extension(chunk.format().extension())?;
    let heard = chunk.rate().duration_of(chunk.pre_roll()) + chunk.duration();
    Some(SpeechAudio::new(Arc::new(Body(chunk.clone())), format, heard))
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
