//! Writes a result whole or not at all: beside its place first, then moved there.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

/// Where one result goes.
#[derive(Debug)]
pub(crate) enum Output {
    /// The standard output.
    Stdout,
    /// What is there and is no regular file: a pipe, a terminal. Only there is no way to write it at once.
    Special { place: PathBuf },
    /// A file that takes its place once it is whole.
    File { place: PathBuf, unfinished: NamedTempFile },
}

impl Output {
    /// Opens the place of a result, so that a folder that is missing or closed to us is found before any work is done.
    pub(crate) fn open(place: Option<&Path>) -> Result<Self> {
        let Some(place) = place else { return Ok(Self::Stdout) };
        // A link stays a link: what it leads to is replaced.
        let resolved = place.canonicalize();
        let place = resolved.as_deref().unwrap_or(place);
        if place.is_dir() {
            bail!("cannot write {}: it is a folder; name a file in it", place.display());
        }
        if place.exists() && !place.is_file() {
            return Ok(Self::Special { place: place.to_owned() });
        }
        let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let unfinished = tempfile::Builder::new()
            .prefix(".transcribe-")
            .permissions(as_usual(place))
            .tempfile_in(folder)
            .with_context(|| {
                format!("cannot write to {}: is it there, and may you write to it?", folder.display())
            })?;
        Ok(Self::File { place: place.to_owned(), unfinished })
    }

    /// Writes the result.
    pub(crate) fn write(self, text: &str) -> Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = std::io::stdout().lock();
                let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
                written.context("cannot write to the standard output")
            }
            Self::Special { place } => {
                let written = File::options().write(true).open(&place).and_then(|mut file| {
                    file.write_all(text.as_bytes())?;
                    file.flush()
                });
                written.with_context(|| no_room(&place))
            }
            Self::File { place, mut unfinished } => {
                let hint =
                    || format!("cannot write {}: free some space or choose another place", place.display());
                unfinished.write_all(text.as_bytes()).with_context(hint)?;
                unfinished.as_file().sync_all().with_context(hint)?;
                unfinished.persist(&place).map_err(|error| error.error).with_context(hint)?;
                Ok(())
            }
        }
    }
}

fn no_room(place: &Path) -> String {
    format!("cannot write {}: free some space or choose another place", place.display())
}

/// The permissions of the file that is replaced, or those of any new file: what the user's mask leaves of rw-rw-rw-.
fn as_usual(place: &Path) -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(place).map_or(std::fs::Permissions::from_mode(0o666), |there| there.permissions())
}

/// Where the result of each recording goes: one file, or a file each in a folder.
pub(crate) fn places(
    output: Option<&Path>,
    audio: &[PathBuf],
    extension: &str,
) -> Result<Vec<Option<PathBuf>>> {
    let Some(output) = output else { return Ok(vec![None; audio.len()]) };
    if audio.len() == 1 && !output.is_dir() {
        return Ok(vec![Some(output.to_owned())]);
    }
    if !output.is_dir() {
        bail!("--output {} must be an existing folder for several recordings", output.display());
    }
    let mut places: Vec<Option<PathBuf>> = Vec::with_capacity(audio.len());
    for recording in audio {
        let name = recording.file_stem().with_context(|| format!("{} is no file", recording.display()))?;
        let mut place = output.join(name).into_os_string();
        place.push(".");
        place.push(extension);
        let place = PathBuf::from(place);
        if places.contains(&Some(place.clone())) {
            bail!("two recordings would both be written to {}: give them to two commands", place.display());
        }
        places.push(Some(place));
    }
    Ok(places)
}
