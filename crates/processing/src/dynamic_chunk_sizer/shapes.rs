//! The plans that are weighed against each other, as spans.

use crate::{ConcurrencyLimit, SampleSpan};

/// The last chunk of a tapered plan has this part of the first one's length.
const TAPERS: [f64; 4] = [1.0, 0.7, 0.5, 0.3];

/// Whole waves that are tried.
const WAVES: usize = 8;

/// Plans worth weighing: each a way to divide all of `todo`, none with a chunk under `min_samples` unless its span is.
pub(super) fn candidates(
    todo: &[SampleSpan],
    least: &[usize],
    min_samples: u64,
    concurrency: ConcurrencyLimit,
) -> Vec<Vec<SampleSpan>> {
    let lengths: Vec<u64> = todo.iter().map(|span| span.len()).collect();
    let fewest: usize = least.iter().sum();
    let most: usize = lengths.iter().zip(least).map(|(len, least)| most_of(*len, *least, min_samples)).sum();
    let n = concurrency.get();
    let mut counts = vec![fewest, fewest + 1, fewest + 2, most, n * fewest.div_ceil(n)];
    counts.extend((1..=WAVES).map(|waves| waves * n));
    counts.retain(|count| (fewest..=most).contains(count));
    counts.sort_unstable();
    counts.dedup();
    let mut plans: Vec<Vec<SampleSpan>> = Vec::new();
    for count in counts {
        let shares = share_out(&lengths, least, count, min_samples);
        for taper in TAPERS {
            // With one chunk a worker, or several spans, there is no last wave to shorten.
            if taper < 1.0 && (count <= n || todo.len() > 1) {
                break;
            }
            let divided = todo.iter().zip(&shares).map(|(span, chunks)| divide(*span, *chunks, n, taper));
            let plan: Vec<SampleSpan> = divided.flatten().collect();
            let too_short = taper < 1.0 && plan.iter().any(|span| span.len() < min_samples);
            if !too_short && !plans.contains(&plan) {
                plans.push(plan);
            }
        }
    }
    plans
}

fn most_of(len: u64, least: usize, min_samples: u64) -> usize {
    usize::try_from(len / min_samples).unwrap_or(usize::MAX).max(least)
}

/// How many chunks each span gets: one more, again and again, for the span whose chunks are longest.
fn share_out(lengths: &[u64], least: &[usize], count: usize, min_samples: u64) -> Vec<usize> {
    let mut shares = least.to_vec();
    if let [only] = shares.as_mut_slice() {
        *only = count;
        return shares;
    }
    let mut total: usize = shares.iter().sum();
    while total < count {
        let longest = lengths
            .iter()
            .zip(&shares)
            .zip(least)
            .enumerate()
            .filter(|(_, ((len, chunks), least))| **chunks < most_of(**len, **least, min_samples));
        let longest =
            longest.max_by_key(|(at, ((len, chunks), _))| (**len / **chunks as u64, usize::MAX - at));
        let Some((at, _)) = longest else { break };
        if let Some(share) = shares.get_mut(at) {
            *share += 1;
        }
        total += 1;
    }
    shares
}

/// Divides a span into `chunks` parts, equal but for the last two waves, which fall linearly to `taper`.
fn divide(span: SampleSpan, chunks: usize, n: usize, taper: f64) -> Vec<SampleSpan> {
    let tail = (2 * n).min(chunks.saturating_sub(1));
    // Whole numbers, so that equal parts differ by one sample at most.
    let fall = ((1.0 - taper) * 1_000.0) as u64;
    let weight = |at: usize| {
        let into_tail = (at + 1 + tail).saturating_sub(chunks) as u64;
        1_000 - (fall * into_tail).checked_div(tail as u64).unwrap_or(0)
    };
    let total: u64 = (0..chunks).map(weight).sum();
    let mut sum = 0;
    let mut start = span.start();
    let mut parts = Vec::with_capacity(chunks);
    for at in 0..chunks {
        sum += weight(at);
        let len = u128::from(span.len()) * u128::from(sum) / u128::from(total.max(1));
        // It is a part of the span's length, which is a u64.
        let end = span.start().plus(len as u64);
        parts.push(SampleSpan::new(start, end));
        start = end;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SampleIndex;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_plan_covers_all_and_no_chunk_is_too_short(
            lengths in proptest::collection::vec((1_u64..500_000, 0_u64..9), 1..5), n in 1_u16..20, min in 1_000_u64..9_000,
        ) {
            let mut at = 0;
            let todo: Vec<SampleSpan> = lengths.iter().map(|(len, gap)| {
                let start = at + gap;
                at = start + len;
                SampleSpan::new(SampleIndex::new(start), SampleIndex::new(at))
            }).collect();
            let least = vec![1; todo.len()];
            let plans = candidates(&todo, &least, min, ConcurrencyLimit::new(n).unwrap());
            prop_assert!(!plans.is_empty());
            for plan in plans {
                let mut rest = plan.iter().peekable();
                for span in &todo {
                    let mut next = span.start();
                    while let Some(part) = rest.next_if(|part| part.start() < span.end()) {
                        prop_assert_eq!(part.start(), next);
                        prop_assert!(part.len() >= min.min(span.len()), "{} of {}", part, span);
                        next = part.end();
                    }
                    prop_assert_eq!(next, span.end());
                }
                prop_assert!(rest.next().is_none());
            }
        }
    }
}
