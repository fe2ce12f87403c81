//! Fragments: each says where its own packets lie (ISO/IEC 14496-12, 8.8).

use std::io;

use super::boxes::{BoxAt, Fields};
use super::track::TrackInfo;
use super::{Found, each_box};
use crate::container::scanner::Scanner;

const BASE_OFFSET: u32 = 0x1;
const DESCRIPTION: u32 = 0x2;
const DURATION: u32 = 0x8;
const SIZE: u32 = 0x10;

const DATA_OFFSET: u32 = 0x1;
const FIRST_FLAGS: u32 = 0x4;
const EACH_DURATION: u32 = 0x100;
const EACH_SIZE: u32 = 0x200;
const EACH_FLAGS: u32 = 0x400;
const EACH_TIME: u32 = 0x800;

/// Takes the packets of all fragments of the file.
pub(super) fn walk(scanner: &mut Scanner<'_>, track: &TrackInfo, found: &mut Found) -> io::Result<()> {
    let end = scanner.len();
    each_box(scanner, 0, end, |scanner, moof| {
        if &moof.kind == b"moof" {
            each_box(scanner, moof.body, moof.end, |scanner, traf| {
                if &traf.kind == b"traf" {
                    fragment(scanner, track, moof, traf, found)?;
                }
                Ok(!found.out_of_order)
            })?;
        }
        Ok(!found.out_of_order)
    })
}

fn fragment(
    scanner: &mut Scanner<'_>,
    track: &TrackInfo,
    moof: BoxAt,
    traf: BoxAt,
    found: &mut Found,
) -> io::Result<()> {
    let Some(tfhd) = traf.child(scanner, *b"tfhd")? else { return Ok(()) };
    let mut fields = Fields(tfhd.bytes(scanner, 64)?);
    let (Some(flags), Some(id)) = (fields.word(), fields.word()) else { return Ok(()) };
    if id != track.id {
        return Ok(());
    }
    let mut optional = |flag: u32, bytes: usize| {
        let present = flags & flag != 0;
        let value = fields.0.get(..bytes).filter(|_| present);
        let value = value.map(|bytes| bytes.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)));
        if present {
            fields.0 = fields.0.get(bytes..).unwrap_or_default();
        }
        value
    };
    let base = optional(BASE_OFFSET, 8).unwrap_or(moof.start);
    optional(DESCRIPTION, 4);
    optional(DURATION, 4);
    let size = optional(SIZE, 4).map_or(track.default_size, |size| size as u32);
    let mut at = base;
    each_box(scanner, traf.body, traf.end, |scanner, trun| {
        if &trun.kind == b"trun" {
            at = run(scanner, trun, base, at, size, found)?;
        }
        Ok(true)
    })
}

/// Takes a run of packets; gives the place behind it.
fn run(
    scanner: &mut Scanner<'_>,
    trun: BoxAt,
    base: u64,
    mut at: u64,
    default_size: u32,
    found: &mut Found,
) -> io::Result<u64> {
    let mut fields = Fields(trun.bytes(scanner, 16)?);
    let (Some(flags), Some(count)) = (fields.word(), fields.word()) else { return Ok(at) };
    let mut entry = trun.body + 8;
    if flags & DATA_OFFSET != 0 {
        let offset = fields.word().unwrap_or(0).cast_signed();
        at = base.saturating_add_signed(i64::from(offset));
        entry += 4;
    }
    if flags & FIRST_FLAGS != 0 {
        entry += 4;
    }
    let each = |flag: u32| if flags & flag == 0 { 0 } else { 4 };
    let width = each(EACH_DURATION) + each(EACH_SIZE) + each(EACH_FLAGS) + each(EACH_TIME);
    for _ in 0..count {
        let size = if flags & EACH_SIZE == 0 {
            default_size
        } else {
            match scanner.array::<4>(entry + each(EACH_DURATION))? {
                Some(size) if entry + width <= trun.end => u32::from_be_bytes(size),
                _ => break,
            }
        };
        if !found.take(at, size) {
            break;
        }
        at += u64::from(size);
        entry += width;
    }
    Ok(at)
}
