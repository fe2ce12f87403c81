//! The chunk sizer that plans for the least expected time, and cuts at pauses by dynamic programming.

mod cuts;
mod limits;
mod makespan;
mod shapes;

use std::time::Duration;

use self::limits::Fit;
use self::makespan::Workers;
use crate::{
    AudioFile, ByteSize, ChunkLimits, ChunkSizeRecommendation, ChunkSizer, ChunkSizerConfig,
    ConcurrencyLimit, CutWindow, PauseMap, PlannedChunk, ProcessingError, RecognizerProfile, SampleSpan,
    SizeReason, Times,
};

/// Plans of which the time differs by less than this part are equally fast.
const EQUALLY_FAST: f64 = 1.02;

/// Longer than most words.
const BLIND_OVERLAP: Duration = Duration::from_millis(1_500);

/// The chunk sizer that plans for the least expected time, and cuts at pauses.
///
/// ```
/// use wavequill_processing::{
///     AudioFile, ChunkSizer, ConcurrencyLimit, DynamicChunkSizer, MemoryAudioSource, RecognizerProfile,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), wavequill_processing::ProcessingError> {
/// # let mut wav = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\xff\xff\xff\xff".to_vec();
/// # wav.resize(44 + 8_000 * 2 * 600, 0);
/// let file = AudioFile::open(MemoryAudioSource::new("ten minutes", wav)).await?;
/// let size = DynamicChunkSizer::default().calculate_chunk_size(
///     &file,
///     &RecognizerProfile::default(),
///     ConcurrencyLimit::default(),
///     &[file.span()],
/// )?;
/// assert_eq!(size.chunk_count(), 8); // one for each request that may be in flight
/// # Ok(())
/// # }
/// ```
///
/// It weighs plans against each other: as few chunks as the limits allow, whole waves of as many chunks as may be in
/// flight, with shorter chunks at the end where request times vary, and as many as there may be. The time of each is
/// predicted from the recognizer's latency model; sizes come from the packets of each region, never from an average.
/// Cuts are moved to pauses so that limits hold and lengths stay near the plan.
///
/// Today it places cuts alike for all recognizers; for those without times ([`Times::None`](crate::Times::None)) a
/// later version cuts near content-defined anchors, so that an edit leaves other chunks as they were.
#[derive(Clone, Debug, Default)]
pub struct DynamicChunkSizer {
    config: ChunkSizerConfig,
}

impl DynamicChunkSizer {
    /// Checks the configuration.
    ///
    /// # Errors
    /// [`ProcessingError::InvalidConfig`] says which value was refused.
    pub fn new(config: ChunkSizerConfig) -> Result<Self, ProcessingError> {
        config.validate()?;
        Ok(Self { config })
    }
}

impl ChunkSizer for DynamicChunkSizer {
    fn calculate_chunk_size(
        &self,
        file: &AudioFile,
        profile: &RecognizerProfile,
        concurrency: ConcurrencyLimit,
        todo: &[SampleSpan],
    ) -> Result<ChunkSizeRecommendation, ProcessingError> {
        let todo: Vec<SampleSpan> = todo.iter().copied().filter(|span| !span.is_empty()).collect();
        let fit = Fit::new(file, profile);
        let least = fit.least_chunks(&todo)?;
        let min_duration = self.shortest(file, &todo, &least);
        let limits = ChunkLimits {
            max_bytes: profile.max_chunk_bytes,
            max_duration: profile.max_chunk_duration,
            min_duration,
        };
        let min_samples = file.rate().samples_in(min_duration).max(1);
        let workers = Workers::new(file, profile, concurrency, self.config.request_cost);
        let mut plans: Vec<Plan> = shapes::candidates(&todo, &least, min_samples, concurrency)
            .into_iter()
            .filter_map(|ideal| fit.repaired(ideal))
            .chain(fit.greedy(&todo))
            .map(|ideal| Plan { cost: workers.cost(&ideal), ideal })
            .collect();
        let best = plans.iter().map(|plan| plan.cost).fold(f64::INFINITY, f64::min);
        plans.retain(|plan| plan.cost <= best * EQUALLY_FAST);
        let target = self.config.target_chunk_duration.as_secs_f64();
        let chosen = plans.into_iter().min_by(|a, b| {
            let away = |plan: &Plan| (plan.mean_seconds(file) / target).max(target / plan.mean_seconds(file));
            away(a).total_cmp(&away(b)).then(a.cost.total_cmp(&b.cost))
        });
        let ideal = chosen.map(|plan| plan.ideal).unwrap_or_default();
        let longest = ideal.iter().map(|span| span.len()).max().unwrap_or(0);
        Ok(ChunkSizeRecommendation {
            duration: file.rate().duration_of(longest),
            size: ideal.iter().map(|span| file.chunk_size(*span)).max().unwrap_or(ByteSize::new(0)),
            estimated_duration: workers.makespan(&ideal),
            reason: reason(&ideal, &least, &fit, &workers),
            limits,
            // Without times nobody can tell which words both have heard.
            blind_overlap: if profile.times == Times::None { Duration::ZERO } else { BLIND_OVERLAP },
            ideal,
        })
    }

    fn cut_windows(
        &self,
        file: &AudioFile,
        size: &ChunkSizeRecommendation,
        todo: &[SampleSpan],
    ) -> Vec<CutWindow> {
        let near = file.rate().samples_in(self.config.cut_window);
        let wide = file.rate().samples_in(self.config.wide_cut_window);
        let pairs = size.ideal.iter().zip(size.ideal.iter().skip(1));
        let inner = pairs.filter(|(left, right)| {
            left.end() == right.start() && !todo.iter().any(|span| span.start() == right.start())
        });
        inner
            .map(|(left, right)| {
                let at = right.start();
                // Never over the middle of a neighbour, so that cuts keep their order.
                let around = |reach: u64| {
                    SampleSpan::new(at.minus(reach.min(left.len() / 2)), at.plus(reach.min(right.len() / 2)))
                };
                CutWindow { target: at, span: around(near), wide: around(wide) }
            })
            .collect()
    }

    fn split_into_chunks(
        &self,
        file: &AudioFile,
        size: &ChunkSizeRecommendation,
        todo: &[SampleSpan],
        found: &PauseMap,
    ) -> Result<Vec<PlannedChunk>, ProcessingError> {
        let windows = self.cut_windows(file, size, todo);
        cuts::choose(file, size, &windows, found)
    }
}

impl DynamicChunkSizer {
    /// The shortest chunk: as configured, unless limits force shorter ones.
    fn shortest(&self, file: &AudioFile, todo: &[SampleSpan], least: &[usize]) -> Duration {
        let forced = todo.iter().zip(least).filter(|(_, least)| **least > 1);
        let forced =
            forced.map(|(span, least)| file.rate().duration_of(span.len() / *least as u64 / 2)).min();
        forced.map_or(self.config.min_chunk_duration, |forced| forced.min(self.config.min_chunk_duration))
    }
}

struct Plan {
    ideal: Vec<SampleSpan>,
    cost: f64,
}

impl Plan {
    fn mean_seconds(&self, file: &AudioFile) -> f64 {
        let samples: u64 = self.ideal.iter().map(|span| span.len()).sum();
        samples as f64 / f64::from(file.rate().hertz()) / self.ideal.len().max(1) as f64
    }
}

fn reason(ideal: &[SampleSpan], least: &[usize], fit: &Fit<'_>, workers: &Workers) -> SizeReason {
    match ideal.len() {
        0 => SizeReason::Nothing,
        1 => SizeReason::OneChunk,
        n if n == least.iter().sum::<usize>() => fit.reason(ideal),
        n if workers.quota_decides(ideal, n) => SizeReason::Quota,
        _ => SizeReason::Makespan,
    }
}
