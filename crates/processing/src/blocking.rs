//! Reading and computing away from the async threads, ended when nobody waits for it any more.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{AudioSource, ProcessingError};

/// Runs `work` on tokio's blocking threads. If the future is dropped, `work` still ends by itself.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ProcessingError> + Send + 'static,
) -> Result<T, ProcessingError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(ProcessingError::read("a recording", io::Error::other(error))),
    }
}

/// Runs `work` on tokio's blocking threads with a view of `source` whose reads fail once the future has been dropped.
pub(crate) async fn read<T: Send + 'static>(
    source: Arc<dyn AudioSource>,
    work: impl FnOnce(&dyn AudioSource) -> Result<T, ProcessingError> + Send + 'static,
) -> Result<T, ProcessingError> {
    let stop = Arc::new(AtomicBool::new(false));
    let view = Stoppable { source, stop: Arc::clone(&stop) };
    let _stop_on_drop = StopOnDrop(stop);
    run(move || work(&view)).await
}

struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Stoppable {
    source: Arc<dyn AudioSource>,
    stop: Arc<AtomicBool>,
}

impl AudioSource for Stoppable {
    fn name(&self) -> String {
        self.source.name()
    }

    fn len(&self) -> u64 {
        self.source.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("nobody waits for it any more"));
        }
        self.source.read_at(offset, buf)
    }

    fn check_unchanged(&self) -> Result<(), ProcessingError> {
        self.source.check_unchanged()
    }
}
