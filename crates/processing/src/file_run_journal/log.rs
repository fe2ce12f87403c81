//! A file of checksummed records, appended to with one `fsync` for all that come together. It does not know what they
//! say.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

const MAGIC: &[u8; 4] = b"WQJ1";
/// A length and a checksum go before each body.
const FRAME: u64 = 8;

/// Where a body lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// What was being done when it failed, and why it did.
type Failed = (&'static str, Arc<io::Error>);

#[derive(Debug)]
pub(super) struct Log {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    file: Mutex<File>,
    pending: Mutex<Pending>,
    idle: Condvar,
    durable: watch::Sender<Durable>,
    syncs: AtomicU64,
}

#[derive(Debug)]
struct Pending {
    bytes: Vec<u8>,
    /// Where the file ends once `bytes` are written.
    end: u64,
    /// Whether somebody is writing, and will take `bytes` too.
    writing: bool,
}

/// How far the file is safe.
#[derive(Clone, Debug, Default)]
struct Durable {
    until: u64,
    failed: Option<Arc<io::Error>>,
}

impl Log {
    /// Opens the file, or makes one that begins with `header`. Gives each sound record to `visit`, until that says that
    /// it is none of ours: then the file starts anew. Blocks.
    pub(super) fn open(
        path: &Path,
        header: &[u8],
        mut visit: impl FnMut(Place, &[u8]) -> bool,
    ) -> Result<Self, Failed> {
        let opening = |error| ("open", Arc::new(error));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(opening)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                let why = "another process, or another run in this one, has it open";
                ("lock", Arc::new(io::Error::new(io::ErrorKind::WouldBlock, why)))
            }
            TryLockError::Error(error) => ("lock", Arc::new(error)),
        })?;
        let sound = sound_until(&file, &mut visit).map_err(opening)?;
        let end = match sound {
            Some(end) => end,
            None => start_anew(&mut file, header).map_err(|error| ("write", Arc::new(error)))?,
        };
        file.set_len(end).and_then(|()| file.sync_all()).map_err(|error| ("write", Arc::new(error)))?;
        sync_folder(path);
        let (durable, _) = watch::channel(Durable { until: end, failed: None });
        Ok(Self {
            shared: Arc::new(Shared {
                file: Mutex::new(file),
                pending: Mutex::new(Pending { bytes: Vec::new(), end, writing: false }),
                idle: Condvar::new(),
                durable,
                syncs: AtomicU64::new(0),
            }),
        })
    }

    /// Appends a record; returns when it is on the disk.
    pub(super) async fn append(&self, body: &[u8]) -> Result<Place, Arc<io::Error>> {
        let (place, must_write) = self.shared.push(body, true)?;
        if must_write {
            let writer = Writer(Arc::clone(&self.shared));
            // Bounded: it ends when nothing is pending, and `drop` waits for it.
            tokio::task::spawn_blocking(move || writer.write_all());
        }
        let mut durable = self.shared.durable.subscribe();
        let until = place.offset + place.len;
        let state = durable.wait_for(|state| state.failed.is_some() || state.until >= until).await;
        match state {
            Ok(state) if state.until >= until => Ok(place),
            Ok(state) => Err(state.failed.clone().unwrap_or_else(|| Arc::new(closed()))),
            Err(_) => Err(Arc::new(closed())),
        }
    }

    /// Appends a record some time: with the next one that is waited for.
    pub(super) fn push(&self, body: &[u8]) {
        // Nobody waits for it: what is wrong with the file shows at the next record that matters.
        let _ = self.shared.push(body, false);
    }

    /// Reads a body, or a part of one.
    pub(super) async fn read(&self, place: Place) -> Result<Vec<u8>, Arc<io::Error>> {
        let shared = Arc::clone(&self.shared);
        let read = tokio::task::spawn_blocking(move || {
            let mut file = lock(&shared.file);
            file.seek(SeekFrom::Start(place.offset))?;
            let mut bytes = Vec::new();
            (&mut *file).take(place.len).read_to_end(&mut bytes)?;
            if bytes.len() as u64 == place.len { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        });
        read.await.map_err(|error| Arc::new(io::Error::other(error)))?.map_err(Arc::new)
    }

    /// How often it has waited for the disk.
    #[cfg(test)]
    pub(super) fn syncs(&self) -> u64 {
        self.shared.syncs.load(Ordering::Relaxed)
    }
}

fn closed() -> io::Error {
    io::Error::other("the journal is closed")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Puts a record at the end of what is pending. Says whether the caller has to see to it that it is written.
    fn push(&self, body: &[u8], write: bool) -> Result<(Place, bool), Arc<io::Error>> {
        let too_long = || Arc::new(io::Error::new(io::ErrorKind::InvalidInput, "the record is over 4 GiB"));
        let len = u32::try_from(body.len()).map_err(|_| too_long())?;
        if let Some(failed) = &self.durable.borrow().failed {
            return Err(Arc::clone(failed));
        }
        let mut pending = lock(&self.pending);
        pending.bytes.extend(len.to_le_bytes());
        pending.bytes.extend(crc32c::crc32c(body).to_le_bytes());
        pending.bytes.extend_from_slice(body);
        let place = Place { offset: pending.end + FRAME, len: u64::from(len) };
        pending.end = place.offset + place.len;
        let must_write = write && !pending.writing;
        pending.writing |= must_write;
        Ok((place, must_write))
    }
}

/// Writes what is pending. However it ends, the next one who appends can write again.
struct Writer(Arc<Shared>);

impl Writer {
    fn write_all(&self) {
        loop {
            let (bytes, end) = {
                let mut pending = lock(&self.0.pending);
                if pending.bytes.is_empty() {
                    pending.writing = false;
                    self.0.idle.notify_all();
                    return;
                }
                (std::mem::take(&mut pending.bytes), pending.end)
            };
            let start = end - bytes.len() as u64;
            let written = write_at(&mut lock(&self.0.file), start, &bytes);
            self.0.syncs.fetch_add(1, Ordering::Relaxed);
            self.0.durable.send_modify(|durable| match written {
                Ok(()) => durable.until = end,
                Err(error) => durable.failed = Some(Arc::new(error)),
            });
            if self.0.durable.borrow().failed.is_some() {
                return;
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Also if the runtime ended before this one ran.
        lock(&self.0.pending).writing = false;
        self.0.idle.notify_all();
    }
}

fn write_at(file: &mut File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_data());
    if written.is_err() {
        // What is there of it would be cut as torn; a full disk has room again at once. If even that fails, it is cut
        // when the file is opened.
        let _ = file.set_len(offset);
    }
    written
}

impl Drop for Log {
    fn drop(&mut self) {
        // So that the file can be opened again at once: a write takes milliseconds.
        let mut pending = lock(&self.shared.pending);
        while pending.writing {
            pending = self.shared.idle.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        // The writer may hold the file a moment longer than it needs it. If this fails, closing unlocks.
        let _ = lock(&self.shared.file).unlock();
    }
}

/// Until where the records are sound; `None` if the file has to start anew.
fn sound_until(file: &File, visit: &mut impl FnMut(Place, &[u8]) -> bool) -> io::Result<Option<u64>> {
    let len = file.metadata()?.len();
    let mut from = BufReader::with_capacity(64 * 1024, file);
    let mut magic = Vec::new();
    from.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic)?;
    if !MAGIC.starts_with(&magic) {
        let why = "the file is no journal; name another one";
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    let mut end = magic.len() as u64;
    let mut any = false;
    let mut body = Vec::new();
    loop {
        let mut frame = [0; FRAME as usize];
        if end + FRAME > len || from.read_exact(&mut frame).is_err() {
            break;
        }
        let [l0, l1, l2, l3, c0, c1, c2, c3] = frame;
        let body_len = u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
        let place = Place { offset: end + FRAME, len: body_len };
        if place.offset + body_len > len {
            break;
        }
        body.clear();
        from.by_ref().take(body_len).read_to_end(&mut body)?;
        if body.len() as u64 != body_len || crc32c::crc32c(&body) != u32::from_le_bytes([c0, c1, c2, c3]) {
            break;
        }
        if !visit(place, &body) {
            return Ok(None);
        }
        any = true;
        end = place.offset + body_len;
    }
    Ok(any.then_some(end))
}

/// Empties the file and writes its beginning. Gives where it ends.
fn start_anew(file: &mut File, header: &[u8]) -> io::Result<u64> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend((header.len() as u32).to_le_bytes());
    bytes.extend(crc32c::crc32c(header).to_le_bytes());
    bytes.extend_from_slice(header);
    file.write_all(&bytes)?;
    Ok(bytes.len() as u64)
}

/// A new file survives a crash only if its folder is synced as well. Where that cannot be done, it is not needed.
fn sync_folder(path: &Path) {
    if let Some(folder) = path.parent().and_then(|folder| File::open(folder).ok()) {
        let _ = folder.sync_all();
    }
}
