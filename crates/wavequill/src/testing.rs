//! For tests of services that embed wavequill: a speech API on loopback that hears every format wavequill sends.

use std::sync::Arc;

use bytes::Bytes;
use wavequill_external::AudioFormat;
use wavequill_external::testing::{DecodedAudio, SpeechApiSimulator};
use wavequill_processing::{
    self as processing, AudioDecoder, AudioSource, MemoryAudioSource, SampleReader, SymphoniaAudioDecoder,
};

/// A [`SpeechApiSimulator`] that decodes FLAC and MP3 besides WAV.
///
/// ```
/// use std::time::Duration;
/// use wavequill::external::testing::{ToneScore, ToneSpeech};
/// use wavequill::{Source, Wavequill, testing::speech_api_simulator};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = speech_api_simulator().start().await?;
/// let speech = ToneSpeech::new(Duration::from_secs(10));
/// let mut wav = Vec::new();
/// speech.write_wav(&mut wav)?;
///
/// let wavequill = Wavequill::builder().base_url(server.base_url()).build().await?;
/// let transcript = wavequill.transcribe(Source::bytes("tones.wav", wav)).await?.await?;
/// let score = ToneScore::of_text(speech.truth(), &transcript.text);
/// assert_eq!(score.errors(), 0);
/// # Ok(()) }
/// ```
pub fn speech_api_simulator() -> SpeechApiSimulator {
    let decoder = |format| {
        Arc::new(move |bytes: Bytes| decode(bytes, format))
            as Arc<dyn Fn(Bytes) -> Result<DecodedAudio, String> + Send + Sync>
    };
    SpeechApiSimulator::new()
        .with_decoder(AudioFormat::Flac, decoder(processing::AudioFormat::Flac))
        .with_decoder(AudioFormat::Mp3, decoder(processing::AudioFormat::Mp3))
}

fn decode(bytes: Bytes, format: processing::AudioFormat) -> Result<DecodedAudio, String> {
    let source: Arc<dyn AudioSource> = Arc::new(MemoryAudioSource::new("upload", bytes));
    let reader = SymphoniaAudioDecoder.open(source, format).map_err(|error| error.to_string())?;
    let channels = u16::try_from(reader.channels()).map_err(|error| error.to_string())?;
    let rate = reader.rate();
    Ok(DecodedAudio::from_blocks(rate, channels, Blocks(reader)))
}

/// The samples of a decoder, block by block.
struct Blocks(Box<dyn SampleReader>);

impl Iterator for Blocks {
    type Item = Result<Vec<i16>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut block = Vec::new();
        match self.0.read(&mut block) {
            Ok(true) => Some(Ok(block.iter().map(|sample| (sample * 32_767.0) as i16).collect())),
            Ok(false) => None,
            Err(error) => Some(Err(error.to_string())),
        }
    }
}
