//! Where a recording comes from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use wavequill_processing::{AudioSource, MemoryAudioSource};

/// Where a recording comes from.
///
/// A file is a job: it is finished whatever dies, and the same file is one job. What is in memory, or read by the
/// embedder's own [`AudioSource`], is transcribed in this process; its finished chunks are kept all the same, but two
/// that are asked for at the same time are both sent.
#[derive(Clone)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// Anything that can be read by position.
    Audio(Arc<dyn AudioSource>),
}

impl Source {
    /// A recording in memory, by the name that messages call it.
    pub fn bytes(name: impl Into<Arc<str>>, bytes: impl Into<Bytes>) -> Self {
        Self::Audio(Arc::new(MemoryAudioSource::new(name, bytes)))
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<&str> for Source {
    fn from(path: &str) -> Self {
        Self::File(path.into())
    }
}

impl From<String> for Source {
    fn from(path: String) -> Self {
        Self::File(path.into())
    }
}

impl From<Arc<dyn AudioSource>> for Source {
    fn from(source: Arc<dyn AudioSource>) -> Self {
        Self::Audio(source)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Audio(source) => f.debug_tuple("Audio").field(&source.name()).finish(),
        }
    }
}
