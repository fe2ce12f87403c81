//! The boxes of an MP4 file with one AAC track, of which all packets lie side by side behind the index.

use super::AacConfig;
use crate::container::packets::Needed;

/// The unit matrix of a movie and a track.
const MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// `mdat` with a size of 64 bits.
const MDAT_HEAD: u64 = 16;

/// How long [`head`] is.
pub(super) fn head_len(config: &AacConfig) -> u64 {
    (head_with(config, 0, 0, 0)).len() as u64
}

/// How long what lies between [`head`] and the packets is.
pub(super) fn rest_len(needed: &Needed) -> u64 {
    4 * needed.packets() + MDAT_HEAD
}

/// All of the file before the sizes of its packets, with which the index ends.
pub(super) fn head(config: &AacConfig, needed: &Needed) -> Vec<u8> {
    let packets = needed.packets();
    let audio = head_len(config) + rest_len(needed);
    head_with(config, packets, needed.samples(), audio)
}

/// The box that the packets lie in, without them.
pub(super) fn mdat_head(bytes: u64) -> Vec<u8> {
    let mut out = 1_u32.to_be_bytes().to_vec();
    out.extend(b"mdat");
    out.extend((bytes + MDAT_HEAD).to_be_bytes());
    out
}

fn head_with(config: &AacConfig, packets: u64, samples: u64, audio: u64) -> Vec<u8> {
    let sizes = 4 * packets;
    let mut out = boxed(*b"ftyp", 0, &[b"M4A \0\0\x02\0", b"M4A mp42isom"]);
    let stbl = boxed(
        *b"stbl",
        sizes,
        &[
            &description(config),
            &full(*b"stts", 0, 0, &[&words(&[1, packets as u32, config.frame])]),
            &full(*b"stsc", 0, 0, &[&words(&[1, 1, packets as u32, 1])]),
            &full(*b"co64", 0, 0, &[&words(&[1]), &audio.to_be_bytes()]),
            &full(*b"stsz", 0, sizes, &[&words(&[0, packets as u32])]),
        ],
    );
    let url = full(*b"url ", 1, 0, &[]);
    let dref = full(*b"dref", 0, 0, &[&words(&[1]), &url]);
    let minf = boxed(
        *b"minf",
        sizes,
        &[&full(*b"smhd", 0, 0, &[&words(&[0])]), &boxed(*b"dinf", 0, &[&dref]), &stbl],
    );
    // "und", the language nobody knows.
    let mdhd = timed(*b"mdhd", 0, config.rate, None, samples, &words(&[0x55c4_0000]));
    let hdlr = full(*b"hdlr", 0, 0, &[&words(&[0]), b"soun", &words(&[0, 0, 0]), b"\0"]);
    let mdia = boxed(*b"mdia", sizes, &[&mdhd, &hdlr, &minf]);
    let matrix = words(&MATRIX);
    // Full volume, behind two words and before the matrix; no width and height.
    let place = [&words(&[0, 0, 0, 0x0100_0000])[..], &matrix, &words(&[0, 0])].concat();
    let tkhd = timed(*b"tkhd", 7, 1, Some(0), samples, &place);
    let trak = boxed(*b"trak", sizes, &[&tkhd, &mdia]);
    let settings = [&words(&[0x1_0000, 0x0100_0000, 0, 0])[..], &matrix, &words(&[0; 6]), &words(&[2])];
    let mvhd = timed(*b"mvhd", 0, config.rate, None, samples, &settings.concat());
    out.extend(boxed(*b"moov", sizes, &[&mvhd, &trak]));
    out
}

/// `stsd` with the codec's configuration.
fn description(config: &AacConfig) -> Vec<u8> {
    // MPEG-4 audio, an audio stream, no bit rates.
    let decoder = [&[0x40, 0x15, 0, 0, 0][..], &words(&[0, 0]), &descriptor(5, &[config.bytes()])];
    let stream = descriptor(3, &[&[0, 1, 0], &descriptor(4, &decoder), &descriptor(6, &[&[2]])]);
    let esds = full(*b"esds", 0, 0, &[&stream]);
    let rate = if config.rate < 1 << 16 { config.rate << 16 } else { 0 };
    let channels = u32::from(config.channels);
    let fields = words(&[0, 1, 0, 0, channels << 16 | 16, 0, rate]);
    let entry = boxed(*b"mp4a", 0, &[&fields, &esds]);
    full(*b"stsd", 0, 0, &[&words(&[1]), &entry])
}

/// A descriptor of MPEG-4 systems; all of them are shorter than 128 bytes.
fn descriptor(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&[tag, body.len() as u8][..], &body].concat()
}

/// A box; `more` bytes of it follow later.
fn boxed(kind: [u8; 4], more: u64, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let len = (8 + body.len() as u64 + more) as u32;
    [&len.to_be_bytes()[..], &kind, &body].concat()
}

/// A box of version 0 with flags.
fn full(kind: [u8; 4], flags: u32, more: u64, parts: &[&[u8]]) -> Vec<u8> {
    let flags = flags.to_be_bytes();
    boxed(kind, more, &[&[&flags[..]][..], parts].concat())
}

/// A header of version 1, made at no known time: times and durations have 64 bits.
fn timed(kind: [u8; 4], flags: u32, scale: u32, reserved: Option<u32>, samples: u64, rest: &[u8]) -> Vec<u8> {
    let mut body = words(&[0x0100_0000 | flags, 0, 0, 0, 0, scale]);
    body.extend(reserved.into_iter().flat_map(u32::to_be_bytes));
    body.extend(samples.to_be_bytes());
    body.extend(rest);
    boxed(kind, 0, &[&body])
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}
