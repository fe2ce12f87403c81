//! A private PostgreSQL in a temporary folder, run by an unprivileged user where we are root.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::children::{self, free_port};
use crate::install::{self, Program, find_or_install, postgres_folders};

const INITDB: Program = Program {
    name: "initdb",
    package: "postgresql",
    hint: "install PostgreSQL 14 or later (Debian: apt-get install postgresql; macOS: brew install postgresql), or set \
           DATABASE_URL to a database that the tests may write to, or start docs/compose.yml",
};

/// Starts PostgreSQL on a free port and gives its URL.
pub(crate) fn start(folder: &Path) -> Result<String> {
    let initdb = find_or_install(INITDB, &postgres_folders())?;
    let bin = initdb.parent().map(Path::to_path_buf).context("initdb has no folder")?;
    install_hypopg(&bin);
    let data = folder.join("postgres");
    std::fs::create_dir(&data)?;
    let user = if install::is_root() { Some(unprivileged_user()?) } else { None };
    if let Some(user) = user {
        std::os::unix::fs::chown(folder, Some(user.uid), Some(user.gid))?;
        std::os::unix::fs::chown(&data, Some(user.uid), Some(user.gid))?;
    }
    create_cluster(&initdb, &data, user)?;

    let port = free_port()?;
    let mut command = as_user(&bin.join("postgres"), user);
    command.arg("-D").arg(&data).args(["-p", &port.to_string(), "-k"]).arg(&data);
    // The data are thrown away at the end: what makes a commit survive a power cut would only cost time.
    let mut settings =
        vec!["fsync=off", "full_page_writes=off", "max_connections=300", "listen_addresses=127.0.0.1"];
    if library_folder(&bin).is_some_and(|folder| folder.join("pg_stat_statements.so").is_file()) {
        settings.push("shared_preload_libraries=pg_stat_statements");
    }
    for setting in settings {
        command.args(["-c", setting]);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::from(std::fs::File::create(folder.join("postgres.log"))?));
    let is_ready = bin.join("pg_isready");
    children::start("PostgreSQL", &mut command, Duration::from_secs(60), || {
        let status = Command::new(&is_ready)
            .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string(), "-d", "postgres"])
            .status();
        status.is_ok_and(|status| status.success())
    })?;
    Ok(format!("postgres://wavequill@127.0.0.1:{port}/postgres"))
}

#[derive(Clone, Copy, Debug)]
struct User {
    uid: u32,
    gid: u32,
}

/// PostgreSQL refuses to run as root.
fn unprivileged_user() -> Result<User> {
    let accounts = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| find_user(&accounts, name))
        .context("PostgreSQL refuses to run as root, and there is neither a user `postgres` nor `nobody`: run as another user")
}

fn find_user(accounts: &str, name: &str) -> Option<User> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        Some(User { uid: fields.nth(1)?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    })
}

fn as_user(program: &Path, user: Option<User>) -> Command {
    let mut command = Command::new(program);
    // The folder we were started in may be closed to that user.
    command.current_dir("/");
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    command
}

fn create_cluster(initdb: &Path, data: &Path, user: Option<User>) -> Result<()> {
    let output = as_user(initdb, user)
        .args([
            "--username=wavequill",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "-D",
        ])
        .arg(data)
        .stdin(Stdio::null())
        .output()
        .context("cannot run initdb")?;
    if !output.status.success() {
        bail!("initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Planning with indexes that do not exist needs an extension; its tests say so where it is missing.
fn install_hypopg(bin: &Path) {
    let installed = share_folder(bin).is_some_and(|folder| folder.join("extension/hypopg.control").is_file());
    if installed || !install::can_apt() {
        return;
    }
    let version = bin.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
    if version.parse::<u32>().is_ok() {
        install::apt_install(&[&format!("postgresql-{version}-hypopg")]);
    }
}

fn library_folder(bin: &Path) -> Option<PathBuf> {
    // Debian's layout has the libraries beside the programs; elsewhere pg_config knows.
    let beside = bin.parent()?.join("lib");
    if beside.join("plpgsql.so").is_file() { Some(beside) } else { pg_config(bin, "--pkglibdir") }
}

fn share_folder(bin: &Path) -> Option<PathBuf> {
    let version = bin.parent()?.file_name()?;
    let debian = Path::new("/usr/share/postgresql").join(version);
    if debian.is_dir() { Some(debian) } else { pg_config(bin, "--sharedir") }
}

fn pg_config(bin: &Path, what: &str) -> Option<PathBuf> {
    let output = Command::new(bin.join("pg_config")).arg(what).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let accounts =
            "root:x:0:0:root:/:/bin/sh\npostgres2:x:9:9::/:/bin/sh\npostgres:x:101:104::/:/bin/sh\n";
        let user = find_user(accounts, "postgres").unwrap();
        assert_eq!((user.uid, user.gid), (101, 104));
        assert!(find_user(accounts, "nobody").is_none());
    }
}
