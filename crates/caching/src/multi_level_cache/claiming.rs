//! Lets one caller of the fleet load what is missing: in this process by flights, between processes by leases.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, timeout};

use super::core::{Core, random_bytes};
use super::flights::{Leader, Next, Role, Waiter};
use super::reading::{Looked, Promotion};
use crate::ports::{LeaseAttempt, LeaseToken};
use crate::{
    CacheError, CacheKey, CacheLevel, CacheValue, Claim, FlightGuard, FlightResult, LoadPermit, LoadWait,
    Waited,
};

/// The first and the longest pause between two looks at another process's load, if no bus tells of its end.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Ends a flight as its permit ends.
#[derive(Debug)]
struct PermitGuard {
    core: Arc<Core>,
    leader: Option<Leader>,
}

impl FlightGuard for PermitGuard {
    fn resolve(mut self: Box<Self>, result: FlightResult) {
        let Some(leader) = self.leader.take() else { return };
        match result {
            FlightResult::Filled(ref value) => {
                if value.is_expired(self.core.now()) {
                    self.core.metrics.level(CacheLevel::L3).stale.increment(1);
                    self.core.metrics.loads_failed.increment(1);
                }
                leader.land(CacheLevel::L3, result);
            }
            FlightResult::Failed(_) => {
                self.core.metrics.loads_failed.increment(1);
                leader.land(CacheLevel::L3, result);
            }
            // Who waits may have begun after the invalidation: it must not get this value.
            FlightResult::Superseded(_) => drop(leader),
        }
    }
}

impl Drop for PermitGuard {
    fn drop(&mut self) {
        if self.leader.is_some() {
            self.core.metrics.loads_cancelled.increment(1);
        }
    }
}

impl Core {
    pub(super) async fn claim(self: &Arc<Self>, keys: &[CacheKey]) -> Result<Vec<Claim>, CacheError> {
        self.freshen().await;
        let mut claims: Vec<Option<Claim>> = Vec::with_capacity(keys.len());
        let mut leaders = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            claims.push(match self.get_local(key) {
                Some(value) => Some(Claim::Hit { level: CacheLevel::L1, value }),
                None => match self.flights.board(*key) {
                    Role::Waiter(waiter) => Some(Claim::Wait(self.wait_for(waiter))),
                    Role::Leader(leader) => {
                        leaders.push((at, leader));
                        None
                    }
                },
            });
        }
        for (at, claim) in self.claim_led(leaders).await? {
            if let Some(slot) = claims.get_mut(at) {
                *slot = Some(claim);
            }
        }
        // Each key was answered above: by memory, by a flight, or by what it led to.
        Ok(claims.into_iter().flatten().collect())
    }

    /// Answers for keys whose flights this call leads: by the levels below, else by a lease.
    async fn claim_led(
        self: &Arc<Self>,
        leaders: Vec<(usize, Leader)>,
    ) -> Result<Vec<(usize, Claim)>, CacheError> {
        let mut claims = Vec::with_capacity(leaders.len());
        let keys: Vec<_> = leaders.iter().map(|(_, leader)| leader.key()).collect();
        let looked = self.look_below(&keys).await?;
        let mut missing = Vec::new();
        for ((at, leader), looked) in leaders.into_iter().zip(looked) {
            match looked.found {
                Some((level, value)) => claims.push((at, land(leader, level, value))),
                None => missing.push((at, leader)),
            }
        }
        if missing.is_empty() {
            return Ok(claims);
        }
        let keys: Vec<_> = missing.iter().map(|(_, leader)| leader.key()).collect();
        let token = LeaseToken(random_bytes());
        let attempts = self.ports.leases.acquire(&keys, token, self.config.lease_ttl).await?;
        let mut leased = Vec::new();
        for ((at, leader), attempt) in missing.into_iter().zip(attempts) {
            match attempt {
                LeaseAttempt::Acquired => {
                    self.leases.keep(leader.key(), token);
                    leader.hold(token);
                    leased.push((at, leader));
                }
                LeaseAttempt::Held { .. } => {
                    claims.push((at, Claim::Wait(self.wait_for(leader.into_waiter()))));
                }
            }
        }
        // Once more, under the lease: somebody may have filled it between the look and the lease.
        let keys: Vec<_> = leased.iter().map(|(_, leader)| leader.key()).collect();
        let looked =
            if keys.is_empty() { Vec::new() } else { self.look_in_l3(&keys, Promotion::Nearer).await? };
        for ((at, leader), looked) in leased.into_iter().zip(looked) {
            claims.push((at, self.land_or_permit(leader, looked)));
        }
        Ok(claims)
    }

    fn land_or_permit(self: &Arc<Self>, leader: Leader, looked: Looked) -> Claim {
        if let Some((level, value)) = looked.found {
            return land(leader, level, value);
        }
        self.metrics.leaders.increment(1);
        Claim::Load(self.permit(leader, looked))
    }

    fn permit(self: &Arc<Self>, leader: Leader, looked: Looked) -> LoadPermit {
        let key = leader.key();
        let guard = PermitGuard { core: self.clone(), leader: Some(leader) };
        LoadPermit::guarded(key, Box::new(guard)).with_as_of(looked.as_of).with_stale(looked.stale)
    }

    fn wait_for(self: &Arc<Self>, waiter: Waiter) -> LoadWait {
        self.metrics.waiters.increment(1);
        let core = self.clone();
        let key = waiter.key();
        let wait = async move {
            let begun = Instant::now();
            let waited = match waiter.next().await {
                Next::Landed(level, FlightResult::Filled(value) | FlightResult::Superseded(value)) => {
                    Ok(Waited::Filled { level, value })
                }
                Next::Landed(_, FlightResult::Failed(error)) => Err(error),
                Next::Lead(leader) => core.follow(leader).await,
            };
            core.metrics.flight_wait_seconds.record(begun.elapsed().as_secs_f64());
            waited
        };
        LoadWait::new(key, wait.boxed())
    }

    /// Leads a flight whose load is, or was, somebody else's: until it ends, or can be taken over.
    async fn follow(self: &Arc<Self>, leader: Leader) -> Result<Waited, CacheError> {
        let key = leader.key();
        let token = leader.lease().unwrap_or_else(|| LeaseToken(random_bytes()));
        let mut pause = FIRST_LOOK;
        loop {
            let changed = leader.changed();
            let sign = changed.notified();
            tokio::pin!(sign);
            // Listening before looking: an end in between is not missed.
            sign.as_mut().enable();
            if let Some((level, value)) = self.look_again(&key).await?.found {
                leader.land(level, FlightResult::Filled(value.clone()));
                return Ok(Waited::Filled { level, value });
            }
            let attempt = self.ports.leases.acquire(&[key], token, self.config.lease_ttl).await?;
            match attempt.first() {
                Some(LeaseAttempt::Acquired) => break,
                Some(LeaseAttempt::Held { remaining }) => {
                    // A sign of its end, or time to look again; either way the next round finds out.
                    let _ = timeout(pause.min(*remaining).max(FIRST_LOOK / 4), sign).await;
                    pause = (pause * 2).min(LAST_LOOK);
                }
                None => {
                    return Err(CacheError::unavailable(
                        CacheLevel::L3,
                        "lease a key",
                        "no answer for the key",
                    ));
                }
            }
        }
        self.leases.keep(key, token);
        leader.hold(token);
        let looked = self.look_again(&key).await?;
        if let Some((level, value)) = looked.found {
            leader.land(level, FlightResult::Filled(value.clone()));
            return Ok(Waited::Filled { level, value });
        }
        self.metrics.takeovers.increment(1);
        Ok(Waited::TakeOver(self.permit(leader, looked)))
    }

    async fn look_again(&self, key: &CacheKey) -> Result<Looked, CacheError> {
        Ok(self
            .look_in_l3(std::slice::from_ref(key), Promotion::Nearer)
            .await?
            .into_iter()
            .next()
            .unwrap_or_default())
    }
}

fn land(leader: Leader, level: CacheLevel, value: CacheValue) -> Claim {
    leader.land(level, FlightResult::Filled(value.clone()));
    Claim::Hit { level, value }
}
