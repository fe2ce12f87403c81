//! The state of alerts in one file, replaced as a whole.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::MonitoringError;
use crate::ports::{AlertStateStore, SavedState};

/// The format that is written; a newer one is set aside, not guessed at.
const VERSION: u32 = 1;

/// Keeps the state in a file of JSON: written beside it, flushed to the disk, then renamed over it.
///
/// A file that does not read is renamed to `<name>.damaged`, so that somebody can look at it.
#[derive(Clone, Debug)]
pub struct FileAlertStateStore {
    path: PathBuf,
}

impl FileAlertStateStore {
    /// In this file; its folder must exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    state: &'a SavedState,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Deserialize)]
struct Read {
    state: SavedState,
}

#[async_trait]
impl AlertStateStore for FileAlertStateStore {
    async fn load(&self) -> Result<Option<SavedState>, MonitoringError> {
        let path = self.path.clone();
        blocking("read", move || load(&path)).await
    }

    async fn save(&self, state: &SavedState) -> Result<(), MonitoringError> {
        let path = self.path.clone();
        let json = serde_json::to_vec(&Written { version: VERSION, state })
            .map_err(|error| failed("written", &error.to_string()))?;
        blocking("written", move || {
            replace(&path, &json).map_err(|error| failed("written", &format!("{}: {error}", path.display())))
        })
        .await
    }
}

fn failed(action: &'static str, reason: &str) -> MonitoringError {
    MonitoringError::StateStore { action, reason: reason.to_owned() }
}

async fn blocking<T: Send + 'static>(
    action: &'static str,
    work: impl FnOnce() -> Result<T, MonitoringError> + Send + 'static,
) -> Result<T, MonitoringError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(failed(action, &error.to_string())),
    }
}

fn load(path: &Path) -> Result<Option<SavedState>, MonitoringError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", &format!("{}: {error}", path.display()))),
    };
    let reason = match serde_json::from_slice::<Version>(&bytes) {
        Ok(Version { version: VERSION }) => match serde_json::from_slice::<Read>(&bytes) {
            Ok(read) => return Ok(Some(read.state)),
            Err(error) => error.to_string(),
        },
        Ok(Version { version }) => format!("version {version}"),
        Err(error) => error.to_string(),
    };
    let aside = beside(path, "damaged");
    fs::rename(path, &aside).map_err(|error| failed("read", &format!("{}: {error}", aside.display())))?;
    Err(MonitoringError::DamagedState { reason })
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = beside(path, "new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    // The rename itself must last, too.
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) if cfg!(unix) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}
