//! Ogg: the packets of the first Opus stream, past other streams and damage, and streams that follow it.

mod reading;
mod writing;

use std::io;

use self::reading::{PAGE_HEAD, Page};
pub(crate) use self::writing::{OggStream, PageWriter, page};
use super::Opened;
use super::damage::Damage;
use super::opus::{OPUS_RATE, OpusHead, OpusTrack, samples_of};
use super::scanner::Scanner;
use crate::model::audio_file::Warning;
use crate::{AudioSource, Codec, Container, ProcessingError, SampleRate};

const HINT: &str = "convert it first, for example with `ffmpeg -i in -vn out.flac`";

/// Packets before the first of audio: the identification and the comments.
const HEADERS: u32 = 2;

/// An Opus stream that was found.
#[derive(Debug)]
pub(crate) struct OggOpus {
    pub(crate) stream: OggStream,
    pub(crate) head: OpusHead,
    /// Audible samples.
    pub(crate) samples: u64,
    warnings: Vec<Warning>,
}

/// Reads the whole file once.
pub(crate) fn open(source: &dyn AudioSource) -> Result<Opened, ProcessingError> {
    let OggOpus { stream, head, samples, warnings } = read(source)?;
    let rate = SampleRate::new(OPUS_RATE)
        .map_err(|error| ProcessingError::unsupported(source.name(), error.to_string()))?;
    Ok(Opened {
        container: Container::Ogg,
        codec: Codec::Opus,
        rate,
        channels: u16::from(head.channels()),
        samples,
        warnings,
        track: Box::new(OpusTrack::new(stream, head)),
    })
}

/// Finds all packets.
pub(crate) fn read(source: &dyn AudioSource) -> Result<OggOpus, ProcessingError> {
    let mut scanner = Scanner::new(source);
    let mut walk = Walk::default();
    walk.run(&mut scanner).map_err(|error| ProcessingError::read(source.name(), error))?;
    let Some(head) = walk.head else {
        let what = walk.other.unwrap_or("no audio stream that is known here");
        let what = format!("{} is an Ogg file with {what}, which is not read", source.name());
        return Err(ProcessingError::unsupported(what, HINT));
    };
    let mut stream = walk.stream;
    stream.timeline.index.shrink();
    let mut warnings = walk.damage.finish(source.len(), "Ogg")?;
    warnings.extend(walk.warning);
    let total = stream.timeline.index.samples();
    let trim = u64::from(head.pre_skip()).min(total);
    stream.timeline.trim = trim;
    Ok(OggOpus { stream, head, samples: (total - trim).saturating_sub(walk.end_trim), warnings })
}

/// A packet of which the end is still to come.
#[derive(Clone, Copy, Debug)]
struct Open {
    offset: u64,
    size: u32,
    /// Bytes of it in the page in which it starts.
    first: u32,
    split: bool,
}

#[derive(Debug, Default)]
struct Walk {
    stream: OggStream,
    head: Option<OpusHead>,
    /// The number of the stream that is taken.
    serial: u32,
    headers_left: u32,
    open: Option<Open>,
    /// The position that the last page of audio told.
    granule: Option<u64>,
    /// Samples at the end that are not heard.
    end_trim: u64,
    damage: Damage,
    /// What else was found, by name.
    other: Option<&'static str>,
    warning: Option<Warning>,
}

impl Walk {
    fn run(&mut self, scanner: &mut Scanner<'_>) -> io::Result<()> {
        let mut at = 0;
        let mut budget = scanner.len().saturating_mul(8).saturating_add(1 << 26);
        while at < scanner.len() {
            if let Some(page) = Page::read(scanner, at)? {
                self.take(scanner, &page)?;
                at = page.end();
            } else {
                let next = reading::next_page(scanner, at + 1, &mut budget)?;
                self.damage.lost(at, next - at);
                self.open = None;
                at = next;
            }
        }
        Ok(())
    }

    fn take(&mut self, scanner: &mut Scanner<'_>, page: &Page) -> io::Result<()> {
        if page.is_first() {
            return self.begin(scanner, page);
        }
        if self.head.is_none() || page.serial != self.serial {
            return Ok(());
        }
        let mut offset = page.body();
        let mut samples = 0;
        if !page.is_continued() {
            self.open = None;
        }
        let mut skip = page.is_continued() && self.open.is_none();
        for part in page.parts() {
            let open = self.open.take().map_or(
                Open { offset, size: part.len, first: part.len, split: false },
                |open| Open { size: open.size + part.len, split: true, ..open },
            );
            offset += u64::from(part.len);
            if !part.ends {
                self.open = (!skip).then_some(open);
            } else if !std::mem::take(&mut skip) {
                samples += self.packet(scanner, open)?;
            }
        }
        self.position(page, samples);
        Ok(())
    }

    /// The first page of a stream.
    fn begin(&mut self, scanner: &mut Scanner<'_>, page: &Page) -> io::Result<()> {
        let body = scanner.at(page.body(), page.len() as usize)?;
        let Some(head) = OpusHead::parse(body) else {
            self.other = self.other.or(reading::name_of(body));
            return Ok(());
        };
        match &self.head {
            None => self.head = Some(head),
            // Another stream beside the first has its first page before all audio.
            Some(_) if self.stream.timeline.index.packets() == 0 => return Ok(()),
            Some(first) if first.with_pre_skip(0) == head.with_pre_skip(0) => {}
            Some(_) => {
                let what = "a stream of another kind follows, and was left out; split the file before it";
                self.warning = Some(Warning { offset: page.start, what: what.into() });
                return Ok(());
            }
        }
        self.serial = page.serial;
        self.headers_left = HEADERS - 1;
        self.open = None;
        self.granule = None;
        Ok(())
    }

    /// Takes a whole packet; gives its samples.
    fn packet(&mut self, scanner: &mut Scanner<'_>, packet: Open) -> io::Result<u64> {
        if self.headers_left > 0 {
            self.headers_left -= 1;
            return Ok(0);
        }
        let start = scanner.at(packet.offset, 2)?;
        let start = start.get(..packet.size.min(2) as usize).unwrap_or(start);
        let Some(samples) = samples_of(start).filter(|_| OggStream::can_hold(packet.size)) else {
            self.damage.lost(packet.offset, u64::from(packet.size));
            return Ok(0);
        };
        if packet.split {
            self.stream.push_split(packet.offset, packet.size, samples, packet.first, self.serial);
        } else {
            self.stream.push(packet.offset, packet.size, samples);
        }
        Ok(u64::from(samples))
    }

    /// Compares the position that a page tells with what was counted: the last one may end before its packets do.
    fn position(&mut self, page: &Page, samples: u64) {
        if samples == 0 || page.granule == u64::MAX {
            return;
        }
        self.end_trim = 0;
        if page.is_last() {
            let expected = self.granule.unwrap_or(0).saturating_add(samples);
            self.end_trim = expected.saturating_sub(page.granule).min(samples);
        }
        self.granule = Some(page.granule);
    }
}

/// The bytes of a packet that goes on in other pages.
pub(crate) fn read_split(
    source: &dyn AudioSource,
    offset: u64,
    first: u32,
    size: u32,
    serial: u32,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "an Ogg page is not what it was");
    super::packets::copy(source, offset, u64::from(first), out)?;
    let mut left = size - first;
    let mut at = offset + u64::from(first);
    let mut head = Vec::with_capacity(PAGE_HEAD + 255);
    while left > 0 {
        head.clear();
        super::packets::copy(source, at, PAGE_HEAD as u64, &mut head)?;
        let segments = u64::from(head.last().copied().unwrap_or(0));
        super::packets::copy(source, at + PAGE_HEAD as u64, segments, &mut head)?;
        let page = Page::parse(&head, at).ok_or_else(invalid)?;
        if page.serial == serial {
            let part = page.parts().next().ok_or_else(invalid)?;
            let take = part.len.min(left);
            super::packets::copy(source, page.body(), u64::from(take), out)?;
            left -= take;
        }
        at = page.end();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_are_written_are_read_again() {
        let bytes = page(b"OpusTags and more", 1);
        let source = crate::MemoryAudioSource::new("page", bytes.clone());
        let mut scanner = Scanner::new(&source);
        let found = Page::read(&mut scanner, 0).unwrap().unwrap();
        assert_eq!((found.len(), found.end(), found.is_first()), (17, bytes.len() as u64, false));
        let mut damaged = bytes;
        damaged[30] ^= 1;
        let source = crate::MemoryAudioSource::new("page", damaged);
        assert!(Page::read(&mut Scanner::new(&source), 0).unwrap().is_none());
    }
}
