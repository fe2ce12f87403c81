//! A private Redis in a temporary folder.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;

use crate::children::{self, free_port};
use crate::install::{Program, find_or_install};

const REDIS: Program = Program {
    name: "redis-server",
    package: "redis-server",
    hint: "install Redis (Debian: apt-get install redis-server; macOS: brew install redis), or set REDIS_URL to a \
           server that the tests may write to, or start docs/compose.yml",
};

/// Starts Redis without persistence on a free port and gives its URL.
pub(crate) fn start(folder: &Path) -> Result<String> {
    let program = find_or_install(REDIS, &[])?;
    let port = free_port()?;
    let mut command = Command::new(program);
    command
        .args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
        ])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    children::start("Redis", &mut command, Duration::from_secs(20), || answers_ping(port))?;
    Ok(format!("redis://127.0.0.1:{port}"))
}

fn answers_ping(port: u16) -> bool {
    let ping = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(&answer == b"+PONG")
    };
    ping().unwrap_or(false)
}
