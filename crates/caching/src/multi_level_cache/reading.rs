//! Looks keys up, level by level, and brings what it finds nearer.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use metrics::Counter;
use tokio::time::Instant;

use super::core::Core;
use super::counters::LevelCounters;
use super::second_level::NoAnswer;
use crate::envelope::{self, Damage, Opened};
use crate::log_view::Liveness;
use crate::metrics::LevelMetrics;
use crate::ports::{CacheTier, Removal, RemoveIf, TierPut};
use crate::{CacheError, CacheHitResult, CacheKey, CacheLevel, CacheValue, LogPosition, PutPolicy};

/// How many keys one round trip asks for.
const BATCH: usize = 1_000;
/// From here on, envelopes are opened and sealed off the async threads.
pub(super) const HEAVY: usize = 256 * 1024;
/// One L1 hit in this many is counted for the hot set, as as many.
const HOT_SAMPLE: u64 = 16;

/// Whether what is found is brought nearer at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promotion {
    Nearer,
    Stay,
}

/// What the levels below L1 know of one key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Looked {
    pub(crate) found: Option<(CacheLevel, CacheValue)>,
    /// A value past its end that may stand in for a failed load.
    pub(crate) stale: Option<CacheValue>,
    /// The log's head when L3 was asked.
    pub(crate) as_of: Option<LogPosition>,
}

impl Core {
    /// Looks in memory. No future, no allocation, no wait.
    pub(super) fn get_local(&self, key: &CacheKey) -> Option<CacheValue> {
        let metrics = self.metrics.level(CacheLevel::L1);
        let now = self.tick();
        if !self.view.is_fresh(now) {
            metrics.skipped.increment(1);
            return None;
        }
        let Some((value, nth)) = self.l1.get(key, now, &self.view) else {
            metrics.miss.increment(1);
            return None;
        };
        metrics.hit.increment(1);
        saved(metrics, &value);
        if nth % HOT_SAMPLE == 0 {
            self.heat(key, &value, HOT_SAMPLE);
        }
        Some(value)
    }

    /// Counts hits for the hot set. Whoever finds the counters in use leaves them to the other.
    fn heat(&self, key: &CacheKey, value: &CacheValue, hits: u64) {
        if let Some(mut hot) = self.hot.try_lock() {
            hot.add(*key, hits, value.cost().weight(), value.body().len() as u64);
        }
    }

    pub(super) async fn get_many(&self, keys: &[CacheKey]) -> Result<Vec<CacheHitResult>, CacheError> {
        self.freshen().await;
        let mut results = Vec::with_capacity(keys.len());
        let mut places: HashMap<CacheKey, Vec<usize>> = HashMap::new();
        let mut missing = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            if let Some(value) = self.get_local(key) {
                results.push(CacheHitResult::hit_l1(value));
                continue;
            }
            results.push(CacheHitResult::miss());
            let asked = places.entry(*key).or_default();
            if asked.is_empty() {
                missing.push(*key);
            }
            asked.push(at);
        }
        let looked = self.look_below(&missing).await?;
        for (key, looked) in missing.iter().zip(looked) {
            let Some((level, value)) = looked.found else { continue };
            for at in places.get(key).into_iter().flatten() {
                if let Some(result) = results.get_mut(*at) {
                    *result = CacheHitResult::hit(level, value.clone());
                }
            }
        }
        Ok(results)
    }

    /// Looks in L2, then in L3 for the rest.
    pub(super) async fn look_below(&self, keys: &[CacheKey]) -> Result<Vec<Looked>, CacheError> {
        let all = self.search(keys, Promotion::Nearer).await?;
        self.count_hits(keys, &all);
        Ok(all)
    }

    /// Looks in L2, then in L3 for the rest, and counts no hits.
    pub(crate) async fn search(
        &self,
        keys: &[CacheKey],
        promotion: Promotion,
    ) -> Result<Vec<Looked>, CacheError> {
        let mut all = Vec::with_capacity(keys.len());
        for batch in keys.chunks(BATCH) {
            let mut looked = self.look_in_l2(batch, promotion).await;
            let rest: Vec<_> = batch
                .iter()
                .zip(&looked)
                .filter(|(_, looked)| looked.found.is_none())
                .map(|(key, _)| *key)
                .collect();
            if !rest.is_empty() {
                let mut below = self.look_in_l3(&rest, promotion).await?.into_iter();
                for looked in looked.iter_mut().filter(|looked| looked.found.is_none()) {
                    *looked = below.next().unwrap_or_default();
                }
            }
            all.append(&mut looked);
        }
        Ok(all)
    }

    fn count_hits(&self, keys: &[CacheKey], looked: &[Looked]) {
        for (key, looked) in keys.iter().zip(looked) {
            let Some((level, value)) = &looked.found else {
                LevelCounters::add(&self.counters(CacheLevel::L3).misses, 1);
                self.metrics.level(CacheLevel::L3).miss.increment(1);
                continue;
            };
            let (counters, metrics) = (self.counters(*level), self.metrics.level(*level));
            LevelCounters::add(&counters.hits, 1);
            counters.save(value.cost());
            metrics.hit.increment(1);
            saved(metrics, value);
            self.heat(key, value, 1);
        }
    }

    /// Asks L2 for what this node can prove to be alive. It never fails: what L2 cannot say, L3 can.
    async fn look_in_l2(&self, keys: &[CacheKey], promotion: Promotion) -> Vec<Looked> {
        let mut looked = vec![Looked::default(); keys.len()];
        let Some(l2) = &self.l2 else { return looked };
        let (metrics, counters) = (self.metrics.level(CacheLevel::L2), self.counters(CacheLevel::L2));
        if !self.is_fresh() {
            metrics.skipped.increment(keys.len() as u64);
            return looked;
        }
        let begun = Instant::now();
        let read = l2.call(|| self.tick(), self.config.l2_get_timeout, l2.tier().get(keys)).await;
        record(metrics, begun);
        let envelopes = match read {
            Ok(read) => read.envelopes,
            Err(no_answer) => {
                self.count_no_answer(&no_answer, keys.len() as u64, &metrics.error);
                return looked;
            }
        };
        let now = self.now();
        for ((key, looked), opened) in keys.iter().zip(&mut looked).zip(self.open(keys, envelopes).await) {
            let alive = match opened {
                Some(Ok(opened)) if opened.value.is_expired(now) => None,
                Some(Ok(opened)) => (self.view.liveness(opened.value.subjects(), opened.as_of)
                    == Liveness::Alive)
                    .then_some(opened),
                Some(Err((damage, envelope))) => {
                    self.discard_damaged(&**l2.tier(), CacheLevel::L2, key, damage, envelope).await;
                    None
                }
                None => None,
            };
            if let Some(opened) = alive {
                if promotion == Promotion::Nearer {
                    self.keep(key, &opened.value, opened.as_of);
                }
                looked.as_of = opened.as_of;
                looked.found = Some((CacheLevel::L2, opened.value));
            } else {
                metrics.miss.increment(1);
                LevelCounters::add(&counters.misses, 1);
            }
        }
        looked
    }

    /// Asks L3, which knows what is alive.
    pub(super) async fn look_in_l3(
        &self,
        keys: &[CacheKey],
        promotion: Promotion,
    ) -> Result<Vec<Looked>, CacheError> {
        let (metrics, counters) = (self.metrics.level(CacheLevel::L3), self.counters(CacheLevel::L3));
        let begun = Instant::now();
        let read = self.ports.l3.get(keys).await;
        record(metrics, begun);
        let read = read.inspect_err(|_| {
            metrics.error.increment(keys.len() as u64);
            LevelCounters::add(&counters.errors, keys.len() as u64);
        })?;
        let now = self.now();
        let mut all = Vec::with_capacity(keys.len());
        let mut promoted = Vec::new();
        for (key, opened) in keys.iter().zip(self.open(keys, read.envelopes).await) {
            let mut looked = Looked { as_of: read.as_of, ..Looked::default() };
            match opened {
                Some(Ok(opened)) if !opened.value.is_expired(now) => {
                    if promotion == Promotion::Nearer {
                        self.keep(key, &opened.value, read.as_of);
                        promoted.push((*key, opened.value.clone()));
                    }
                    looked.found = Some((CacheLevel::L3, opened.value));
                }
                Some(Ok(opened)) if now < opened.value.stale_until() => looked.stale = Some(opened.value),
                Some(Err((damage, envelope))) => {
                    self.discard_damaged(&*self.ports.l3, CacheLevel::L3, key, damage, envelope).await;
                }
                Some(Ok(_)) | None => {}
            }
            all.push(looked);
        }
        self.offer_to_l2(promoted, read.as_of).await;
        Ok(all)
    }

    /// Opens envelopes, off the async threads if they are many or large.
    async fn open(
        &self,
        keys: &[CacheKey],
        envelopes: Vec<Option<Bytes>>,
    ) -> Vec<Option<Result<Opened, (Damage, Bytes)>>> {
        let max = self.config.max_value_bytes.as_bytes();
        let bytes: usize = envelopes.iter().flatten().map(Bytes::len).sum();
        let open_all = move |keys: &[CacheKey], envelopes: Vec<Option<Bytes>>| {
            let opened = |(key, envelope): (&CacheKey, Option<Bytes>)| {
                envelope.map(|bytes| envelope::open(key, &bytes, max).map_err(|damage| (damage, bytes)))
            };
            keys.iter().zip(envelopes).map(opened).collect::<Vec<_>>()
        };
        if bytes < HEAVY {
            return open_all(keys, envelopes);
        }
        let keys = keys.to_vec();
        // A blocking task ends in an error only if the runtime shuts down or it panics: then nothing was found out,
        // and the caller's future is going away as well.
        tokio::task::spawn_blocking(move || open_all(&keys, envelopes)).await.unwrap_or_default()
    }

    async fn discard_damaged(
        &self,
        tier: &dyn CacheTier,
        level: CacheLevel,
        key: &CacheKey,
        damage: Damage,
        envelope: Bytes,
    ) {
        self.metrics.level(level).corrupt.increment(1);
        LevelCounters::add(&self.counters(level).corrupt, 1);
        tracing::warn!(target: "wavequill::caching", %level, %damage, "a damaged entry is a miss, and removed");
        let removal = Removal { key: *key, condition: RemoveIf::Unchanged(envelope) };
        if let Err(error) = tier.remove(vec![removal]).await {
            tracing::warn!(target: "wavequill::caching", %level, %error, "a damaged entry was not removed");
        }
    }

    /// Gives L2 what L3 holds durably. What it does not take in time, it does not get.
    pub(super) async fn offer_to_l2(&self, values: Vec<(CacheKey, CacheValue)>, as_of: Option<LogPosition>) {
        let (Some(l2), Some(as_of)) = (&self.l2, as_of) else { return };
        let (metrics, counters) = (self.metrics.level(CacheLevel::L2), self.counters(CacheLevel::L2));
        let limit = self.config.l2_max_value_bytes.as_bytes();
        let (fitting, large): (Vec<_>, Vec<_>) =
            values.into_iter().partition(|(_, value)| value.body().len() as u64 <= limit);
        metrics.rejected.increment(large.len() as u64);
        LevelCounters::add(&counters.rejections, large.len() as u64);
        if fitting.is_empty() {
            return;
        }
        let (now, compress_from) = (self.now(), self.config.compress_from.as_bytes());
        let puts: Vec<_> = fitting
            .iter()
            .filter_map(|(key, value)| {
                let left = value.expires_at().duration_since(now).ok()?;
                let keep = left.min(jittered(self.config.l2_ttl, key));
                Some(TierPut {
                    key: *key,
                    subjects: Box::default(),
                    owners: Box::default(),
                    as_of: Some(as_of),
                    policy: PutPolicy::Replace,
                    now,
                    expires_at: value.expires_at(),
                    keep_until: now + keep,
                    envelope: envelope::seal(key, value, Some(as_of), compress_from),
                })
            })
            .collect();
        let count = puts.len() as u64;
        match l2.call(|| self.tick(), self.config.l2_put_timeout, l2.tier().put(puts)).await {
            Ok(_) => metrics.stored.increment(count),
            Err(no_answer) => self.count_no_answer(&no_answer, count, &metrics.put_error),
        }
    }

    fn count_no_answer(&self, no_answer: &NoAnswer, keys: u64, errors: &Counter) {
        match no_answer {
            NoAnswer::Skipped => self.metrics.level(CacheLevel::L2).skipped.increment(keys),
            NoAnswer::Failed(error) => {
                errors.increment(keys);
                LevelCounters::add(&self.counters(CacheLevel::L2).errors, keys);
                let error = error.as_ref().map_or("no answer in time".to_owned(), ToString::to_string);
                tracing::debug!(target: "wavequill::caching", error, "L2 failed: L3 answers");
            }
        }
    }
}

/// Up to a tenth less, by key: what was stored together does not expire together.
fn jittered(ttl: Duration, key: &CacheKey) -> Duration {
    let [first, second, ..] = *key.digest();
    let share = f64::from(u16::from_le_bytes([first, second])) / f64::from(u16::MAX);
    ttl.mul_f64(1.0 - 0.1 * share)
}

fn saved(metrics: &LevelMetrics, value: &CacheValue) {
    let cost = value.cost();
    if !cost.audio.is_zero() {
        metrics.saved_audio.record(cost.audio.as_secs_f64());
    }
    if cost.micro_dollars > 0 {
        metrics.saved_micro_dollars.increment(cost.micro_dollars);
    }
}

fn record(metrics: &LevelMetrics, begun: Instant) {
    if let Some(seconds) = &metrics.lookup_seconds {
        seconds.record(begun.elapsed().as_secs_f64());
    }
}
