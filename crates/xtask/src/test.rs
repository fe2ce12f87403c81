//! `cargo xtask test`: all tests, with real servers started for them and stopped afterwards.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::children::StopAtEnd;
use crate::install::{self, Program, find_or_install};
use crate::{postgres, redis, root};

pub(crate) const PROMTOOL: Program = Program {
    name: "promtool",
    package: "prometheus",
    hint: "install Prometheus, which brings it (Debian: apt-get install prometheus; macOS: brew install prometheus)",
};

const CHROMIUM: Program = Program {
    name: "chromium",
    package: "chromium",
    hint: "install Chromium (Debian: apt-get install chromium; macOS: brew install chromium)",
};

const PGBOUNCER: Program = Program {
    name: "pgbouncer",
    package: "pgbouncer",
    hint: "install PgBouncer (Debian: apt-get install pgbouncer; macOS: brew install pgbouncer)",
};

pub(crate) fn run(args: &[String]) -> Result<()> {
    let started = Instant::now();
    // Outputs are read by those who will read them: a browser, and Prometheus's own checker.
    if args.is_empty() || args.iter().any(|arg| arg == "wavequill-monitoring") {
        for program in [PROMTOOL, CHROMIUM] {
            find_or_install(program, &[])?;
        }
    }
    if args.is_empty() || args.iter().any(|arg| arg == "wavequill-database") {
        find_or_install(PGBOUNCER, &["/usr/sbin".into()])?;
    }
    let folder =
        tempfile::Builder::new().prefix("wavequill-test-").tempdir().context("no temporary folder")?;
    let _servers = StopAtEnd;
    let redis = from_environment("REDIS_URL").map_or_else(|| redis::start(folder.path()), Ok)?;
    let database = from_environment("DATABASE_URL").map_or_else(|| postgres::start(folder.path()), Ok)?;
    println!("Redis at {}, PostgreSQL at {}", without_password(&redis), without_password(&database));

    let cargo = |first: &[&str], rest: &[String]| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .args(first)
            .args(rest)
            .current_dir(root()?)
            .env("WAVEQUILL_TEST_REDIS_URL", &redis)
            .env("WAVEQUILL_TEST_DATABASE_URL", &database);
        let status = command.status().with_context(|| format!("cannot run cargo {}", first.join(" ")))?;
        if status.success() { Ok(()) } else { bail!("`cargo {}` failed", first.join(" ")) }
    };
    let whole = args.is_empty();
    let scope: Vec<String> = if whole { vec!["--workspace".into()] } else { args.to_vec() };
    // Documentation first: the runner's summary is then the last thing printed.
    if whole {
        cargo(&["test", "--doc", "--all-features", "--quiet"], &scope)?;
    }
    if install::find("cargo-nextest", &[]).is_some() {
        cargo(&["nextest", "run", "--all-features"], &scope)?;
    } else {
        cargo(&["test", "--all-features", "--lib", "--bins", "--tests", "--examples"], &scope)?;
    }
    println!("all tests passed in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn from_environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|url| !url.is_empty())
}

/// A URL as it may be shown: without what stands between the user's name and the host.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "(not a URL)".to_owned() };
    let Some((credentials, host)) = rest.rsplit_once('@') else { return url.to_owned() };
    let user = credentials.split(':').next().unwrap_or_default();
    format!("{scheme}://{user}@{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(without_password("postgres://user:se@cret@host:5/db"), "postgres://user@host:5/db");
        assert_eq!(without_password("redis://127.0.0.1:1"), "redis://127.0.0.1:1");
        assert_eq!(without_password("secret"), "(not a URL)");
    }
}
