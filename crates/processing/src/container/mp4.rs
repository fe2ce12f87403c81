//! MP4 and M4A: the packets of the first audio track, from tables or fragments, wherever the index lies.

mod boxes;
mod fragments;
mod tables;
mod track;

use std::io;

use self::boxes::{BoxAt, child};
use self::track::{TrackInfo, tracks};
use super::Opened;
use super::aac::{AacTrack, NoAac};
use super::packets::Timeline;
use super::scanner::Scanner;
use crate::model::audio_file::Warning;
use crate::model::packet_index::PacketIndex;
use crate::{AudioSource, Codec, Container, ProcessingError, SampleRate};

const HINT: &str = "convert it first, for example with `ffmpeg -i in -vn out.flac`";

/// Whether the file starts like an MP4 file.
pub(crate) fn is_mp4(head: &[u8]) -> bool {
    matches!(head.get(4..8), Some(b"ftyp" | b"moov"))
}

/// Packets as they are found.
#[derive(Debug)]
pub(crate) struct Found {
    index: PacketIndex,
    /// Samples of each packet.
    frame: u32,
    /// Bytes of the file.
    len: u64,
    /// Where the first packet should be that is not there.
    missing: Option<u64>,
    out_of_order: bool,
}

impl Found {
    fn new(len: u64, frame: u32) -> Self {
        Self { index: PacketIndex::default(), frame, len, missing: None, out_of_order: false }
    }

    /// Takes the packet at `offset`; `false` if it makes no sense to go on.
    fn take(&mut self, offset: u64, size: u32) -> bool {
        if size == 0 || offset.checked_add(u64::from(size)).is_none_or(|end| end > self.len) {
            self.missing = self.missing.or(Some(offset.min(self.len)));
            return false;
        }
        if offset < self.index.end_offset() {
            self.out_of_order = true;
            return false;
        }
        self.index.push(offset, size, self.frame, 0);
        true
    }
}

/// Reads the index of a file, but none of its audio.
pub(crate) fn open(source: &dyn AudioSource) -> Result<Opened, ProcessingError> {
    let failed = |error| ProcessingError::read(source.name(), error);
    let what = || format!("{} is an MP4 file", source.name());
    let mut scanner = Scanner::new(source);
    let Some(moov) = child(&mut scanner, 0, source.len(), *b"moov").map_err(failed)? else {
        return Err(ProcessingError::unsupported(
            what() + " without an index (`moov`)",
            "its recording was probably broken off; repair it, or record or download it again",
        ));
    };
    let found = tracks(&mut scanner, moov).map_err(failed)?;
    let Some(track) = found else {
        return Err(ProcessingError::unsupported(what() + " without an audio track", "give one with audio"));
    };
    let config = match &track.config {
        Some(Ok(config)) => config.clone(),
        Some(Err(NoAac::OtherKind(kind))) => {
            let what = format!("{} with AAC of kind {kind}, which is not read", what());
            return Err(ProcessingError::unsupported(what, HINT));
        }
        Some(Err(NoAac::Damaged)) | None => {
            let coding = String::from_utf8_lossy(&track.coding).into_owned();
            let what = if &track.coding == b"enca" || &track.coding == b"drms" {
                what() + " that is encrypted"
            } else {
                format!("{} with audio in the coding `{coding}`, which is not read", what())
            };
            return Err(ProcessingError::unsupported(what, HINT));
        }
    };
    let rate = SampleRate::new(config.rate)
        .map_err(|error| ProcessingError::unsupported(source.name(), error.to_string()))?;
    let mut found = Found::new(source.len(), config.frame);
    tables::walk(source, &track, &mut found).map_err(failed)?;
    fragments::walk(&mut scanner, &track, &mut found).map_err(failed)?;
    if found.out_of_order {
        return Err(ProcessingError::unsupported(
            what() + " whose audio lies out of order",
            "put it in order, for example with `ffmpeg -i in -vn -c copy out.m4a`",
        ));
    }
    found.index.shrink();
    let mut warnings = Vec::new();
    if let Some(offset) = found.missing {
        let what = "packets that the index tells of are not there, and were left out".into();
        warnings.push(Warning { offset, what });
    } else if found.index.packets() == 0 {
        warnings.push(Warning { offset: 0, what: "the audio track is empty".into() });
    }
    let (trim, samples) = audible(&track, config.rate, found.index.samples());
    Ok(Opened {
        container: Container::Mp4,
        codec: Codec::Aac,
        rate,
        channels: config.channels,
        samples,
        warnings,
        track: Box::new(AacTrack::new(Timeline { index: found.index, trim }, config)),
    })
}

/// How many of the decoder's samples come before the audible ones, and how many of those there are.
fn audible(track: &TrackInfo, rate: u32, total: u64) -> (u64, u64) {
    let scaled = |time: u64, scale: u32| {
        let scale = u128::from(scale.max(1));
        u64::try_from((u128::from(time) * u128::from(rate) + scale / 2) / scale).unwrap_or(u64::MAX)
    };
    if let Some(gap) = track.gapless {
        // What iTunes writes counts samples of the output, which is twice the core's with band replication; where
        // the two differ, the file has an edit list too.
        let trim = gap.priming.min(total);
        return (trim, gap.samples.min(total - trim));
    }
    let end = match track.duration {
        0 => total,
        duration => scaled(duration, track.timescale).min(total),
    };
    let Some(edit) = track.edit else { return (0, end) };
    let trim = scaled(edit.start, track.timescale).min(end);
    let most = end - trim;
    // A movie's clock may be coarse: its length is believed only if it is clearly shorter.
    let tick = scaled(1, track.movie_timescale);
    let edited = scaled(edit.duration, track.movie_timescale);
    (trim, if edited == 0 || edited.saturating_add(tick) >= most { most } else { edited })
}

/// The boxes directly within [from, to).
fn each_box(
    scanner: &mut Scanner<'_>,
    from: u64,
    to: u64,
    mut take: impl FnMut(&mut Scanner<'_>, BoxAt) -> io::Result<bool>,
) -> io::Result<()> {
    let mut at = from;
    while let Some(found) = BoxAt::read(scanner, at, to)? {
        if !take(scanner, found)? {
            break;
        }
        at = found.end;
    }
    Ok(())
}
