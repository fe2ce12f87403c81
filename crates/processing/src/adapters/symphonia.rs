//! Decoding by the crate `symphonia`.

use std::fmt::{self, Debug};
use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use symphonia::core::audio::Channels;
use symphonia::core::codecs::audio::{AudioDecoder as CodecDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;

use crate::{AudioDecoder, AudioFormat, AudioSource, ProcessingError, SampleReader};

/// Decoding by the crate `symphonia`. It trims nothing: delays are accounted for by whoever cuts.
#[derive(Clone, Copy, Debug, Default)]
pub struct SymphoniaAudioDecoder;

impl AudioDecoder for SymphoniaAudioDecoder {
    fn open(
        &self,
        file: Arc<dyn AudioSource>,
        format: AudioFormat,
    ) -> Result<Box<dyn SampleReader>, ProcessingError> {
        let name = file.name();
        let reader = guarded(&name, || Reader::open(file, format))?;
        Ok(Box::new(reader))
    }
}

/// Runs `decode`; a panic in it, which damaged files have been seen to cause in symphonia 0.6.1, becomes an error.
fn guarded<T>(name: &str, decode: impl FnOnce() -> Result<T, ProcessingError>) -> Result<T, ProcessingError> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| {
        Err(ProcessingError::Decode { what: name.to_owned(), reason: "the decoder broke down on it".into() })
    })
}

struct Reader {
    name: String,
    packets: Box<dyn FormatReader>,
    decoder: Box<dyn CodecDecoder>,
    track: u32,
    rate: u32,
    channels: usize,
    /// What was decoded while opening.
    first: Vec<f32>,
    block: Vec<f32>,
}

impl Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("name", &self.name).field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl SampleReader for Reader {
    fn rate(&self) -> u32 {
        self.rate
    }

    fn channels(&self) -> usize {
        self.channels
    }

    fn read(&mut self, out: &mut Vec<f32>) -> Result<bool, ProcessingError> {
        if !self.first.is_empty() {
            out.append(&mut self.first);
            return Ok(true);
        }
        let name = self.name.clone();
        guarded(&name, || self.decode_next(out))
    }
}

impl Reader {
    fn open(file: Arc<dyn AudioSource>, format: AudioFormat) -> Result<Self, ProcessingError> {
        let name = file.name();
        let failed = |error| decode_error(&name, error);
        let source = Box::new(Positioned { source: file, at: 0 });
        let stream = MediaSourceStream::new(source, MediaSourceStreamOptions::default());
        let mut hint = Hint::new();
        hint.with_extension(format.extension());
        let packets = symphonia::default::get_probe()
            .probe(&hint, stream, FormatOptions::default(), MetadataOptions::default())
            .map_err(failed)?;
        let track = packets.default_track(TrackType::Audio);
        let params = track.and_then(|track| Some((track.id, track.codec_params.as_ref()?.audio()?.clone())));
        let Some((track, params)) = params else {
            return Err(ProcessingError::Decode { what: name, reason: "it has no audio track".into() });
        };
        let options = AudioDecoderOptions::default().gapless(false);
        let decoder =
            symphonia::default::get_codecs().make_audio_decoder(&params, &options).map_err(failed)?;
        let mut opened = Self {
            packets,
            decoder,
            track,
            rate: params.sample_rate.unwrap_or(0),
            channels: params.channels.as_ref().map_or(0, Channels::count),
            first: Vec::new(),
            block: Vec::new(),
            name,
        };
        // Some containers tell rate and channels only with the first packet.
        let mut first = Vec::new();
        while first.is_empty() && opened.decode_next(&mut first)? {}
        opened.first = first;
        if opened.rate == 0 || opened.channels == 0 {
            let reason = "nothing in it could be decoded".into();
            return Err(ProcessingError::Decode { what: opened.name, reason });
        }
        Ok(opened)
    }

    fn decode_next(&mut self, out: &mut Vec<f32>) -> Result<bool, ProcessingError> {
        let packet = loop {
            match self.packets.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.track => break packet,
                Ok(Some(_)) => {}
                Ok(None) => return Ok(false),
                Err(Error::IoError(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(false);
                }
                Err(error) => return Err(decode_error(&self.name, error)),
            }
        };
        match self.decoder.decode(&packet) {
            Ok(audio) => {
                self.rate = audio.spec().rate();
                self.channels = audio.spec().channels().count();
                audio.copy_to_vec_interleaved(&mut self.block);
                out.extend_from_slice(&self.block);
                Ok(true)
            }
            // Silence in its place, so that what follows keeps its time.
            Err(Error::DecodeError(_)) => {
                let frames = packet.dur.get() + packet.trim_start.get() + packet.trim_end.get();
                out.resize(out.len() + frames as usize * self.channels, 0.0);
                Ok(true)
            }
            Err(error) => Err(decode_error(&self.name, error)),
        }
    }
}

fn decode_error(name: &str, error: Error) -> ProcessingError {
    match error {
        Error::IoError(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            ProcessingError::read(name, error)
        }
        error => ProcessingError::Decode { what: name.to_owned(), reason: error.to_string() },
    }
}

/// A source with a position, as symphonia reads it.
struct Positioned {
    source: Arc<dyn AudioSource>,
    at: u64,
}

impl Read for Positioned {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read_at(self.at, buf)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Positioned {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.source.len().checked_add_signed(by),
        };
        self.at =
            at.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a seek to before the start"))?;
        Ok(self.at)
    }
}

impl MediaSource for Positioned {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.source.len())
    }
}
