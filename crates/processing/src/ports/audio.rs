//! Where audio comes from, and who can hear in it.

use std::fmt::{self, Debug};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use crate::{AudioFormat, ProcessingError};

/// Random access to the bytes of a recording.
///
/// Calls block; this crate makes them off the async threads.
///
/// # Contract
/// 1. The bytes at an offset never change, or [`check_unchanged`](Self::check_unchanged) fails from then on.
/// 2. Any number of threads may read at once.
pub trait AudioSource: Debug + Send + Sync + 'static {
    /// What it is called in messages, such as a path.
    fn name(&self) -> String;

    /// Its length in bytes, as it was when it was opened.
    fn len(&self) -> u64;

    /// Whether it has no byte at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads at most `buf.len()` bytes from `offset`; 0 only at the end or for an empty `buf`.
    ///
    /// # Errors
    /// What the medium says.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Fails if somebody has changed the bytes since it was opened.
    ///
    /// # Errors
    /// [`ProcessingError::SourceChanged`], or what the medium says.
    fn check_unchanged(&self) -> Result<(), ProcessingError> {
        Ok(())
    }
}

impl<T: AudioSource + ?Sized> AudioSource for Arc<T> {
    fn name(&self) -> String {
        (**self).name()
    }
    fn len(&self) -> u64 {
        (**self).len()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buf)
    }
    fn check_unchanged(&self) -> Result<(), ProcessingError> {
        (**self).check_unchanged()
    }
}

impl<T: AudioSource + ?Sized> AudioSource for Box<T> {
    fn name(&self) -> String {
        (**self).name()
    }
    fn len(&self) -> u64 {
        (**self).len()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buf)
    }
    fn check_unchanged(&self) -> Result<(), ProcessingError> {
        (**self).check_unchanged()
    }
}

/// A file, read by position (`pread`); nothing of it is held in memory.
///
/// It is not mapped: a mapped file that another process shortens would kill this one.
#[derive(Debug)]
pub struct FileAudioSource {
    file: File,
    path: PathBuf,
    len: u64,
    modified: Option<SystemTime>,
}

impl FileAudioSource {
    /// Opens the file; blocks for as long as that takes.
    ///
    /// # Errors
    /// [`ProcessingError::Read`] if there is no such regular file or it may not be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ProcessingError> {
        let path = path.as_ref();
        let failed = |error| ProcessingError::read(path.display().to_string(), error);
        let file = File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if meta.is_dir() {
            return Err(failed(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory")));
        }
        if !meta.is_file() {
            let what = "it is no regular file; copy a pipe or device to a file first";
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, what)));
        }
        Ok(Self { file, path: path.to_owned(), len: meta.len(), modified: meta.modified().ok() })
    }
}

impl AudioSource for FileAudioSource {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if offset >= self.len {
            return Ok(0);
        }
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::read_at(&self.file, buf, offset);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_read(&self.file, buf, offset);
    }

    fn check_unchanged(&self) -> Result<(), ProcessingError> {
        let meta = self.file.metadata().map_err(|error| ProcessingError::read(self.name(), error))?;
        if meta.len() == self.len && meta.modified().ok() == self.modified {
            return Ok(());
        }
        Err(ProcessingError::SourceChanged { what: self.name() })
    }
}

/// Bytes in memory.
#[derive(Clone)]
pub struct MemoryAudioSource {
    bytes: Bytes,
    name: Arc<str>,
}

impl MemoryAudioSource {
    /// The bytes, and what they are called in messages.
    pub fn new(name: impl Into<Arc<str>>, bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), name: name.into() }
    }
}

impl Debug for MemoryAudioSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryAudioSource").field("name", &self.name).field("len", &self.bytes.len()).finish()
    }
}

impl AudioSource for MemoryAudioSource {
    fn name(&self) -> String {
        self.name.to_string()
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.bytes.get(at..)).unwrap_or_default();
        let n = rest.len().min(buf.len());
        for (to, from) in buf.iter_mut().zip(rest) {
            *to = *from;
        }
        Ok(n)
    }
}

/// Turns audio files into samples. Calls block.
///
/// # Contract
/// 1. Every sample of the file is given once and in order; nothing is trimmed that the file does not say to trim.
/// 2. Damage gives an error or fewer samples, never a panic.
pub trait AudioDecoder: Debug + Send + Sync + 'static {
    /// Opens a whole file of the given format.
    ///
    /// # Errors
    /// [`ProcessingError::Decode`] or [`ProcessingError::UnsupportedFormat`].
    fn open(
        &self,
        file: Arc<dyn AudioSource>,
        format: AudioFormat,
    ) -> Result<Box<dyn SampleReader>, ProcessingError>;
}

/// Decoders that are asked in turn: the first that takes a file reads it.
#[derive(Clone, Debug)]
pub struct FirstAudioDecoder(Vec<Arc<dyn AudioDecoder>>);

impl FirstAudioDecoder {
    /// Decoders in the order in which they are asked.
    pub fn new(decoders: impl IntoIterator<Item = Arc<dyn AudioDecoder>>) -> Self {
        Self(decoders.into_iter().collect())
    }
}

impl AudioDecoder for FirstAudioDecoder {
    /// # Errors
    /// What the last one says.
    fn open(
        &self,
        file: Arc<dyn AudioSource>,
        format: AudioFormat,
    ) -> Result<Box<dyn SampleReader>, ProcessingError> {
        let mut failed = ProcessingError::unsupported(format!("no decoder reads {}", file.name()), "add one");
        for decoder in &self.0 {
            match decoder.open(Arc::clone(&file), format) {
                Ok(reader) => return Ok(reader),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

/// The samples of one file, block by block.
pub trait SampleReader: Debug + Send {
    /// Sample frames a second.
    fn rate(&self) -> u32;

    /// Samples a frame.
    fn channels(&self) -> usize;

    /// Appends the next block of interleaved samples, in -1 to 1, to `out`; `false` at the end.
    ///
    /// # Errors
    /// [`ProcessingError::Decode`] or [`ProcessingError::Read`].
    fn read(&mut self, out: &mut Vec<f32>) -> Result<bool, ProcessingError>;
}

/// Hears where somebody speaks. Calls block for about a thousandth of the audio's length.
///
/// # Contract
/// 1. It is deterministic: equal samples give equal answers.
pub trait VoiceDetector: Debug + Send + Sync + 'static {
    /// The probability (0 to 1) that somebody speaks, for each whole frame of 16 ms (256 samples) of `mono` at 16 kHz.
    fn probabilities(&self, mono: &[f32]) -> Vec<f32>;
}
