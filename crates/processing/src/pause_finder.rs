//! Finds where nobody speaks, by decoding short windows of a recording.

mod minima;
mod resample;

use std::sync::Arc;

use tokio::task::JoinSet;

use self::minima::{Frames, lowest};
use self::resample::{DETECTOR_RATE, Mono};
use crate::model::pause::PAUSE;
use crate::model::recipe::Cursor;
use crate::{
    AudioDecoder, AudioFile, AudioSource, CutWindow, MemoryAudioSource, Pause, PauseMap, ProcessingError,
    SampleIndex, SampleSpan, VoiceDetector, blocking,
};

/// The detector is fed this much before what is asked for, in milliseconds, so that it has settled.
const WARM_UP_MS: u64 = 600;

/// Samples of one of the detector's frames.
pub(crate) const FRAME: usize = 256;

/// Windows that are worked on at the same time.
const AT_ONCE: usize = 4;

/// The longest stretch that is held decoded, in seconds.
const STRETCH_SECONDS: u64 = 60;

/// Finds where nobody speaks, by decoding short windows of a recording on tokio's blocking threads.
#[derive(Clone, Debug)]
pub struct PauseFinder {
    decoder: Arc<dyn AudioDecoder>,
    detector: Arc<dyn VoiceDetector>,
}

impl PauseFinder {
    /// With that decoder and detector.
    pub fn new(decoder: Arc<dyn AudioDecoder>, detector: Arc<dyn VoiceDetector>) -> Self {
        Self { decoder, detector }
    }

    /// The best places of each window, at most five each. Where there is no pause within a window's `span`, its `wide`
    /// span is searched; where there is none either, the places are the least likely ones of speech.
    ///
    /// # Errors
    /// [`ProcessingError::Read`] or [`SourceChanged`](ProcessingError::SourceChanged). A window that cannot be
    /// decoded has no pauses: it is no reason not to send the audio.
    ///
    /// # Cancellation
    /// Dropping the future ends the reading.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn find(&self, file: &AudioFile, windows: &[CutWindow]) -> Result<PauseMap, ProcessingError> {
        let share = windows.len().div_ceil(AT_ONCE).max(1);
        let mut tasks = JoinSet::new();
        for share in windows.chunks(share) {
            let (finder, file, share) = (self.clone(), file.clone(), share.to_vec());
            tasks.spawn(async move {
                let source = Arc::clone(file.source());
                let find = move |reading: &dyn AudioSource| finder.find_here(&file, &share, reading);
                blocking::read(source, find).await
            });
        }
        let mut pauses = Vec::new();
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok(found) => pauses.extend(found?),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(error) => return Err(ProcessingError::read(file.name(), std::io::Error::other(error))),
            }
        }
        Ok(PauseMap::new(pauses))
    }

    /// How likely speech is in each 16 ms of `span`.
    ///
    /// # Errors
    /// As [`find`](Self::find), and [`ProcessingError::Decode`].
    ///
    /// # Cancellation
    /// As [`find`](Self::find).
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn listen(&self, file: &AudioFile, span: SampleSpan) -> Result<VoiceTrack, ProcessingError> {
        let (finder, file) = (self.clone(), file.clone());
        let source = Arc::clone(file.source());
        blocking::read(source, move |reading| finder.listen_here(&file, span, reading)).await
    }

    fn find_here(
        &self,
        file: &AudioFile,
        windows: &[CutWindow],
        reading: &dyn AudioSource,
    ) -> Result<Vec<Pause>, ProcessingError> {
        let mut all = Vec::new();
        for window in windows {
            let search = |span| match self.pauses_in(file, window.target, span, reading) {
                Err(ProcessingError::Decode { .. }) => Ok(Vec::new()),
                found => found,
            };
            let mut found = search(window.span)?;
            if window.wide != window.span && !found.iter().any(|pause| pause.speech < PAUSE) {
                found = search(window.wide)?;
            }
            all.extend(found);
        }
        Ok(all)
    }

    fn pauses_in(
        &self,
        file: &AudioFile,
        target: SampleIndex,
        span: SampleSpan,
        reading: &dyn AudioSource,
    ) -> Result<Vec<Pause>, ProcessingError> {
        let audio = self.decode(file, span, reading)?;
        let resampled = audio.to_detector_rate();
        let probabilities = self.detector.probabilities(&resampled);
        let frames = Frames::new(&probabilities, &resampled, &audio, span);
        Ok(lowest(&frames, target)
            .into_iter()
            .map(|(at, speech)| Pause { at: audio.quietest_start(file, at, span), speech })
            .collect())
    }

    fn listen_here(
        &self,
        file: &AudioFile,
        span: SampleSpan,
        reading: &dyn AudioSource,
    ) -> Result<VoiceTrack, ProcessingError> {
        let span = span.intersection(file.span());
        let mut track = VoiceTrack { span, frame: 0.0, probabilities: Vec::new() };
        let stretch = file.rate().hertz() as u64 * STRETCH_SECONDS;
        track.frame = FRAME as f64 * f64::from(file.rate().hertz()) / f64::from(DETECTOR_RATE);
        let mut at = span.start();
        while at < span.end() {
            let part = SampleSpan::new(at, at.plus(stretch)).intersection(span);
            let audio = self.decode(file, part, reading)?;
            let heard = self.detector.probabilities(&audio.to_detector_rate());
            // What was only heard to settle is dropped.
            let settled = (part.start().get() as i64 - audio.first) as f64 / track.frame;
            let frames = (part.len() as f64 / track.frame).ceil() as usize;
            track.probabilities.extend(heard.iter().skip(settled.round() as usize).take(frames));
            at = part.end();
        }
        Ok(track)
    }

    /// Decodes `span` and a little before it by cutting it out: what is sent later is made the same way.
    fn decode(
        &self,
        file: &AudioFile,
        span: SampleSpan,
        reading: &dyn AudioSource,
    ) -> Result<Mono, ProcessingError> {
        let warm_up = u64::from(file.rate().hertz()) * WARM_UP_MS / 1_000;
        let wanted = SampleSpan::new(span.start().minus(warm_up), span.end()).intersection(file.span());
        let cut = file.track().cut(wanted);
        let mut bytes = Vec::with_capacity(cut.recipe.content_length as usize);
        let mut cursor = Cursor::default();
        loop {
            let (piece, next) = cut
                .recipe
                .read(reading, cursor)
                .map_err(|error| ProcessingError::read(file.name(), error))?;
            if piece.is_empty() {
                break;
            }
            bytes.extend_from_slice(&piece);
            cursor = next;
        }
        let source = MemoryAudioSource::new(format!("{} at {wanted}", file.name()), bytes);
        let mut reader = self.decoder.open(Arc::new(source), file.chunk_format())?;
        let channels = reader.channels().max(1);
        let mut block = Vec::new();
        let mut mono = Mono { first: cut.first_sample, rate: file.rate(), samples: Vec::new() };
        loop {
            block.clear();
            if !reader.read(&mut block)? {
                break;
            }
            mono.samples.extend(
                block.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() / channels as f32),
            );
        }
        Ok(mono)
    }
}

/// How likely speech is along a stretch of a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct VoiceTrack {
    span: SampleSpan,
    /// Samples of the recording in each frame.
    frame: f64,
    probabilities: Vec<f32>,
}

impl VoiceTrack {
    /// The stretch.
    pub fn span(&self) -> SampleSpan {
        self.span
    }

    /// The probability of speech in each 16 ms of it.
    pub fn probabilities(&self) -> &[f32] {
        &self.probabilities
    }

    /// How many samples of the recording hold speech: those of frames with a probability of at least 0.5.
    pub fn speech_samples(&self) -> u64 {
        let frames = self.probabilities.iter().filter(|probability| **probability >= PAUSE).count();
        ((frames as f64 * self.frame) as u64).min(self.span.len())
    }
}
