//! The server processes that a command started: all of them are stopped at its end, also after Ctrl-C.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

static CHILDREN: Mutex<Vec<Server>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Server {
    name: &'static str,
    child: Child,
}

/// Stops every server and ends this process when the terminal or the system asks for it.
pub(crate) fn stop_all_on_ctrl_c() -> Result<()> {
    ctrlc::set_handler(|| {
        stop_all();
        std::process::exit(130);
    })
    .context("cannot watch for Ctrl-C")
}

/// Stops all servers when it goes out of scope. Make it after the folders that the servers write to.
#[derive(Debug)]
pub(crate) struct StopAtEnd;

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        stop_all();
    }
}

/// Starts a server and waits until `is_ready` says so.
///
/// # Errors
/// If it does not start, ends by itself, or is not ready within `patience`.
pub(crate) fn start(
    name: &'static str,
    command: &mut Command,
    patience: Duration,
    mut is_ready: impl FnMut() -> bool,
) -> Result<()> {
    let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    lock().push(Server { name, child });
    let started = Instant::now();
    while !is_ready() {
        if let Some(status) = ended(name)? {
            bail!("{name} ended while it started ({status})");
        }
        if started.elapsed() > patience {
            bail!("{name} did not answer within {patience:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Stops every server, the last started first, and waits for its end.
fn stop_all() {
    while let Some(mut server) = { lock().pop() } {
        // A server that has ended by itself needs no stopping.
        if let Ok(None) = server.child.try_wait() {
            terminate(&mut server);
        }
    }
}

/// A TCP port of the loopback interface that nobody listens on at the moment.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback")?;
    Ok(listener.local_addr()?.port())
}

fn terminate(server: &mut Server) {
    // SIGINT is a fast, clean shutdown for PostgreSQL, Redis and uvicorn alike.
    let asked = Command::new("kill").args(["-INT", &server.child.id().to_string()]).status();
    if asked.is_ok_and(|status| status.success()) {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(10) {
            if let Ok(Some(_)) = server.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    eprintln!("{} does not stop; killing it", server.name);
    if server.child.kill().is_ok() {
        // It was killed: the wait only takes its exit status away.
        let _status = server.child.wait();
    }
}

fn ended(name: &str) -> Result<Option<std::process::ExitStatus>> {
    match lock().iter_mut().find(|server| server.name == name) {
        Some(server) => Ok(server.child.try_wait()?),
        None => bail!("stopped while {name} started"),
    }
}

fn lock() -> std::sync::MutexGuard<'static, Vec<Server>> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}
