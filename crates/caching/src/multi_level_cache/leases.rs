//! Keeps leases while their loads run, and gives them back after. One task per cache works through it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::metrics::CacheMetrics;
use crate::ports::{Backplane, LeaseStore, LeaseToken, Notice};
use crate::{CacheKey, Subject};

/// The leases of one process: at most one a key that is being loaded.
#[derive(Debug, Default)]
pub(super) struct Leases {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    held: HashMap<Subject, (CacheKey, LeaseToken)>,
    over: Vec<(CacheKey, LeaseToken)>,
}

impl Leases {
    /// Renews this lease from now on.
    pub(super) fn keep(&self, key: CacheKey, token: LeaseToken) {
        self.state.lock().held.insert(Subject::of_key(&key), (key, token));
    }

    /// Gives this lease back soon.
    pub(super) fn finish(&self, key: CacheKey, token: LeaseToken) {
        let mut state = self.state.lock();
        state.held.remove(&Subject::of_key(&key));
        state.over.push((key, token));
        drop(state);
        self.changed.notify_one();
    }

    /// Works until it is dropped.
    pub(super) async fn run(
        self: Arc<Self>,
        store: Arc<dyn LeaseStore>,
        backplane: Arc<dyn Backplane>,
        metrics: Arc<CacheMetrics>,
        ttl: Duration,
    ) {
        let mut renewal = Instant::now() + ttl / 3;
        loop {
            tokio::select! {
                () = self.changed.notified() => self.give_back(&*store, &*backplane).await,
                () = sleep_until(renewal) => {
                    renewal = Instant::now() + ttl / 3;
                    self.renew(&*store, &metrics, ttl).await;
                }
            }
        }
    }

    /// Gives back what is over, and tells who may wait for it elsewhere.
    pub(super) async fn give_back(&self, store: &dyn LeaseStore, backplane: &dyn Backplane) {
        let over = std::mem::take(&mut self.state.lock().over);
        if over.is_empty() {
            return;
        }
        let subjects = over.iter().map(|(key, _)| Subject::of_key(key)).collect();
        for (token, keys) in by_token(over) {
            // A lease that cannot be given back ends by itself.
            if let Err(error) = store.release(&keys, token).await {
                tracing::debug!(target: "wavequill::caching", %error, "leases end by themselves");
            }
        }
        backplane.publish(Notice::Ended(subjects)).await;
    }

    async fn renew(&self, store: &dyn LeaseStore, metrics: &CacheMetrics, ttl: Duration) {
        let held: Vec<_> = self.state.lock().held.values().copied().collect();
        for (token, keys) in by_token(held) {
            match store.renew(&keys, token, ttl).await {
                Ok(renewed) => {
                    let lost = keys.iter().zip(renewed).filter(|(_, renewed)| !renewed).map(|(key, _)| key);
                    for key in lost {
                        metrics.leases_lost.increment(1);
                        self.forget(key, token);
                    }
                }
                Err(error) => {
                    tracing::warn!(target: "wavequill::caching", %error, "leases were not renewed");
                }
            }
        }
    }

    fn forget(&self, key: &CacheKey, token: LeaseToken) {
        let mut state = self.state.lock();
        let subject = Subject::of_key(key);
        if state.held.get(&subject).is_some_and(|(_, held)| *held == token) {
            state.held.remove(&subject);
        }
    }
}

fn by_token(leases: Vec<(CacheKey, LeaseToken)>) -> HashMap<LeaseToken, Vec<CacheKey>> {
    let mut by_token = HashMap::<_, Vec<_>>::new();
    for (key, token) in leases {
        by_token.entry(token).or_default().push(key);
    }
    by_token
}
