//! Finds a program, or installs it where that is possible without asking.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// A program that a command needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    /// The file's name.
    pub(crate) name: &'static str,
    /// Debian's package that brings it.
    pub(crate) package: &'static str,
    /// What to tell who has to install it by hand.
    pub(crate) hint: &'static str,
}

/// The path of the program: from `folders`, the search path, or installed by the package manager as root on Debian.
///
/// # Errors
/// If it is not there and cannot be installed: the message says what to install.
pub(crate) fn find_or_install(program: Program, folders: &[PathBuf]) -> Result<PathBuf> {
    if let Some(found) = find(program.name, folders) {
        return Ok(found);
    }
    if can_apt() {
        apt_install(&[program.package]);
        // The folder of a version may be new.
        if let Some(found) = find(program.name, folders).or_else(|| find(program.name, &postgres_folders())) {
            return Ok(found);
        }
    }
    bail!("`{}` is missing: {}", program.name, program.hint)
}

/// The program in one of the folders or on the search path.
pub(crate) fn find(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders
        .iter()
        .cloned()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Where Debian, Fedora and Homebrew put PostgreSQL's programs, the newest version first.
pub(crate) fn postgres_folders() -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    let fixed = ["/usr/pgsql/bin", "/opt/homebrew/opt/postgresql/bin", "/usr/local/opt/postgresql/bin"];
    versions.into_iter().map(|(_, folder)| folder).chain(fixed.map(PathBuf::from)).collect()
}

/// Whether packages can be installed without asking: root on Debian or a descendant.
pub(crate) fn can_apt() -> bool {
    is_root() && Path::new("/usr/bin/apt-get").is_file()
}

/// Whether this process runs as root.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// Installs the packages; what fails shows in what is still missing afterwards.
pub(crate) fn apt_install(packages: &[&str]) {
    println!("installing {} with apt-get", packages.join(", "));
    let apt = |args: &[&str]| {
        let status = Command::new("apt-get")
            .args(["-qq", "-o", "Dpkg::Use-Pty=0"])
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // The package's own server must not start: private instances are started instead.
            .env("RUNLEVEL", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    };
    let install =
        |packages: &[&str]| apt(&[&["install", "-y", "--no-install-recommends"], packages].concat());
    // Without an up-to-date list of packages the first try may fail.
    let installed = install(packages) || (apt(&["update"]) && install(packages));
    if !installed {
        eprintln!("apt-get could not install {}", packages.join(", "));
    }
}
