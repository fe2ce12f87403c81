//! Tags that stand before and behind audio frames: ID3v2, ID3v1 and APE.

use std::io;

use super::scanner::Scanner;

/// Where the audio starts behind any number of ID3v2 tags at `offset`.
pub(crate) fn skip_id3v2(scanner: &mut Scanner<'_>, mut offset: u64) -> io::Result<u64> {
    while let Some(len) = id3v2_len(scanner.at(offset, 10)?) {
        offset += len;
    }
    Ok(offset.min(scanner.len()))
}

/// The length of the ID3v2 tag that starts with these ten bytes.
pub(crate) fn id3v2_len(head: &[u8]) -> Option<u64> {
    let &[b'I', b'D', b'3', version, revision, flags, a, b, c, d] = head else { return None };
    if version == 0xff || revision == 0xff || (a | b | c | d) & 0x80 != 0 {
        return None;
    }
    let body = [a, b, c, d].iter().fold(0_u64, |sum, &byte| (sum << 7) | u64::from(byte));
    let footer = if flags & 0x10 == 0 { 0 } else { 10 };
    Some(10 + body + footer)
}

/// Where the audio ends before ID3v1 and APE tags at the end of the file.
pub(crate) fn audio_end(scanner: &mut Scanner<'_>) -> io::Result<u64> {
    let mut end = scanner.len();
    loop {
        if end >= 128 && scanner.at(end - 128, 3)? == b"TAG" {
            end -= 128;
        } else if let Some(len) = ape_len(scanner, end)? {
            end -= len;
        } else {
            return Ok(end);
        }
    }
}

/// The length of the APE tag whose footer ends at `end`.
fn ape_len(scanner: &mut Scanner<'_>, end: u64) -> io::Result<Option<u64>> {
    let Some(start) = end.checked_sub(32) else { return Ok(None) };
    let Some(footer) = scanner.array::<32>(start)? else { return Ok(None) };
    if !footer.starts_with(b"APETAGEX") {
        return Ok(None);
    }
    let word =
        |at: usize| footer.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    // The size counts the footer but not the header, which is there if the flag's top bit is set.
    let header = if word(20) & 0x8000_0000 == 0 { 0 } else { 32 };
    let len = u64::from(word(12)) + header;
    Ok((32..=end).contains(&len).then_some(len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryAudioSource;

    #[test]
    fn tags_on_both_sides_are_no_audio() {
        let mut bytes = b"ID3\x04\x00\x00\x00\x00\x00\x05xxxxx".to_vec();
        bytes.extend(b"ID3\x04\x00\x10\x00\x00\x00\x02yy3DI\x04\x00\x10\x00\x00\x00\x02");
        let start = bytes.len() as u64;
        bytes.extend([7; 40]);
        let end = bytes.len() as u64;
        bytes.extend(b"APETAGEX\xd0\x07\0\0\x20\0\0\0\0\0\0\0\0\0\0\x80\0\0\0\0\0\0\0\0");
        bytes.extend(b"APETAGEX\xd0\x07\0\0\x20\0\0\0\0\0\0\0\0\0\0\x80\0\0\0\0\0\0\0\0");
        bytes.extend(b"TAG");
        bytes.extend([0; 125]);
        let source = MemoryAudioSource::new("tags", bytes);
        let mut scanner = Scanner::new(&source);
        assert_eq!(skip_id3v2(&mut scanner, 0).unwrap(), start);
        assert_eq!(audio_end(&mut scanner).unwrap(), end);
    }
}
