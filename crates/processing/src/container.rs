//! Opens a recording by its content, never by its name. Each container has its own reader.

mod aac;
pub(crate) mod crc;
mod damage;
pub(crate) mod flac;
mod matroska;
pub(crate) mod mp3;
mod mp4;
mod ogg;
pub(crate) mod opus;
mod packets;
mod scanner;
mod tags;
pub(crate) mod wav;

use std::sync::Arc;

use self::scanner::Scanner;
use crate::model::audio_file::{AudioFile, Inner, Track, Warning};
use crate::{AudioSource, Codec, Container, ProcessingError, SampleRate};

/// What a container's reader found.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) container: Container,
    pub(crate) codec: Codec,
    pub(crate) rate: SampleRate,
    pub(crate) channels: u16,
    /// Audible sample frames.
    pub(crate) samples: u64,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) track: Box<dyn Track>,
}

/// Opens a recording through `reading`, which may be a view of `source` that can be stopped. Blocks.
pub(crate) fn open(
    source: Arc<dyn AudioSource>,
    reading: &dyn AudioSource,
) -> Result<AudioFile, ProcessingError> {
    let opened = probe(reading)?;
    source.check_unchanged()?;
    Ok(AudioFile::new(Inner {
        source,
        track: opened.track,
        container: opened.container,
        codec: opened.codec,
        rate: opened.rate,
        channels: opened.channels,
        samples: opened.samples,
        warnings: opened.warnings,
    }))
}

fn probe(source: &dyn AudioSource) -> Result<Opened, ProcessingError> {
    let name = source.name();
    if source.is_empty() {
        return Err(ProcessingError::unsupported(format!("{name} is empty"), "record or download it again"));
    }
    let mut scanner = Scanner::new(source);
    let failed = |error| ProcessingError::read(source.name(), error);
    let head = scanner.at(0, 64).map_err(failed)?.to_vec();
    if wav::is_wav(&head) {
        return wav::open(source);
    }
    if mp4::is_mp4(&head) {
        return mp4::open(source);
    }
    if matroska::is_matroska(&head) {
        return matroska::open(source);
    }
    if head.starts_with(b"OggS") {
        return ogg::open(source);
    }
    let start = tags::skip_id3v2(&mut scanner, 0).map_err(failed)?;
    if scanner.at(start, 4).map_err(failed)? == b"fLaC" {
        return flac::open(source, start);
    }
    if let Some(known) = name_of(&head) {
        let hint = "convert it first, for example with `ffmpeg -i in -vn out.flac`";
        return Err(ProcessingError::unsupported(format!("{name} is {known}, which is not read yet"), hint));
    }
    if let Some(opened) = mp3::open(source, start)? {
        return Ok(opened);
    }
    let looks_like_text =
        head.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..));
    let what = if looks_like_text { "is text, no audio" } else { "is in no format that is known here" };
    Err(ProcessingError::unsupported(
        format!("{name} {what}"),
        "give a WAV, FLAC, MP3, M4A, Ogg Opus or WebM file",
    ))
}

/// What a file that starts so is, if it is none of those that are read.
fn name_of(head: &[u8]) -> Option<&'static str> {
    let at = |from: usize, id: &[u8]| head.get(from..from + id.len()) == Some(id);
    Some(match () {
        () if at(0, b"FORM") => "AIFF",
        () if at(0, b"caff") => "CAF",
        () if at(0, b"#!AMR") => "AMR",
        () if at(0, &[0x30, 0x26, 0xb2, 0x75]) => "WMA or ASF",
        () if at(0, b"RIFX") => "big-endian WAV",
        () if at(0, b"riff") => "Wave64",
        () => return None,
    })
}
