//! What the index says of the audio track: its coding, its clock, and which part of it is heard.

use std::io;

use super::boxes::{BoxAt, Fields};
use super::each_box;
use crate::container::aac::{AacConfig, NoAac};
use crate::container::scanner::Scanner;

/// No sample description that this crate reads is longer.
const MAX_DESCRIPTION: u64 = 64 * 1024;

/// The object type of MPEG-4 audio, and those of MPEG-2's AAC.
const AAC_TYPES: [u8; 4] = [0x40, 0x66, 0x67, 0x68];

/// What the index says of the audio track.
#[derive(Debug, Default)]
pub(super) struct TrackInfo {
    pub(super) id: u32,
    pub(super) coding: [u8; 4],
    /// Only of AAC.
    pub(super) config: Option<Result<AacConfig, NoAac>>,
    /// Ticks a second of the track's clock.
    pub(super) timescale: u32,
    /// In ticks of the track's clock; 0 if it is in fragments.
    pub(super) duration: u64,
    pub(super) movie_timescale: u32,
    pub(super) edit: Option<Edit>,
    pub(super) gapless: Option<Gapless>,
    pub(super) stbl: Option<BoxAt>,
    /// The size of a fragment's packets where it does not say another.
    pub(super) default_size: u32,
}

/// The part of a track that is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    /// In ticks of the track's clock.
    pub(super) start: u64,
    /// In ticks of the movie's clock; 0: to the end.
    pub(super) duration: u64,
}

/// What iTunes says of it, in samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gapless {
    pub(super) priming: u64,
    pub(super) samples: u64,
}

/// The first audio track.
pub(super) fn tracks(scanner: &mut Scanner<'_>, moov: BoxAt) -> io::Result<Option<TrackInfo>> {
    let movie_timescale = match moov.child(scanner, *b"mvhd")? {
        Some(mvhd) => clock(mvhd.bytes(scanner, 64)?).map_or(0, |(scale, _)| scale),
        None => 0,
    };
    let mut found = None;
    each_box(scanner, moov.body, moov.end, |scanner, at| {
        if &at.kind == b"trak" {
            found = audio_track(scanner, at)?;
        }
        Ok(found.is_none())
    })?;
    let Some(mut track) = found else { return Ok(None) };
    track.movie_timescale = movie_timescale;
    if track.edit.is_none() {
        track.gapless = gapless(scanner, moov)?;
    }
    if let Some(mvex) = moov.child(scanner, *b"mvex")? {
        each_box(scanner, mvex.body, mvex.end, |scanner, at| {
            let mut fields = Fields(at.bytes(scanner, 64)?);
            if &at.kind == b"trex" && fields.skip(4).and_then(|()| fields.word()) == Some(track.id) {
                // The description's number, the duration, the size.
                track.default_size = fields.skip(8).and_then(|()| fields.word()).unwrap_or(0);
            }
            Ok(true)
        })?;
    }
    Ok(Some(track))
}

fn audio_track(scanner: &mut Scanner<'_>, trak: BoxAt) -> io::Result<Option<TrackInfo>> {
    let Some(mdia) = trak.child(scanner, *b"mdia")? else { return Ok(None) };
    let Some(hdlr) = mdia.child(scanner, *b"hdlr")? else { return Ok(None) };
    if hdlr.bytes(scanner, 12)?.get(8..12) != Some(b"soun") {
        return Ok(None);
    }
    let mut track = TrackInfo::default();
    if let Some(tkhd) = trak.child(scanner, *b"tkhd")? {
        let bytes = tkhd.bytes(scanner, 32)?;
        let long = bytes.first() == Some(&1);
        let mut fields = Fields(bytes);
        track.id = fields.skip(if long { 20 } else { 12 }).and_then(|()| fields.word()).unwrap_or(0);
    }
    if let Some(mdhd) = mdia.child(scanner, *b"mdhd")? {
        (track.timescale, track.duration) = clock(mdhd.bytes(scanner, 64)?).unwrap_or((0, 0));
    }
    if let Some(edts) = trak.child(scanner, *b"edts")?
        && let Some(elst) = edts.child(scanner, *b"elst")?
    {
        track.edit = edit(elst.bytes(scanner, 4_096)?);
    }
    let Some(minf) = mdia.child(scanner, *b"minf")? else { return Ok(Some(track)) };
    let Some(stbl) = minf.child(scanner, *b"stbl")? else { return Ok(Some(track)) };
    track.stbl = Some(stbl);
    if let Some(stsd) = stbl.child(scanner, *b"stsd")?
        && let Some(entry) = BoxAt::read(scanner, stsd.body + 8, stsd.end)?
    {
        track.coding = entry.kind;
        if &entry.kind == b"mp4a" {
            track.config = config(scanner, entry)?;
        }
    }
    Ok(Some(track))
}

/// The ticks a second and the duration of a `mvhd` or `mdhd`.
fn clock(bytes: &[u8]) -> Option<(u32, u64)> {
    let version = *bytes.first()?;
    let mut fields = Fields(bytes);
    fields.skip(if version == 1 { 20 } else { 12 })?;
    let scale = fields.word()?;
    let duration = fields.time(version)?;
    // All ones: unknown.
    let unknown = if version == 1 { u64::MAX } else { u64::from(u32::MAX) };
    Some((scale, if duration == unknown { 0 } else { duration }))
}

/// The first part of the edit list that is not empty.
fn edit(bytes: &[u8]) -> Option<Edit> {
    let version = *bytes.first()?;
    let mut fields = Fields(bytes);
    fields.skip(4)?;
    let entries = fields.word()?;
    for _ in 0..entries {
        let duration = fields.time(version)?;
        let start = fields.time(version)?;
        fields.skip(4)?;
        let empty = if version == 1 { u64::MAX } else { u64::from(u32::MAX) };
        if start != empty {
            return Some(Edit { start, duration });
        }
    }
    None
}

/// The configuration in the entry's `esds`, which QuickTime puts into a `wave`.
fn config(scanner: &mut Scanner<'_>, entry: BoxAt) -> io::Result<Option<Result<AacConfig, NoAac>>> {
    let head = entry.bytes(scanner, 64)?;
    let channels =
        head.get(16..18).map_or(0, |b| b.iter().fold(0, |sum, byte| (sum << 8) | u16::from(*byte)));
    let version = head.get(8..10).map_or(0, |b| b.iter().fold(0, |sum, byte| (sum << 8) | u16::from(*byte)));
    let fields = 28 + [0, 16, 36].get(usize::from(version)).copied().unwrap_or(0);
    let mut esds = super::boxes::child(scanner, entry.body + fields, entry.end, *b"esds")?;
    if esds.is_none()
        && let Some(wave) = super::boxes::child(scanner, entry.body + fields, entry.end, *b"wave")?
    {
        esds = wave.child(scanner, *b"esds")?;
    }
    let Some(esds) = esds else { return Ok(None) };
    let bytes = esds.bytes(scanner, MAX_DESCRIPTION)?;
    let config =
        decoder_config(bytes).map_or(Err(NoAac::Damaged), |config| AacConfig::parse(config, channels));
    Ok(Some(config))
}

/// The decoder's own configuration within an `esds`.
fn decoder_config(bytes: &[u8]) -> Option<&[u8]> {
    let mut fields = Fields(bytes);
    fields.skip(4)?;
    let (3, mut stream) = fields.descriptor()? else { return None };
    let flags = *stream.0.get(2)?;
    stream.skip(3)?;
    if flags & 0x80 != 0 {
        stream.skip(2)?;
    }
    if flags & 0x40 != 0 {
        let url = usize::from(*stream.0.first()?);
        stream.skip(1 + url)?;
    }
    if flags & 0x20 != 0 {
        stream.skip(2)?;
    }
    let (4, mut decoder) = stream.descriptor()? else { return None };
    if !AAC_TYPES.contains(decoder.0.first()?) {
        return None;
    }
    decoder.skip(13)?;
    let (5, config) = decoder.descriptor()? else { return None };
    Some(config.0)
}

/// What iTunes writes as a comment named `iTunSMPB`: hexadecimal numbers, of which the second to fourth are the
/// priming, the padding and the samples.
fn gapless(scanner: &mut Scanner<'_>, moov: BoxAt) -> io::Result<Option<Gapless>> {
    let Some(udta) = moov.child(scanner, *b"udta")? else { return Ok(None) };
    let Some(meta) = udta.child(scanner, *b"meta")? else { return Ok(None) };
    let Some(ilst) = super::boxes::child(scanner, meta.body + 4, meta.end, *b"ilst")? else {
        return Ok(None);
    };
    let mut found = None;
    each_box(scanner, ilst.body, ilst.end, |scanner, at| {
        if &at.kind == b"----"
            && let Some(name) = at.child(scanner, *b"name")?
            && name.bytes(scanner, 64)?.get(4..) == Some(b"iTunSMPB")
            && let Some(data) = at.child(scanner, *b"data")?
        {
            let text = data.bytes(scanner, 256)?.get(8..).unwrap_or_default();
            let text = String::from_utf8_lossy(text);
            let mut numbers = text.split_ascii_whitespace().map(|word| u64::from_str_radix(word, 16).ok());
            let numbers = (numbers.nth(1).flatten(), numbers.nth(1).flatten());
            found = numbers.0.zip(numbers.1).map(|(priming, samples)| Gapless { priming, samples });
        }
        Ok(found.is_none())
    })?;
    Ok(found)
}
