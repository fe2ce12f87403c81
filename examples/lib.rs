//! What the tests and the measurements of the examples share: the command line, run as a user runs it.
#![expect(clippy::disallowed_methods, reason = "a harness watches processes by the clock")]

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The built command line `transcribe`.
#[derive(Clone, Debug)]
pub struct Cli {
    program: PathBuf,
    folder: Option<PathBuf>,
}

/// What a run of a command came to.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// The most memory it had at a time, in bytes; `None` where the system does not tell.
    pub peak_bytes: Option<u64>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Cli {
    /// Finds the command that was built with the program that asks: beside it, or beside its folder.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it was not built.
    pub fn find() -> io::Result<Self> {
        Self::find_named("transcribe")
    }

    /// Finds another example in the same way.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it was not built.
    pub fn find_named(name: &str) -> io::Result<Self> {
        let own = std::env::current_exe()?;
        let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        let folders = own.ancestors().skip(1).take(2);
        let places = folders.flat_map(|folder| [folder.join(&name), folder.join("examples").join(&name)]);
        let program = places.into_iter().find(|place| place.is_file()).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "build it first: cargo build --examples")
        })?;
        Ok(Self { program, folder: None })
    }

    /// Where it is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Starts it in this folder instead of the caller's.
    #[must_use]
    pub fn in_folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Starts the command, free of the caller's own settings.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> io::Result<Running> {
        let started = Instant::now();
        let mut command = Command::new(&self.program);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let mut child = command
            .args(args)
            .env_remove("OPENAI_API_KEY")
            .env_remove("OPENAI_BASE_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        Ok(Running { child, stdout, stderr, started })
    }

    /// Runs the command to its end.
    ///
    /// # Errors
    /// If it cannot be started or waited for.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> io::Result<Ran> {
        self.start(args)?.wait()
    }
}

/// A command that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
    started: Instant,
}

impl Running {
    /// Whether it has ended by itself.
    ///
    /// # Errors
    /// What the system says.
    pub fn has_ended(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it as nothing can be ignored: SIGKILL.
    ///
    /// # Errors
    /// What the system says.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Waits for its end, and watches its memory until then.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(mut self) -> io::Result<Ran> {
        let mut peak_bytes = None;
        let status = loop {
            peak_bytes = peak_memory(self.child.id()).max(peak_bytes);
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let text = |reader: Option<JoinHandle<String>>| {
            reader.and_then(|reader| reader.join().ok()).unwrap_or_default()
        };
        let (stdout, stderr) = (text(self.stdout.take()), text(self.stderr.take()));
        Ok(Ran { status, stdout, stderr, peak_bytes, elapsed: self.started.elapsed() })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // It was not waited for: whoever started it has given up.
            let _gone = self.child.kill();
            let _status = self.child.wait();
        }
    }
}

fn collect(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What could be read until a broken pipe is what there is.
        let _broken = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The high-water mark of a process's memory; it never falls, so the last reading before its end counts.
fn peak_memory(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes * 1024)
}
