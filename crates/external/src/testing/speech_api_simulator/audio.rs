//! What the simulator hears: decoded audio, and what is in it.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::wav_decoder::WavDecoder;
use crate::AudioFormat;
use crate::testing::tone_vocabulary::time_of;
use crate::testing::{ToneRecognizer, ToneWord};

/// Decodes a whole file that was uploaded; the error says why it cannot be decoded.
pub type AudioDecoder = Arc<dyn Fn(Bytes) -> Result<DecodedAudio, String> + Send + Sync>;

/// Audio as samples, whole or block by block.
pub struct DecodedAudio {
    rate: u32,
    channels: u16,
    blocks: Box<dyn Iterator<Item = Result<Vec<i16>, String>> + Send>,
}

impl DecodedAudio {
    /// Audio that is decoded already. The samples of the channels alternate.
    pub fn new(rate: u32, channels: u16, samples: Vec<i16>) -> Self {
        Self::from_blocks(rate, channels, std::iter::once(Ok(samples)))
    }

    /// Audio that is decoded block by block, so that it is never whole in memory. Each block holds whole
    /// frames: one sample of each channel.
    pub fn from_blocks(
        rate: u32,
        channels: u16,
        blocks: impl Iterator<Item = Result<Vec<i16>, String>> + Send + 'static,
    ) -> Self {
        Self { rate, channels, blocks: Box::new(blocks) }
    }

    fn hear(self) -> Result<HeardAudio, String> {
        let channels = usize::from(self.channels.max(1));
        let mut ear = Ear::new(self.rate);
        for block in self.blocks {
            let block = block?;
            if channels == 1 {
                ear.push(&block);
            } else {
                let mixed = block.chunks_exact(channels).map(|frame| {
                    let sum: i32 = frame.iter().map(|&sample| i32::from(sample)).sum();
                    (sum / channels as i32) as i16
                });
                ear.push(&mixed.collect::<Vec<_>>());
            }
        }
        Ok(ear.finish())
    }
}

impl fmt::Debug for DecodedAudio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecodedAudio")
            .field("rate", &self.rate)
            .field("channels", &self.channels)
            .finish_non_exhaustive()
    }
}

/// What is in a piece of audio.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeardAudio {
    /// How long it plays.
    pub duration: Duration,
    /// The tone-coded words in it.
    pub words: Vec<ToneWord>,
    /// The same for the same samples; `None` for digital silence, which is the same everywhere.
    pub fingerprint: Option<u64>,
}

impl HeardAudio {
    /// Audio of which nothing but the duration matters.
    pub fn silent(duration: Duration) -> Self {
        Self { duration, ..Self::default() }
    }
}

/// Hears the samples of one channel as they come.
#[derive(Debug)]
pub(crate) struct Ear {
    rate: u32,
    samples: u64,
    recognizer: Option<ToneRecognizer>,
    hasher: DefaultHasher,
    silent: bool,
}

impl Ear {
    fn new(rate: u32) -> Self {
        // At a rate that cannot carry the tones there are no words.
        let recognizer = ToneRecognizer::new(rate).ok();
        Self { rate, samples: 0, recognizer, hasher: DefaultHasher::new(), silent: true }
    }

    fn push(&mut self, samples: &[i16]) {
        self.samples += samples.len() as u64;
        self.silent &= samples.iter().all(|&sample| sample == 0);
        for &sample in samples {
            self.hasher.write_i16(sample);
        }
        if let Some(recognizer) = &mut self.recognizer {
            recognizer.push(samples);
        }
    }

    fn finish(self) -> HeardAudio {
        HeardAudio {
            duration: time_of(self.samples, self.rate),
            words: self.recognizer.map(ToneRecognizer::finish).unwrap_or_default(),
            fingerprint: (!self.silent).then(|| self.hasher.finish()),
        }
    }
}

/// A file while it is uploaded: WAV is decoded as it comes, anything else is kept for its decoder.
#[derive(Debug)]
pub(crate) enum UploadedFile {
    Unknown(BytesMut),
    Wav(Box<WavUpload>),
    Kept { format: AudioFormat, bytes: BytesMut },
    Undecodable(String),
}

/// Bytes from which a format can be told.
const SNIFF: usize = 12;

impl UploadedFile {
    pub(crate) fn new() -> Self {
        Self::Unknown(BytesMut::new())
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Unknown(head) => {
                head.extend_from_slice(bytes);
                if head.len() >= SNIFF {
                    self.sniff();
                }
            }
            Self::Wav(wav) => {
                if let Err(why) = wav.push(bytes) {
                    *self = Self::Undecodable(why);
                }
            }
            Self::Kept { bytes: kept, .. } => kept.extend_from_slice(bytes),
            Self::Undecodable(_) => {}
        }
    }

    fn sniff(&mut self) {
        let Self::Unknown(head) = self else { return };
        let head = std::mem::take(head);
        *self = match sniffed(&head) {
            Some(AudioFormat::Wav) => Self::Wav(Box::new(WavUpload::new())),
            Some(format) => Self::Kept { format, bytes: BytesMut::new() },
            None => Self::Undecodable("no known audio format".into()),
        };
        self.push(&head);
    }

    /// What is in the file. Slow: it decodes and listens.
    pub(crate) fn hear(self, decoders: &Decoders) -> Result<HeardAudio, String> {
        match self {
            Self::Unknown(head) if head.is_empty() => Err("the file is empty".into()),
            Self::Unknown(_) => Err("the file is too short to be audio".into()),
            Self::Undecodable(why) => Err(why),
            Self::Wav(wav) => {
                wav.decoder.finish()?;
                Ok(wav.ear.map(Ear::finish).unwrap_or_default())
            }
            Self::Kept { format, bytes } => decoders.decode(format, bytes.freeze())?.hear(),
        }
    }
}

/// A WAV file while it is uploaded. Only the samples of one piece are kept.
#[derive(Debug)]
pub(crate) struct WavUpload {
    decoder: WavDecoder,
    ear: Option<Ear>,
    samples: Vec<i16>,
}

impl WavUpload {
    fn new() -> Self {
        Self { decoder: WavDecoder::new(), ear: None, samples: Vec::new() }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.samples.clear();
        self.decoder.push(bytes, &mut self.samples)?;
        if self.ear.is_none() {
            self.ear = self.decoder.rate().map(Ear::new);
        }
        if let Some(ear) = &mut self.ear {
            ear.push(&self.samples);
        }
        Ok(())
    }
}

/// The decoders that were passed in.
#[derive(Clone, Default)]
pub(crate) struct Decoders(BTreeMap<&'static str, AudioDecoder>);

impl Decoders {
    pub(crate) fn set(&mut self, format: AudioFormat, decoder: AudioDecoder) {
        self.0.insert(format.extension(), decoder);
    }

    fn decode(&self, format: AudioFormat, bytes: Bytes) -> Result<DecodedAudio, String> {
        match self.0.get(format.extension()) {
            Some(decoder) => decoder(bytes),
            None => Err(format!("no decoder for {} was passed to the simulator", format.extension())),
        }
    }
}

impl fmt::Debug for Decoders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The format that the first bytes of a file show. M4A counts as MP4.
fn sniffed(head: &[u8]) -> Option<AudioFormat> {
    Some(match head {
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..]
        | [b'R' | b'B', b'F' | b'W', b'6', b'4', ..] => AudioFormat::Wav,
        [b'f', b'L', b'a', b'C', ..] => AudioFormat::Flac,
        [b'O', b'g', b'g', b'S', ..] => AudioFormat::Ogg,
        [b'I', b'D', b'3', ..] => AudioFormat::Mp3,
        // The sync word of MPEG audio, layer III.
        [0xff, second, ..] if second & 0xe6 == 0xe2 => AudioFormat::Mp3,
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => AudioFormat::Mp4,
        [0x1a, 0x45, 0xdf, 0xa3, ..] => AudioFormat::Webm,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ToneScore, ToneSpeech};

    fn hear(file: &[u8], decoders: &Decoders) -> Result<HeardAudio, String> {
        let mut upload = UploadedFile::new();
        file.chunks(1_000).for_each(|piece| upload.push(piece));
        upload.hear(decoders)
    }

    #[test]
    fn wav_is_heard_as_it_comes() {
        let speech = ToneSpeech::new(Duration::from_secs(10)).with_channels(2).with_rate(44_100);
        let mut file = Vec::new();
        speech.write_wav(&mut file).unwrap();
        let heard = hear(&file, &Decoders::default()).unwrap();
        assert_eq!(heard.duration, Duration::from_secs(10));
        let score = ToneScore::of(speech.truth(), heard.words);
        assert!(score.is_exact(Duration::from_millis(3)) && score.spoken > 10, "{score}");
    }

    #[test]
    fn other_formats_go_to_the_decoder_that_was_passed_in() {
        let speech = ToneSpeech::new(Duration::from_secs(5));
        let mut decoders = Decoders::default();
        let decoded = speech.clone();
        decoders.set(
            AudioFormat::Flac,
            Arc::new(move |bytes: Bytes| {
                assert_eq!(bytes.len(), 5_000);
                let samples = decoded.samples().map_err(|error| error.to_string())?;
                let stereo: Vec<i16> = samples.flat_map(|sample| [sample, sample]).collect();
                let blocks: Vec<_> = stereo.chunks(2_048).map(|block| Ok(block.to_vec())).collect();
                Ok(DecodedAudio::from_blocks(16_000, 2, blocks.into_iter()))
            }),
        );
        let mut file = b"fLaC".to_vec();
        file.resize(5_000, 1);
        let heard = hear(&file, &decoders).unwrap();
        assert!(ToneScore::of(speech.truth(), heard.words).is_exact(Duration::from_millis(3)));
        file[..4].copy_from_slice(b"OggS");
        assert!(hear(&file, &decoders).unwrap_err().contains("no decoder for ogg"));
    }

    #[test]
    fn silence_has_no_fingerprint_and_the_same_samples_have_the_same() {
        let audio = |samples: Vec<i16>| DecodedAudio::new(16_000, 1, samples).hear().unwrap().fingerprint;
        assert_eq!(audio(vec![0; 16_000]), None);
        assert_eq!(audio(vec![1; 16_000]), audio(vec![1; 16_000]));
        assert_ne!(audio(vec![1; 16_000]), audio(vec![2; 16_000]));
    }

    #[test]
    fn what_is_no_audio_says_so() {
        for (file, why) in [
            (&b""[..], "empty"),
            (b"RIFF", "too short"),
            (b"this is plain text, not audio", "no known audio format"),
            (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x02\0\x01\0\0\0\0\0\0\0\0\0\0\0\x10\0data", "format 2"),
        ] {
            let error = hear(file, &Decoders::default()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
