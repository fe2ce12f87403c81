//! Decoding of Opus by the crate `ropus`.

use std::fmt::{self, Debug};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ropus::{Channels, DecodeMode, Decoder};

use crate::container::opus::{OPUS_RATE, OpusReader};
use crate::{AudioDecoder, AudioFormat, AudioSource, ProcessingError, SampleReader};

/// The longest packet: 120 ms.
const MAX_PACKET_SAMPLES: usize = 5_760;

/// Decoding of Ogg Opus in mono and stereo by the crate `ropus`. It trims what the file says.
#[derive(Clone, Copy, Debug, Default)]
pub struct RopusAudioDecoder;

impl AudioDecoder for RopusAudioDecoder {
    fn open(
        &self,
        file: Arc<dyn AudioSource>,
        format: AudioFormat,
    ) -> Result<Box<dyn SampleReader>, ProcessingError> {
        let name = file.name();
        let hint = "decode it with another decoder";
        if format != AudioFormat::Ogg {
            return Err(ProcessingError::unsupported(format!("{name} is {format}, no Ogg Opus"), hint));
        }
        let packets = OpusReader::open(file)?;
        let channels = match packets.channels() {
            Some(1) => Channels::Mono,
            Some(2) => Channels::Stereo,
            _ => return Err(ProcessingError::unsupported(format!("{name} has many channels"), hint)),
        };
        let mut decoder = guarded(&name, || Decoder::new(OPUS_RATE, channels).map_err(|e| e.to_string()))?;
        guarded(&name, || decoder.set_gain(i32::from(packets.gain())).map_err(|e| e.to_string()))?;
        let block = vec![0.0; MAX_PACKET_SAMPLES * channels.count()];
        Ok(Box::new(Reader { decoder, channels: channels.count(), packets, block, packet: Vec::new(), name }))
    }
}

/// Runs `decode`; a panic in it becomes an error.
fn guarded<T>(name: &str, decode: impl FnOnce() -> Result<T, String>) -> Result<T, ProcessingError> {
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err("the decoder broke down on it".into()))
        .map_err(|reason| ProcessingError::Decode { what: name.to_owned(), reason })
}

struct Reader {
    name: String,
    decoder: Decoder,
    channels: usize,
    packets: OpusReader,
    packet: Vec<u8>,
    block: Vec<f32>,
}

impl Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("name", &self.name).finish_non_exhaustive()
    }
}

impl SampleReader for Reader {
    fn rate(&self) -> u32 {
        OPUS_RATE
    }

    fn channels(&self) -> usize {
        self.channels
    }

    fn read(&mut self, out: &mut Vec<f32>) -> Result<bool, ProcessingError> {
        let Some(heard) = self.packets.next(&mut self.packet)? else { return Ok(false) };
        let Self { decoder, packet, block, .. } = self;
        let decode = || decoder.decode_float(packet, block, DecodeMode::Normal).map_err(|e| e.to_string());
        // Silence in place of a damaged packet, so that what follows keeps its time.
        if guarded(&self.name, decode).is_err() {
            self.block.fill(0.0);
        }
        let heard = heard.start * self.channels..heard.end * self.channels;
        out.extend_from_slice(self.block.get(heard).unwrap_or_default());
        Ok(true)
    }
}
