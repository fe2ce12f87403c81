//! The contracts of traits, as checks that any implementation can be put through. A broken sentence panics.

mod admission;
mod keeping;
mod orchestrator;
mod timestamp_adjuster;

use crate::{
    AudioFile, AudioSource, ChunkSizer, ConcurrencyLimit, PauseMap, PlannedChunk, ProcessingError,
    RecognizerProfile, SampleSpan,
};

pub use admission::admission;
pub use keeping::{reopened_journal, run_journal, transcript_store};
pub use orchestrator::orchestrator;
pub use timestamp_adjuster::timestamp_adjuster;

/// Puts a source that holds `bytes` through the contract of [`AudioSource`].
///
/// # Panics
/// If a sentence is broken.
pub fn audio_source(source: &dyn AudioSource, bytes: &[u8]) {
    assert_eq!(source.len(), bytes.len() as u64, "len() is the number of bytes");
    assert_eq!(source.is_empty(), bytes.is_empty(), "is_empty() agrees with len()");
    let mut read: Vec<u8> = Vec::new();
    let mut buf = [0; 1_000];
    loop {
        let n = source.read_at(read.len() as u64, &mut buf).unwrap_or(0);
        if n == 0 {
            break;
        }
        read.extend(buf.iter().take(n));
    }
    assert_eq!(read, bytes, "reading on and on gives all bytes, and 0 only at the end");
    for beyond in [bytes.len() as u64, bytes.len() as u64 + 1, u64::MAX] {
        assert_eq!(source.read_at(beyond, &mut buf).ok(), Some(0), "there is nothing at {beyond}");
    }
    assert!(source.check_unchanged().is_ok(), "nobody has changed it");
}

/// Puts a sizer through sentences 1 to 4 and 6 of its contract for one case; gives the plan for further looks.
///
/// # Errors
/// What the sizer says: which of its errors is right depends on the case.
///
/// # Panics
/// If a sentence is broken.
pub fn chunk_sizer(
    sizer: &dyn ChunkSizer,
    file: &AudioFile,
    profile: &RecognizerProfile,
    concurrency: ConcurrencyLimit,
    todo: &[SampleSpan],
    found: &PauseMap,
) -> Result<Vec<PlannedChunk>, ProcessingError> {
    let size = sizer.calculate_chunk_size(file, profile, concurrency, todo)?;
    let plan = sizer.split_into_chunks(file, &size, todo, found)?;
    let mut chunks = plan.iter().peekable();
    for span in todo.iter().filter(|span| !span.is_empty()) {
        let mut next = span.start();
        while let Some(chunk) = chunks.next_if(|chunk| chunk.owned.start() < span.end()) {
            assert_eq!(chunk.owned.start(), next, "1: owned spans follow each other without gap or overlap");
            assert!(!chunk.owned.is_empty(), "1: no chunk is empty");
            assert!(
                chunk.owned.len() >= file.rate().samples_in(size.limits.min_duration).min(span.len()),
                "4: {} is shorter than {:?}",
                chunk.owned,
                size.limits.min_duration
            );
            next = chunk.owned.end();
        }
        assert_eq!(next, span.end(), "1: what is to be done is covered");
    }
    assert!(chunks.next().is_none(), "1: nothing else is planned");
    for chunk in &plan {
        let heard = chunk.heard;
        assert_eq!(heard.intersection(chunk.owned), chunk.owned, "1: what is owned is sent");
        let bytes = file.chunk_size(heard);
        assert!(bytes <= profile.max_chunk_bytes, "2: {heard} has {bytes}");
        let duration = file.rate().duration_of(file.whole_samples(heard));
        assert!(duration <= profile.max_chunk_duration, "2: {heard} lasts {duration:?}");
    }
    let again = sizer.calculate_chunk_size(file, profile, concurrency, todo)?;
    assert_eq!(again, size, "3: the same input gives the same size");
    assert_eq!(
        sizer.split_into_chunks(file, &again, todo, found)?,
        plan,
        "3: the same input gives the same plan"
    );
    let longest = plan.iter().map(|chunk| chunk.owned.len()).max().map_or(0.0, |samples| {
        file.rate().duration_of(samples).as_secs_f64() * profile.latency.per_audio_second
    });
    // Cuts move by some seconds, so the plan's own longest chunk is a bound with room.
    let expected = size.estimated_duration.as_secs_f64();
    assert!(expected >= longest * 0.5, "6: {expected} s cannot be enough for a chunk that takes {longest} s");
    if let Some(quota) = profile.quota {
        let waiting = size.chunk_count().saturating_sub(quota.burst.max(1) as usize) as f64;
        let least = waiting * 60.0 / quota.per_minute;
        assert!(expected >= least, "6: the quota alone needs {least} s, not {expected} s");
    }
    Ok(plan)
}
