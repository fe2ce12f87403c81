//! Stores values: durably first, then nearer.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use wavequill_kernel::InvalidValue;

use super::core::Core;
use super::counters::LevelCounters;
use super::reading::HEAVY;
use crate::envelope;
use crate::model::ValueParts;
use crate::ports::{Notice, TierPut, TierVerdict};
use crate::{
    CacheError, CacheKey, CacheLevel, CachePut, CacheValue, FlightResult, L1Verdict, LoadPermit, Outcome,
    PutOutcome, PutPolicy, StoreVerdict, Subject,
};

/// How much one round trip carries.
const BATCH: usize = 1_000;
const BATCH_BYTES: usize = 16 * 1024 * 1024;

/// A put that was found right.
#[derive(Debug)]
struct Prepared {
    key: CacheKey,
    value: CacheValue,
    permit: Option<LoadPermit>,
}

impl Core {
    pub(super) async fn put_many(&self, puts: Vec<CachePut>) -> Result<Vec<PutOutcome>, CacheError> {
        if let Some(error) = puts.iter().find_map(|put| self.refusal(put)) {
            // Who waits for these permits would only be refused as well, after paying for another load.
            puts.into_iter().filter_map(|put| put.permit).for_each(|permit| permit.fail(error.clone()));
            return Err(error);
        }
        self.freshen().await;
        let now = self.now();
        let mut prepared: Vec<_> = puts.into_iter().map(|put| self.prepare(put, now)).collect();
        let envelopes = self.seal(&prepared).await;
        let mut outcomes = Vec::with_capacity(prepared.len());
        let mut envelopes = envelopes.into_iter();
        while !prepared.is_empty() {
            let rest = prepared.split_off(batch_len(&prepared));
            let batch = std::mem::replace(&mut prepared, rest);
            let sealed = envelopes.by_ref().take(batch.len()).collect();
            match self.store(&batch, sealed, now).await {
                Ok(verdicts) => outcomes.append(&mut self.settle(batch, verdicts).await),
                Err(error) => {
                    self.keep_for_now(batch.into_iter().chain(prepared).collect());
                    return Err(error.into_not_durable());
                }
            }
        }
        Ok(outcomes)
    }

    /// What is wrong with a put, by the limits in force.
    fn refusal(&self, put: &CachePut) -> Option<CacheError> {
        let limit = self.config.max_value_bytes.as_bytes();
        let bytes = put.body.len() as u64;
        if bytes > limit {
            return Some(CacheError::ValueTooLarge { bytes, limit });
        }
        let max_ttl = self.config.max_ttl;
        if put.ttl.as_duration() > max_ttl {
            let given = format!("{:?}", put.ttl.as_duration());
            let source = InvalidValue::new("ttl", given, format!("at most `max_ttl` ({max_ttl:?})"));
            return Some(CacheError::InvalidTtl { source });
        }
        let counts = [
            ("labels", put.labels.len(), CachePut::MAX_LABELS),
            ("owners", put.owners.len(), CachePut::MAX_OWNERS),
        ];
        for (name, given, most) in counts {
            if given > most {
                let source = InvalidValue::new(name, given, format!("at most {most} an entry"));
                return Some(CacheError::InvalidValue { source });
            }
        }
        let permit_key = put.permit.as_ref().map(|permit| *permit.key());
        if permit_key.is_some_and(|key| key != put.key) {
            let source = InvalidValue::new("key", put.key, "the key of its permit");
            return Some(CacheError::InvalidKey { source });
        }
        None
    }

    fn prepare(&self, put: CachePut, now: SystemTime) -> Prepared {
        let ttl = match put.outcome {
            Outcome::Present => put.ttl.as_duration(),
            Outcome::Negative(_) => put.ttl.as_duration().min(self.config.negative_ttl),
        };
        let grace = put.stale_for.min(self.config.max_ttl.saturating_sub(ttl));
        let at = |after: Duration| now.checked_add(after).unwrap_or(now);
        let mut subjects = vec![
            Subject::of_key(&put.key),
            Subject::of_namespace(put.key.namespace()),
            Subject::everything(),
        ];
        subjects.extend(put.labels.iter().map(crate::Label::subject));
        subjects.extend(put.owners.iter().map(crate::Owner::subject));
        let value = CacheValue::from_parts(ValueParts {
            body: put.body,
            codec: put.codec,
            schema: put.schema,
            outcome: put.outcome,
            subjects: subjects.into(),
            owner_count: put.owners.len() as u8,
            cost: put.cost,
            policy: put.policy,
            created_at: now,
            expires_at: at(ttl),
            stale_until: at(ttl + grace),
        });
        Prepared { key: put.key, value, permit: put.permit }
    }

    /// Seals all, off the async threads if they are many or large.
    async fn seal(&self, prepared: &[Prepared]) -> Vec<Bytes> {
        let compress_from = self.config.compress_from.as_bytes();
        let seal_all = move |values: &[(CacheKey, CacheValue)]| {
            values
                .iter()
                .map(|(key, value)| envelope::seal(key, value, None, compress_from))
                .collect::<Vec<_>>()
        };
        let values: Vec<_> = prepared.iter().map(|put| (put.key, put.value.clone())).collect();
        if values.iter().map(|(_, value)| value.body().len()).sum::<usize>() < HEAVY {
            return seal_all(&values);
        }
        // It fails only while the runtime shuts down, when this future is going away as well.
        tokio::task::spawn_blocking(move || seal_all(&values)).await.unwrap_or_default()
    }

    async fn store(
        &self,
        batch: &[Prepared],
        sealed: Vec<Bytes>,
        now: SystemTime,
    ) -> Result<Vec<TierVerdict>, CacheError> {
        let puts = batch
            .iter()
            .zip(sealed)
            .map(|(put, envelope)| TierPut {
                key: put.key,
                subjects: put.value.hard_subjects().into(),
                owners: put.value.owner_subjects().into(),
                as_of: put.permit.as_ref().and_then(LoadPermit::as_of),
                policy: put.value.policy(),
                now,
                expires_at: put.value.expires_at(),
                keep_until: put.value.stale_until(),
                envelope,
            })
            .collect();
        let stored = self.ports.l3.put(puts).await;
        if stored.is_err() {
            self.metrics.level(CacheLevel::L3).put_error.increment(batch.len() as u64);
            LevelCounters::add(&self.counters(CacheLevel::L3).errors, batch.len() as u64);
        }
        stored
    }

    /// Brings what is durable nearer, and ends the flights.
    async fn settle(&self, batch: Vec<Prepared>, verdicts: Vec<TierVerdict>) -> Vec<PutOutcome> {
        let mut outcomes = Vec::with_capacity(batch.len());
        let (mut nearer, mut bumped) = (Vec::new(), None);
        for (put, stored) in batch.into_iter().zip(verdicts) {
            self.metrics.level(CacheLevel::L3).put(stored.verdict).increment(1);
            let l1 = match stored.verdict {
                StoreVerdict::Stored => {
                    if put.value.policy() == PutPolicy::Replace {
                        // The old value may be in memory, and the new one too heavy for it.
                        self.l1.remove(&put.key);
                        bumped = bumped.max_by_seq(stored.as_of);
                    }
                    nearer.push((put.key, put.value.clone(), stored.as_of));
                    self.keep(&put.key, &put.value, stored.as_of)
                }
                StoreVerdict::KeptExisting | StoreVerdict::Superseded => L1Verdict::NotOffered,
            };
            outcomes.push(PutOutcome { verdict: stored.verdict, l1 });
            if let Some(permit) = put.permit {
                self.fill(permit, stored.verdict, put.value);
            }
        }
        // One call to L2 for each position; puts of one batch nearly always share theirs.
        while let Some((.., as_of)) = nearer.first().cloned() {
            let (same, other): (Vec<_>, Vec<_>) = nearer.into_iter().partition(|(.., at)| *at == as_of);
            nearer = other;
            self.offer_to_l2(same.into_iter().map(|(key, value, _)| (key, value)).collect(), as_of).await;
        }
        if let Some(position) = bumped {
            self.ports.backplane.publish(Notice::Bumped(position)).await;
        }
        outcomes
    }

    fn fill(&self, permit: LoadPermit, verdict: StoreVerdict, value: CacheValue) {
        self.metrics.load_seconds.record(permit.elapsed().as_secs_f64());
        self.metrics.loads_ok.increment(1);
        permit.resolve(match verdict {
            StoreVerdict::Stored | StoreVerdict::KeptExisting => FlightResult::Filled(value),
            StoreVerdict::Superseded => FlightResult::Superseded(value),
        });
    }

    /// What could not be made durable serves this process for now.
    fn keep_for_now(&self, batch: Vec<Prepared>) {
        for put in batch {
            let as_of = put.permit.as_ref().and_then(LoadPermit::as_of).or_else(|| self.view.head());
            self.keep(&put.key, &put.value, as_of);
            if let Some(permit) = put.permit {
                self.fill(permit, StoreVerdict::Stored, put.value);
            }
        }
    }
}

/// How many of these one round trip takes: at least one.
fn batch_len(prepared: &[Prepared]) -> usize {
    let mut bytes = 0;
    let fitting = prepared.iter().take(BATCH).take_while(|put| {
        bytes += put.value.body().len();
        bytes <= BATCH_BYTES
    });
    fitting.count().max(1)
}

/// The later of two positions of one log.
trait Later {
    fn max_by_seq(self, other: Self) -> Self;
}

impl Later for Option<crate::LogPosition> {
    fn max_by_seq(self, other: Self) -> Self {
        [self, other].into_iter().flatten().max_by_key(|position| position.seq)
    }
}
