//! Who has a connection, where they asked for it, and since when.

use std::time::Duration;

use crate::Holder;
use crate::engine::pool_core::Asked;

/// A slab: keys are small and used again.
#[derive(Default)]
pub(crate) struct Holders {
    slots: Vec<Option<Held>>,
    free: Vec<usize>,
}

struct Held {
    asked: Asked,
    since: Duration,
    connection: u64,
    reported: bool,
}

impl Held {
    fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.since)
    }

    fn describe(&self, now: Duration) -> Holder {
        Holder { location: self.asked.location, purpose: self.asked.purpose, age: self.age(now) }
    }
}

impl Holders {
    pub(crate) fn insert(&mut self, asked: Asked, since: Duration, connection: u64) -> usize {
        let held = Some(Held { asked, since, connection, reported: false });
        let key = self.free.pop().unwrap_or(self.slots.len());
        match self.slots.get_mut(key) {
            Some(slot) => *slot = held,
            None => self.slots.push(held),
        }
        key
    }

    pub(crate) fn remove(&mut self, key: usize) {
        if let Some(slot) = self.slots.get_mut(key)
            && slot.take().is_some()
        {
            self.free.push(key);
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Held> {
        self.slots.iter().flatten()
    }

    pub(crate) fn connections(&self) -> impl Iterator<Item = u64> {
        self.iter().map(|held| held.connection)
    }

    /// Longest first.
    pub(crate) fn list(&self, now: Duration) -> Vec<Holder> {
        let mut holders: Vec<_> = self.iter().map(|held| held.describe(now)).collect();
        holders.sort_by_key(|holder| std::cmp::Reverse(holder.age));
        holders
    }

    pub(crate) fn of_task(&self, task: tokio::task::Id, now: Duration) -> Option<Holder> {
        self.iter().find(|held| held.asked.task == Some(task)).map(|held| held.describe(now))
    }

    /// Those that have been held for too long, each once.
    pub(crate) fn new_leaks(&mut self, now: Duration, leak_after: Duration) -> Vec<Holder> {
        let mut leaks = Vec::new();
        for held in self.slots.iter_mut().flatten() {
            if !held.reported && held.age(now) >= leak_after {
                held.reported = true;
                leaks.push(held.describe(now));
            }
        }
        leaks
    }
}
