//! The checksums of FLAC and MPEG frames and of Ogg pages. All start at the most significant bit.

/// CRC-8 with polynomial 0x07, as FLAC's frame headers carry it.
pub(crate) fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc, byte| pick8(&CRC8, crc ^ byte))
}

/// CRC-16 with polynomial 0x8005, continued from `crc`: FLAC's frames start at 0, MPEG's at 0xffff.
#[expect(clippy::many_single_char_names, reason = "eight bytes in order")]
pub(crate) fn crc16(mut crc: u16, bytes: &[u8]) -> u16 {
    let mut eights = bytes.chunks_exact(8);
    for eight in &mut eights {
        let [a, b, c, d, e, f, g, h] = *eight else { break };
        let [high, low] = crc.to_be_bytes();
        crc = pick(7, a ^ high)
            ^ pick(6, b ^ low)
            ^ pick(5, c)
            ^ pick(4, d)
            ^ pick(3, e)
            ^ pick(2, f)
            ^ pick(1, g)
            ^ pick(0, h);
    }
    eights.remainder().iter().fold(crc, |crc, byte| (crc << 8) ^ pick(0, (crc >> 8) as u8 ^ byte))
}

/// What a byte does to the checksum of what follows it, `zeros` bytes later.
fn pick(zeros: usize, byte: u8) -> u16 {
    CRC16.get(zeros).and_then(|table| table.get(usize::from(byte))).copied().unwrap_or_default()
}

/// CRC-32 with polynomial 0x04c11db7, continued from `crc`: Ogg's pages start at 0.
#[expect(clippy::many_single_char_names, reason = "four bytes before and after")]
pub(crate) fn crc32(mut crc: u32, bytes: &[u8]) -> u32 {
    let mut fours = bytes.chunks_exact(4);
    for four in &mut fours {
        let [a, b, c, d] = *four else { break };
        let [e, f, g, h] = (crc ^ u32::from_be_bytes([a, b, c, d])).to_be_bytes();
        crc = pick32(3, e) ^ pick32(2, f) ^ pick32(1, g) ^ pick32(0, h);
    }
    fours.remainder().iter().fold(crc, |crc, byte| (crc << 8) ^ pick32(0, (crc >> 24) as u8 ^ byte))
}

fn pick32(zeros: usize, byte: u8) -> u32 {
    CRC32.get(zeros).and_then(|table| table.get(usize::from(byte))).copied().unwrap_or_default()
}

fn pick8(table: &[u8; 256], byte: u8) -> u8 {
    table.get(usize::from(byte)).copied().unwrap_or_default()
}

static CRC8: [u8; 256] = crc8_table();
static CRC16: [[u16; 256]; 8] = crc16_tables();

static CRC32: [[u32; 256]; 4] = crc32_tables();

#[expect(clippy::indexing_slicing, reason = "computed while compiling, where a wrong index is an error")]
const fn crc32_tables() -> [[u32; 256]; 4] {
    let mut tables = [[0; 256]; 4];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000_0000 == 0 { crc << 1 } else { (crc << 1) ^ 0x04c1_1db7 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 4 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[zeros - 1][byte];
            tables[zeros][byte] = (crc << 8) ^ tables[0][(crc >> 24) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

#[expect(clippy::indexing_slicing, reason = "computed while compiling, where a wrong index is an error")]
const fn crc8_table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x80 == 0 { crc << 1 } else { (crc << 1) ^ 0x07 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[expect(clippy::indexing_slicing, reason = "computed while compiling, where a wrong index is an error")]
const fn crc16_tables() -> [[u16; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x8005 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[zeros - 1][byte];
            tables[zeros][byte] = (crc << 8) ^ tables[0][(crc >> 8) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_values_of_the_catalogue_come_out() {
        let check = b"123456789";
        // CRC-8/SMBUS, CRC-16/UMTS and CRC-16/CMS.
        assert_eq!(crc8(check), 0xf4);
        assert_eq!(crc16(0, check), 0xfee8);
        assert_eq!(crc16(0xffff, check), 0xaee7);
        // CRC-32/MPEG-2.
        assert_eq!(crc32(0xffff_ffff, check), 0x0376_e6e7);
    }

    #[test]
    fn a_checksum_can_be_continued_anywhere() {
        let bytes: Vec<u8> = (0..100).map(|n| (n * 37) as u8).collect();
        for at in 0..=bytes.len() {
            let (left, right) = bytes.split_at(at);
            assert_eq!(crc16(crc16(0, left), right), crc16(0, &bytes));
            assert_eq!(crc32(crc32(0, left), right), crc32(0, &bytes));
        }
    }
}
