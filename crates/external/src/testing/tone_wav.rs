//! Writes tone-coded speech as a WAV file of any length, in constant memory.

use std::io::{self, Write};

use super::tone_speech::{SampleEncoding, ToneSpeech};

const BLOCK: usize = 16 * 1024;

impl ToneSpeech {
    /// The length of the WAV file in bytes.
    pub fn wav_len(&self) -> u64 {
        self.header().len() as u64 + self.data_len() + self.data_len() % 2
    }

    /// Writes the speech as a WAV file and returns its length in bytes. Over 4 GiB it is RF64 (EBU Tech 3306),
    /// which has 64-bit sizes.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wavequill_external::testing::ToneSpeech;
    ///
    /// let mut file = Vec::new();
    /// let written = ToneSpeech::new(Duration::from_secs(2)).write_wav(&mut file)?;
    /// assert_eq!(written, 64_044);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// What `out` reports; [`io::ErrorKind::InvalidInput`] for a rate, an amplitude or a number of channels
    /// that cannot be.
    pub fn write_wav(&self, mut out: impl Write) -> io::Result<u64> {
        if self.channels() == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "speech has at least one channel"));
        }
        let mut samples =
            self.samples().map_err(|invalid| io::Error::new(io::ErrorKind::InvalidInput, invalid))?;
        out.write_all(&self.header())?;
        let mut block = vec![0; BLOCK];
        let mut bytes = Vec::with_capacity(BLOCK * usize::from(self.frame_bytes()));
        loop {
            let count = samples.fill(&mut block);
            bytes.clear();
            for &sample in block.iter().take(count) {
                for _ in 0..self.channels() {
                    encode(sample, self.encoding(), &mut bytes);
                }
            }
            out.write_all(&bytes)?;
            if count < block.len() {
                break;
            }
        }
        if self.data_len() % 2 == 1 {
            out.write_all(&[0])?;
        }
        out.flush()?;
        Ok(self.wav_len())
    }

    fn frame_bytes(&self) -> u16 {
        self.encoding().bytes() * self.channels()
    }

    fn data_len(&self) -> u64 {
        self.len_samples() * u64::from(self.frame_bytes())
    }

    fn header(&self) -> Vec<u8> {
        let data = self.data_len();
        let padded = data + data % 2;
        let format_tag: u16 = if self.encoding() == SampleEncoding::Float32 { 3 } else { 1 };
        let mut format = Vec::with_capacity(24);
        format.extend_from_slice(b"fmt ");
        format.extend_from_slice(&16_u32.to_le_bytes());
        format.extend_from_slice(&format_tag.to_le_bytes());
        format.extend_from_slice(&self.channels().to_le_bytes());
        format.extend_from_slice(&self.rate().to_le_bytes());
        format.extend_from_slice(&(self.rate().saturating_mul(u32::from(self.frame_bytes()))).to_le_bytes());
        format.extend_from_slice(&self.frame_bytes().to_le_bytes());
        format.extend_from_slice(&(8 * self.encoding().bytes()).to_le_bytes());

        let mut header = Vec::with_capacity(80);
        // "WAVE", the format and the header of the data count towards the size of the RIFF chunk.
        if let Some(size) = u32::try_from(padded).ok().and_then(|padded| padded.checked_add(36)) {
            header.extend_from_slice(b"RIFF");
            header.extend_from_slice(&size.to_le_bytes());
            header.extend_from_slice(b"WAVE");
            header.extend_from_slice(&format);
            header.extend_from_slice(b"data");
            header.extend_from_slice(&(data as u32).to_le_bytes());
        } else {
            header.extend_from_slice(b"RF64");
            header.extend_from_slice(&u32::MAX.to_le_bytes());
            header.extend_from_slice(b"WAVEds64");
            header.extend_from_slice(&28_u32.to_le_bytes());
            header.extend_from_slice(&(padded + 72).to_le_bytes());
            header.extend_from_slice(&data.to_le_bytes());
            header.extend_from_slice(&self.len_samples().to_le_bytes());
            header.extend_from_slice(&0_u32.to_le_bytes());
            header.extend_from_slice(&format);
            header.extend_from_slice(b"data");
            header.extend_from_slice(&u32::MAX.to_le_bytes());
        }
        header
    }
}

fn encode(sample: i16, encoding: SampleEncoding, bytes: &mut Vec<u8>) {
    match encoding {
        SampleEncoding::Pcm8 => bytes.push(((sample >> 8) + 128) as u8),
        SampleEncoding::Pcm16 => bytes.extend_from_slice(&sample.to_le_bytes()),
        SampleEncoding::Pcm24 => {
            let [low, high] = sample.to_le_bytes();
            bytes.extend_from_slice(&[0, low, high]);
        }
        SampleEncoding::Pcm32 => bytes.extend_from_slice(&(i32::from(sample) << 16).to_le_bytes()),
        SampleEncoding::Float32 => {
            bytes.extend_from_slice(&(f32::from(sample) / 32_768.0).to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tone_speech::Pacing;
    use super::*;

    #[test]
    fn the_length_is_known_before_the_file_is_written() {
        for (channels, rate, millis) in [(1, 16_000, 1_000), (2, 44_100, 777), (1, 8_000, 3)] {
            for encoding in
                [SampleEncoding::Pcm8, SampleEncoding::Pcm16, SampleEncoding::Pcm24, SampleEncoding::Float32]
            {
                let speech = ToneSpeech::new(Duration::from_millis(millis))
                    .with_channels(channels)
                    .with_rate(rate)
                    .with_encoding(encoding);
                let mut file = Vec::new();
                assert_eq!(speech.write_wav(&mut file).unwrap(), file.len() as u64);
                let riff = u32::from_le_bytes(file[4..8].try_into().unwrap());
                assert_eq!(riff as usize + 8, file.len());
            }
        }
    }

    #[test]
    fn more_than_4_gib_have_64_bit_sizes() {
        let day = Duration::from_secs(86_400);
        let speech = ToneSpeech::new(day).with_rate(48_000).with_pacing(Pacing::Silent);
        let header = speech.header();
        assert_eq!(header.get(..4), Some(b"RF64".as_slice()));
        assert_eq!(speech.wav_len(), header.len() as u64 + 86_400 * 96_000);
        let riff = u64::from_le_bytes(header[20..28].try_into().unwrap());
        assert_eq!(riff + 8, speech.wav_len());
    }

    #[test]
    fn what_cannot_be_is_invalid_input() {
        let second = ToneSpeech::new(Duration::from_secs(1));
        for speech in
            [second.clone().with_channels(0), second.clone().with_rate(1), second.with_amplitude(2.0)]
        {
            let error = speech.write_wav(Vec::new()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
