//! From an opened recording to chunks that can be sent: sizes, pauses, cuts, recipes and hashes.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use wavequill_kernel::ContentHash;

use crate::{
    AudioChunk, AudioFile, AudioSource, ChunkPlan, ChunkSizer, ConcurrencyLimit, PauseFinder, PauseMap,
    PlanKind, PlannedChunk, ProcessingError, RecognizerProfile, SampleSpan, blocking,
};

/// A recording shorter than this is taken as empty.
const SHORTEST: Duration = Duration::from_millis(100);

/// From an opened recording to chunks that can be sent.
///
/// ```no_run
/// use wavequill_processing::{AudioFile, ChunkPlanner, ConcurrencyLimit, RecognizerProfile};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let file = AudioFile::open_path("interview.mp3").await?;
/// let planner = ChunkPlanner::default();
/// let plan = planner.plan(&file, &RecognizerProfile::default(), ConcurrencyLimit::default()).await?;
/// for chunk in plan.chunks() {
///     let mut body = chunk.body();
///     while let Some(bytes) = body.next().await? {
///         // send them: chunk.content_length() in all
/// #       let _ = bytes;
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ChunkPlanner {
    sizer: Arc<dyn ChunkSizer>,
    finder: Option<PauseFinder>,
}

impl ChunkPlanner {
    /// With that sizer; without a finder of pauses all cuts are blind.
    pub fn new(sizer: impl ChunkSizer, finder: Option<PauseFinder>) -> Self {
        Self { sizer: Arc::new(sizer), finder }
    }

    /// The finder of pauses, for those who listen to a part again.
    pub fn finder(&self) -> Option<&PauseFinder> {
        self.finder.as_ref()
    }

    /// Plans the whole recording. It is decoded only around the cuts, and read once to know what each chunk holds.
    ///
    /// A recording shorter than 0.1 s has no chunks.
    ///
    /// # Errors
    /// [`ProcessingError::LimitTooSmall`], [`UnsupportedFormat`](ProcessingError::UnsupportedFormat) if the
    /// recognizer does not take the recording's format, [`Read`](ProcessingError::Read) or
    /// [`SourceChanged`](ProcessingError::SourceChanged).
    ///
    /// # Cancellation
    /// Dropping the future ends the reading.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn plan(
        &self,
        file: &AudioFile,
        profile: &RecognizerProfile,
        concurrency: ConcurrencyLimit,
    ) -> Result<ChunkPlan, ProcessingError> {
        self.plan_spans(file, profile, concurrency, &[file.span()]).await
    }

    /// Plans only `todo`: disjoint spans of the recording, in order. With a profile of narrower limits, this also
    /// splits a chunk that was too large.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    ///
    /// # Cancellation
    /// As [`plan`](Self::plan).
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn plan_spans(
        &self,
        file: &AudioFile,
        profile: &RecognizerProfile,
        concurrency: ConcurrencyLimit,
        todo: &[SampleSpan],
    ) -> Result<ChunkPlan, ProcessingError> {
        let format = file.chunk_format();
        if !profile.formats.contains(&format) {
            return Err(ProcessingError::unsupported(
                format!("{} is {format}, which the recognizer does not take", file.name()),
                "convert it to one of the formats that it takes",
            ));
        }
        let audible = file.duration() >= SHORTEST;
        let todo: Vec<SampleSpan> = todo
            .iter()
            .map(|span| span.intersection(file.span()))
            .filter(|span| audible && !span.is_empty())
            .collect();
        let size = self.sizer.calculate_chunk_size(file, profile, concurrency, &todo)?;
        let windows = self.sizer.cut_windows(file, &size, &todo);
        let found = match &self.finder {
            Some(finder) => finder.find(file, &windows).await?,
            None => PauseMap::default(),
        };
        let planned = self.sizer.split_into_chunks(file, &size, &todo, &found)?;
        let (chunks, fingerprint) = {
            let file = file.clone();
            let source = Arc::clone(file.source());
            blocking::read(source, move |reading| make(&file, &planned, reading)).await?
        };
        Ok(ChunkPlan { chunks, kind: PlanKind::Remux { format }, rate: file.rate(), size, fingerprint })
    }
}

fn make(
    file: &AudioFile,
    planned: &[PlannedChunk],
    reading: &dyn AudioSource,
) -> Result<(Vec<AudioChunk>, ContentHash), ProcessingError> {
    let mut hash = Sha256::new();
    let mut hashed = 0;
    let mut chunks = Vec::with_capacity(planned.len());
    for (index, planned) in planned.iter().enumerate() {
        let chunk = AudioChunk::make(file, index, *planned, reading)?;
        hash.update(chunk.owned().start().get().to_be_bytes());
        hash.update(chunk.owned().end().get().to_be_bytes());
        hash.update(chunk.content_hash().to_bytes());
        hashed += chunk.content_hash().len();
        chunks.push(chunk);
    }
    file.source().check_unchanged()?;
    Ok((chunks, ContentHash::new(hash.finalize().into(), hashed)))
}

#[cfg(all(feature = "symphonia", feature = "earshot"))]
impl Default for ChunkPlanner {
    /// [`DynamicChunkSizer`](crate::DynamicChunkSizer), symphonia, ropus with the feature of its name, and earshot.
    fn default() -> Self {
        let decoder: Arc<dyn crate::AudioDecoder> = Arc::new(crate::SymphoniaAudioDecoder);
        #[cfg(feature = "ropus")]
        let decoder = Arc::new(crate::FirstAudioDecoder::new([Arc::new(crate::RopusAudioDecoder), decoder]));
        let detector = Arc::new(crate::EarshotVoiceDetector);
        Self::new(crate::DynamicChunkSizer::default(), Some(PauseFinder::new(decoder, detector)))
    }
}
