//! Whether the process that opened a session still lives, proved by a lock that the operating system drops with it.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

/// At most so many processes share a database; those beyond are known to be dead by their heartbeats alone.
const MAX_SLOTS: i64 = 256;

/// The number of a lock file beside the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(i64);

impl Slot {
    pub(super) fn new(number: i64) -> Self {
        Self(number)
    }

    pub(super) fn get(self) -> i64 {
        self.0
    }
}

/// The lock of one store. While it lives, nobody else can have it; it ends with the process, however that ends.
///
/// SQLite in WAL mode is shared by the processes of one machine only, so a lock of that machine tells all.
#[derive(Debug)]
pub(super) struct Owner {
    slot: Slot,
    _locked: File,
}

impl Owner {
    /// Locks the first free slot; `None` if the file system has no locks, or all slots are taken.
    pub(super) fn acquire(database: &Path) -> Option<Self> {
        (1..=MAX_SLOTS).map(Slot).find_map(|slot| match lock(database, slot) {
            Attempt::Locked(file) => Some(Some(Self { slot, _locked: file })),
            Attempt::Taken => None,
            Attempt::Impossible => Some(None),
        })?
    }

    pub(super) fn slot(&self) -> Slot {
        self.slot
    }
}

/// The lock of an owner that is gone, held so that no new one takes its slot meanwhile.
#[derive(Debug)]
pub(super) struct GoneOwner {
    _locked: File,
}

/// Proves that an owner is gone; `None` if it lives, or nothing can be proved.
pub(super) fn gone(database: &Path, slot: Slot) -> Option<GoneOwner> {
    if !path(database, slot).exists() {
        return None;
    }
    match lock(database, slot) {
        Attempt::Locked(file) => Some(GoneOwner { _locked: file }),
        Attempt::Taken | Attempt::Impossible => None,
    }
}

enum Attempt {
    Locked(File),
    Taken,
    Impossible,
}

fn lock(database: &Path, slot: Slot) -> Attempt {
    let path = path(database, slot);
    let file = match OpenOptions::new().create(true).truncate(false).write(true).open(&path) {
        Ok(file) => file,
        Err(error) => {
            tracing::debug!(%error, path = %path.display(), "no lock file: dead workers are found by time alone");
            return Attempt::Impossible;
        }
    };
    match file.try_lock() {
        Ok(()) => Attempt::Locked(file),
        Err(TryLockError::WouldBlock) => Attempt::Taken,
        Err(TryLockError::Error(error)) => {
            tracing::debug!(%error, path = %path.display(), "no locks: dead workers are found by time alone");
            Attempt::Impossible
        }
    }
}

fn path(database: &Path, slot: Slot) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(format!("-queue-{}.lock", slot.0));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_gone_exactly_when_its_lock_is() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("queue.db");
        let first = Owner::acquire(&database).unwrap();
        let second = Owner::acquire(&database).unwrap();
        assert_ne!(first.slot(), second.slot());
        assert!(gone(&database, first.slot()).is_none());
        let slot = first.slot();
        drop(first);
        assert!(gone(&database, slot).is_some());
        assert!(gone(&database, Slot::new(77)).is_none(), "of a slot without a file nothing is known");
        assert_eq!(Owner::acquire(&database).unwrap().slot(), slot);
    }

    #[test]
    fn where_no_file_can_be_made_there_is_no_owner() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Owner::acquire(&folder.path().join("missing").join("queue.db")).is_none());
    }
}
