//! Where to cut: the least sum of harm and unevenness that keeps the limits, by dynamic programming.

use super::limits::keeps;
use crate::model::pause::PAUSE;
use crate::{
    Amount, AudioFile, ChunkSizeRecommendation, CutQuality, CutWindow, Limit, Pause, PauseMap, PlannedChunk,
    ProcessingError, SampleIndex, SampleSpan,
};

/// Pauses of each window that are weighed.
const CANDIDATES: usize = 5;

/// What is added where there is no real pause.
const NO_PAUSE_COST: f64 = 0.5;

/// What cutting without looking costs: more than anywhere that was looked at.
const BLIND_COST: f64 = 2.0;

/// How much an uneven length costs: a chunk 14 % off costs as much as a pause of likelihood 0.1.
const UNEVENNESS: f64 = 5.0;

/// A place for a cut, and what it costs.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: SampleIndex,
    cost: f64,
    quality: CutQuality,
}

/// The best way there to a place.
#[derive(Clone, Copy, Debug)]
struct Way {
    cost: f64,
    /// Which of the places before it.
    from: usize,
}

/// Chooses a place in each window.
pub(super) fn choose(
    file: &AudioFile,
    size: &ChunkSizeRecommendation,
    windows: &[CutWindow],
    found: &PauseMap,
) -> Result<Vec<PlannedChunk>, ProcessingError> {
    let mut chunks = Vec::with_capacity(size.ideal.len());
    let mut rest = size.ideal.as_slice();
    while let Some(first) = rest.first() {
        // The chunks of one span of what is to be done: all cuts between them are inside windows.
        let inner = |pair: &[SampleSpan]| match pair {
            [left, right] => left.end() == right.start() && window_at(windows, right.start()).is_some(),
            _ => false,
        };
        let run = 1 + rest.windows(2).take_while(|pair| inner(pair)).count();
        let (this, others) = rest.split_at(run);
        rest = others;
        let end = this.last().unwrap_or(first).end();
        let whole = SampleSpan::new(first.start(), end);
        chunks.extend(choose_in(file, size, whole, this, windows, found)?);
    }
    Ok(chunks)
}

fn window_at(windows: &[CutWindow], target: SampleIndex) -> Option<&CutWindow> {
    windows.binary_search_by_key(&target, |window| window.target).ok().and_then(|at| windows.get(at))
}

fn choose_in(
    file: &AudioFile,
    size: &ChunkSizeRecommendation,
    whole: SampleSpan,
    ideal: &[SampleSpan],
    windows: &[CutWindow],
    found: &PauseMap,
) -> Result<Vec<PlannedChunk>, ProcessingError> {
    let start = Place { at: whole.start(), cost: 0.0, quality: CutQuality::Pause };
    let mut stages = vec![vec![start]];
    let inner = ideal.iter().skip(1).filter_map(|span| window_at(windows, span.start()));
    stages.extend(inner.map(|window| places(file, window, found)));
    stages.push(vec![Place { at: whole.end(), ..start }]);
    let shortest = file.rate().samples_in(size.limits.min_duration).min(whole.len());
    let mut ways: Vec<Vec<Option<Way>>> = vec![vec![Some(Way { cost: 0.0, from: 0 })]];
    for ((before, here), span) in stages.iter().zip(stages.iter().skip(1)).zip(ideal) {
        let so_far = ways.last().map(Vec::as_slice).unwrap_or_default();
        let allowed = |part: SampleSpan, least: u64| part.len() >= least && keeps(file, &size.limits, part);
        let best = |least: u64| -> Vec<Option<Way>> {
            here.iter()
                .map(|place| best_way(before, so_far, place, *span, &|part| allowed(part, least)))
                .collect()
        };
        let mut next = best(shortest);
        if next.iter().all(Option::is_none) {
            // Only a plan that a limit forced below the shortest length comes here: the limit goes first.
            next = best(1);
        }
        if next.iter().all(Option::is_none) {
            return Err(too_small(file, size, *span));
        }
        ways.push(next);
    }
    let mut chunks = walk_back(&stages, &ways);
    overlap(file, size, whole, &mut chunks);
    Ok(chunks)
}

/// The places of a window: its best pauses, and the target itself.
fn places(file: &AudioFile, window: &CutWindow, found: &PauseMap) -> Vec<Place> {
    let mut pauses: Vec<Pause> = found.within(window.wide).to_vec();
    pauses.sort_by(|a, b| a.speech.total_cmp(&b.speech).then(a.at.cmp(&b.at)));
    pauses.truncate(CANDIDATES);
    let mut places: Vec<Place> = pauses
        .iter()
        .map(|pause| {
            let speech = f64::from(pause.speech.clamp(0.0, 1.0));
            if pause.speech < PAUSE {
                Place { at: pause.at, cost: speech, quality: CutQuality::Pause }
            } else {
                Place { at: pause.at, cost: speech + NO_PAUSE_COST, quality: CutQuality::Blind }
            }
        })
        .collect();
    // The start of the packet costs no pre-roll; the target itself is within the limits for certain.
    let packet = file.packet_start(window.target);
    let blind = |at, cost| Place { at, cost, quality: CutQuality::Blind };
    if window.wide.contains(packet) {
        places.push(blind(packet, BLIND_COST));
    }
    places.push(blind(window.target, BLIND_COST + 0.001));
    places
}

fn best_way(
    before: &[Place],
    ways: &[Option<Way>],
    here: &Place,
    ideal: SampleSpan,
    allowed: &dyn Fn(SampleSpan) -> bool,
) -> Option<Way> {
    let mut best: Option<Way> = None;
    for (from, (place, way)) in before.iter().zip(ways).enumerate() {
        let Some(way) = way else { continue };
        let part = SampleSpan::new(place.at, here.at);
        let off = (part.len() as f64 - ideal.len() as f64) / ideal.len().max(1) as f64;
        let cost = way.cost + here.cost + UNEVENNESS * off * off;
        if best.is_none_or(|best| cost < best.cost) && allowed(part) {
            best = Some(Way { cost, from });
        }
    }
    best
}

fn walk_back(stages: &[Vec<Place>], ways: &[Vec<Option<Way>>]) -> Vec<PlannedChunk> {
    let mut chunks = Vec::with_capacity(stages.len());
    let mut at = 0;
    let pairs = stages.iter().zip(stages.iter().skip(1)).zip(ways.iter().skip(1));
    for ((before, here), ways) in pairs.rev() {
        let Some((place, way)) = here.get(at).zip(ways.get(at).copied().flatten()) else { break };
        let Some(from) = before.get(way.from) else { break };
        chunks.push(PlannedChunk::new(SampleSpan::new(from.at, place.at), from.quality));
        at = way.from;
    }
    chunks.reverse();
    chunks
}

/// At blind cuts both chunks hear a little of the other, if the limits leave room for it.
fn overlap(file: &AudioFile, size: &ChunkSizeRecommendation, whole: SampleSpan, chunks: &mut [PlannedChunk]) {
    let by = file.rate().samples_in(size.blind_overlap);
    let blind: Vec<bool> = chunks.iter().map(|chunk| chunk.cut == CutQuality::Blind).collect();
    for (at, chunk) in chunks.iter_mut().enumerate() {
        let at_start = blind.get(at).is_some_and(|blind| *blind);
        let at_end = blind.get(at + 1).is_some_and(|blind| *blind);
        let start =
            if at_start { chunk.owned.start().minus(by).max(whole.start()) } else { chunk.owned.start() };
        let end = if at_end { chunk.owned.end().plus(by).min(whole.end()) } else { chunk.owned.end() };
        let wider = SampleSpan::new(start, end);
        if keeps(file, &size.limits, wider) {
            chunk.heard = wider;
        }
    }
}

fn too_small(file: &AudioFile, size: &ChunkSizeRecommendation, span: SampleSpan) -> ProcessingError {
    let limits = size.limits;
    let bytes = file.chunk_size(span);
    if bytes > limits.max_bytes {
        let limit = Limit::ChunkBytes(limits.max_bytes);
        return ProcessingError::LimitTooSmall { limit, needed: Amount::Bytes(bytes) };
    }
    let limit = Limit::ChunkDuration(limits.max_duration);
    let needed = file.rate().duration_of(file.whole_samples(span));
    ProcessingError::LimitTooSmall { limit, needed: Amount::Duration(needed) }
}
