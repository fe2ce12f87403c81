//! Matroska and WebM: the packets of the first audio track, in blocks with any lacing.
//!
//! Elements are walked flat: those that hold others are entered, all else is passed by its size. So it does not matter
//! whether segments and clusters know their sizes.

mod elements;
mod lacing;

use std::io;

use self::elements::{Element, next_cluster};
use super::Opened;
use super::aac::{AacConfig, AacTrack};
use super::damage::Damage;
use super::ogg::OggStream;
use super::opus::{OPUS_RATE, OpusHead, OpusTrack, samples_of};
use super::scanner::Scanner;
use crate::model::audio_file::Track;
use crate::{AudioSource, Codec, Container, ProcessingError, SampleRate};

const HINT: &str = "convert it first, for example with `ffmpeg -i in -vn out.flac`";

/// Whether the file starts like a Matroska file.
pub(crate) fn is_matroska(head: &[u8]) -> bool {
    head.starts_with(&[0x1a, 0x45, 0xdf, 0xa3])
}

/// Reads the whole file once, but only the starts of its blocks.
pub(crate) fn open(source: &dyn AudioSource) -> Result<Opened, ProcessingError> {
    let mut scanner = Scanner::new(source);
    let mut walk = Walk::default();
    walk.run(&mut scanner).map_err(|error| ProcessingError::read(source.name(), error))?;
    let what = |what: &str| format!("{} is a Matroska or WebM file {what}", source.name());
    let Some(audio) = walk.audio else {
        return Err(ProcessingError::unsupported(what("without an audio track"), "give one with audio"));
    };
    let Some(coding) = audio.coding() else {
        let name = String::from_utf8_lossy(&audio.codec).into_owned();
        let packed = if audio.is_encoded { ", packed or encrypted" } else { "" };
        let what = what(&format!("with audio in the coding `{name}`{packed}, which is not read"));
        return Err(ProcessingError::unsupported(what, HINT));
    };
    let mut stream = walk.stream;
    stream.timeline.index.shrink();
    let total = stream.timeline.index.samples();
    let warnings = walk.damage.finish(source.len(), "Matroska")?;
    let samples_in = |nanoseconds: u64, rate: u32| {
        u64::try_from(u128::from(nanoseconds) * u128::from(rate) / 1_000_000_000).unwrap_or(u64::MAX)
    };
    let (rate, channels, trim, codec) = match &coding {
        Coding::Opus(head) => {
            (OPUS_RATE, u16::from(head.channels()), u64::from(head.pre_skip()), Codec::Opus)
        }
        Coding::Aac(config) => {
            (config.rate, config.channels, samples_in(audio.delay, config.rate), Codec::Aac)
        }
    };
    let trim = trim.min(total);
    stream.timeline.trim = trim;
    let track: Box<dyn Track> = match coding {
        Coding::Opus(head) => Box::new(OpusTrack::new(stream, head)),
        Coding::Aac(config) => Box::new(AacTrack::new(stream.timeline, config)),
    };
    let padding = samples_in(walk.padding, rate);
    let rate = SampleRate::new(rate)
        .map_err(|error| ProcessingError::unsupported(source.name(), error.to_string()))?;
    Ok(Opened {
        container: Container::Matroska,
        codec,
        rate,
        channels,
        samples: (total - trim).saturating_sub(padding),
        warnings,
        track,
    })
}

/// A track of the file.
#[derive(Clone, Debug, Default)]
struct TrackEntry {
    number: u64,
    kind: u64,
    codec: Vec<u8>,
    private: Vec<u8>,
    channels: u16,
    /// In nanoseconds.
    delay: u64,
    /// Whether its blocks are compressed or encrypted.
    is_encoded: bool,
}

/// What this crate reads.
#[derive(Clone, Debug)]
enum Coding {
    Opus(OpusHead),
    Aac(AacConfig),
}

impl TrackEntry {
    fn coding(&self) -> Option<Coding> {
        if self.is_encoded {
            return None;
        }
        match self.codec.as_slice() {
            b"A_OPUS" => OpusHead::parse(&self.private).map(Coding::Opus),
            b"A_AAC" => AacConfig::parse(&self.private, self.channels).ok().map(Coding::Aac),
            _ => None,
        }
    }
}

/// The tracks' kind that is audio.
const AUDIO: u64 = 2;

/// Longer strings and headers are none that this crate reads.
const MAX_VALUE: u64 = 4_096;

#[derive(Debug, Default)]
struct Walk {
    stream: OggStream,
    /// The track whose description is being read.
    entry: Option<TrackEntry>,
    audio: Option<TrackEntry>,
    coding: Option<Coding>,
    /// What is not heard of the last block, in nanoseconds.
    padding: u64,
    damage: Damage,
}

impl Walk {
    fn run(&mut self, scanner: &mut Scanner<'_>) -> io::Result<()> {
        let mut at = 0;
        while at < scanner.len() {
            let found = Element::read(scanner, at)?;
            let next = match &found {
                Some(element) => self.take(scanner, element)?,
                None => None,
            };
            at = if let Some(next) = next {
                next
            } else {
                let next = next_cluster(scanner, at + 1)?;
                self.damage.lost(at, next - at);
                next
            };
        }
        self.end_entry();
        Ok(())
    }

    /// Takes an element; gives the place of the next, or `None` if it cannot be one.
    fn take(&mut self, scanner: &mut Scanner<'_>, element: &Element) -> io::Result<Option<u64>> {
        match element.id {
            elements::TRACK_ENTRY => {
                self.end_entry();
                self.entry = Some(TrackEntry::default());
                return Ok(Some(element.body));
            }
            elements::CLUSTER => {
                self.end_entry();
                return Ok(Some(element.body));
            }
            id if elements::HOLDS_OTHERS.contains(&id) => return Ok(Some(element.body)),
            _ => {}
        }
        // Only what is entered may be of unknown size, and nothing ends behind the file's end but what is cut off.
        let Some(end) = element.end() else { return Ok(None) };
        let end = end.min(scanner.len());
        match element.id {
            elements::SIMPLE_BLOCK | elements::BLOCK => self.block(scanner, element.body, end)?,
            elements::DISCARD_PADDING => {
                let value = elements::number(scanner.at(element.body, element.value_len())?);
                // Negative: at the start of the block, where nothing needs it.
                self.padding = if value.leading_zeros() == 0 { 0 } else { value };
            }
            id => self.describe(scanner, id, element)?,
        }
        Ok(Some(end))
    }

    /// A value of the track whose description is being read.
    fn describe(&mut self, scanner: &mut Scanner<'_>, id: u32, element: &Element) -> io::Result<()> {
        let Some(entry) = &mut self.entry else { return Ok(()) };
        if !elements::DESCRIBES_TRACK.contains(&id) {
            return Ok(());
        }
        let len = element.len.unwrap_or(0).min(MAX_VALUE) as usize;
        let value = scanner.at(element.body, len)?;
        match id {
            elements::TRACK_NUMBER => entry.number = elements::number(value),
            elements::TRACK_TYPE => entry.kind = elements::number(value),
            elements::CHANNELS => entry.channels = elements::number(value) as u16,
            elements::CODEC_DELAY => entry.delay = elements::number(value),
            elements::CODEC_ID => entry.codec = value.to_vec(),
            elements::CODEC_PRIVATE => entry.private = value.to_vec(),
            _ => entry.is_encoded = true,
        }
        Ok(())
    }

    fn end_entry(&mut self) {
        if let Some(entry) = self.entry.take()
            && self.audio.is_none()
            && entry.kind == AUDIO
        {
            self.coding = entry.coding();
            self.audio = Some(entry);
        }
    }

    fn block(&mut self, scanner: &mut Scanner<'_>, body: u64, end: u64) -> io::Result<()> {
        let (Some(audio), Some(coding)) = (&self.audio, &self.coding) else { return Ok(()) };
        let Some(block) = lacing::Block::read(scanner, body, end)? else {
            self.damage.lost(body, end - body);
            return Ok(());
        };
        if block.track != audio.number {
            return Ok(());
        }
        self.padding = 0;
        let mut at = block.frames_at;
        for size in block.sizes {
            let samples = match coding {
                Coding::Opus(_) => {
                    let start = scanner.at(at, 2)?;
                    samples_of(start.get(..size.min(2) as usize).unwrap_or(start))
                        .filter(|_| OggStream::can_hold(size))
                }
                Coding::Aac(config) => (size > 0).then_some(config.frame),
            };
            match samples {
                Some(samples) => self.stream.push(at, size, samples),
                None => self.damage.lost(at, u64::from(size)),
            }
            at += u64::from(size);
        }
        Ok(())
    }
}
