//! Who of this process loads which key, and who waits. It knows tasks and wakes them; it stores nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::ports::LeaseToken;
use crate::{CacheKey, CacheLevel, FlightResult, Subject};

/// Called with a key and its token when a lease is no longer needed.
pub(super) type Release = Box<dyn Fn(CacheKey, LeaseToken) + Send + Sync>;

/// The loads of one process.
pub(super) struct Flights {
    table: Mutex<HashMap<Subject, Slot>>,
    release: Release,
}

#[derive(Debug)]
struct Slot {
    flight: Arc<Flight>,
    /// Whether a task leads: it loads, or follows another process's load.
    led: bool,
    waiters: usize,
    /// The lease, which passes from leader to leader.
    lease: Option<LeaseToken>,
}

#[derive(Debug, Default)]
struct Flight {
    outcome: OnceLock<(CacheLevel, FlightResult)>,
    changed: Arc<Notify>,
}

/// What a task that wants a key becomes.
#[derive(Debug)]
pub(super) enum Role {
    Leader(Leader),
    Waiter(Waiter),
}

/// The one task that leads a key's flight. Dropped without an outcome, the lead passes to a waiter.
pub(super) struct Leader {
    key: CacheKey,
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    landed: bool,
}

/// A task that waits for a key's flight.
pub(super) struct Waiter {
    key: CacheKey,
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    gone: bool,
}

/// How a wait went on.
#[derive(Debug)]
pub(super) enum Next {
    Landed(CacheLevel, FlightResult),
    Lead(Leader),
}

impl Flights {
    pub(super) fn new(release: Release) -> Arc<Self> {
        Arc::new(Self { table: Mutex::new(HashMap::new()), release })
    }

    /// Leads the key's flight, or joins it.
    pub(super) fn board(self: &Arc<Self>, key: CacheKey) -> Role {
        match self.table.lock().entry(Subject::of_key(&key)) {
            Entry::Vacant(vacant) => {
                let flight = Arc::new(Flight::default());
                vacant.insert(Slot { flight: flight.clone(), led: true, waiters: 0, lease: None });
                Role::Leader(Leader { key, flights: self.clone(), flight, landed: false })
            }
            Entry::Occupied(mut occupied) => {
                let slot = occupied.get_mut();
                slot.waiters += 1;
                let flight = slot.flight.clone();
                Role::Waiter(Waiter { key, flights: self.clone(), flight, gone: false })
            }
        }
    }

    /// Wakes who waits for these keys: elsewhere, their loads have ended.
    pub(super) fn wake(&self, subjects: &[Subject]) {
        let table = self.table.lock();
        for slot in subjects.iter().filter_map(|subject| table.get(subject)) {
            slot.flight.changed.notify_waiters();
        }
    }

    /// Wakes all who wait.
    pub(super) fn wake_all(&self) {
        self.table.lock().values().for_each(|slot| slot.flight.changed.notify_waiters());
    }

    fn give_back(&self, key: CacheKey, lease: Option<LeaseToken>) {
        if let Some(token) = lease {
            (self.release)(key, token);
        }
    }
}

impl Leader {
    pub(super) fn key(&self) -> CacheKey {
        self.key
    }

    /// Joins the own flight as a waiter, so that somebody else can lead it.
    pub(super) fn into_waiter(self) -> Waiter {
        if let Some(slot) = self.flights.table.lock().get_mut(&Subject::of_key(&self.key)) {
            slot.waiters += 1;
        }
        Waiter { key: self.key, flights: self.flights.clone(), flight: self.flight.clone(), gone: false }
    }

    /// The lease that came with the lead, if any.
    pub(super) fn lease(&self) -> Option<LeaseToken> {
        self.flights.table.lock().get(&Subject::of_key(&self.key)).and_then(|slot| slot.lease)
    }

    /// Keeps the lease with the flight.
    pub(super) fn hold(&self, token: LeaseToken) {
        if let Some(slot) = self.flights.table.lock().get_mut(&Subject::of_key(&self.key)) {
            slot.lease = Some(token);
        }
    }

    /// Ends the flight for all that wait, and gives the lease back.
    pub(super) fn land(mut self, level: CacheLevel, result: FlightResult) {
        self.landed = true;
        let slot = self.flights.table.lock().remove(&Subject::of_key(&self.key));
        if self.flight.outcome.set((level, result)).is_ok() {
            self.flight.changed.notify_waiters();
        }
        self.flights.give_back(self.key, slot.and_then(|slot| slot.lease));
    }

    /// Told when the key's load may have ended elsewhere.
    pub(super) fn changed(&self) -> Arc<Notify> {
        self.flight.changed.clone()
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if self.landed {
            return;
        }
        let mut table = self.flights.table.lock();
        let subject = Subject::of_key(&self.key);
        let Some(slot) = table.get_mut(&subject) else { return };
        if slot.waiters > 0 {
            slot.led = false;
            drop(table);
            self.flight.changed.notify_waiters();
        } else {
            let lease = table.remove(&subject).and_then(|slot| slot.lease);
            drop(table);
            self.flights.give_back(self.key, lease);
        }
    }
}

impl Waiter {
    pub(super) fn key(&self) -> CacheKey {
        self.key
    }

    /// Waits until the flight has landed, or its lead is free.
    pub(super) async fn next(mut self) -> Next {
        let (flight, changed) = (self.flight.clone(), self.flight.changed.clone());
        loop {
            let changed = changed.notified();
            tokio::pin!(changed);
            // Listening before looking: a change in between is not missed.
            changed.as_mut().enable();
            if let Some((level, result)) = flight.outcome.get() {
                return Next::Landed(*level, result.clone());
            }
            if self.takes_the_lead() {
                self.gone = true;
                let flights = self.flights.clone();
                return Next::Lead(Leader { key: self.key, flights, flight, landed: false });
            }
            changed.await;
        }
    }

    fn takes_the_lead(&self) -> bool {
        let mut table = self.flights.table.lock();
        let Some(slot) = table.get_mut(&Subject::of_key(&self.key)) else { return false };
        if slot.led || !Arc::ptr_eq(&slot.flight, &self.flight) {
            return false;
        }
        slot.led = true;
        slot.waiters -= 1;
        true
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.gone {
            return;
        }
        let mut table = self.flights.table.lock();
        let subject = Subject::of_key(&self.key);
        let Some(slot) = table.get_mut(&subject) else { return };
        if !Arc::ptr_eq(&slot.flight, &self.flight) {
            return;
        }
        slot.waiters -= 1;
        if slot.waiters == 0 && !slot.led {
            let lease = table.remove(&subject).and_then(|slot| slot.lease);
            drop(table);
            self.flights.give_back(self.key, lease);
        }
    }
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("open", &self.table.lock().len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Leader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leader").field("key", &self.key).finish_non_exhaustive()
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").field("key", &self.key).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "flights/tests.rs"]
mod tests;
