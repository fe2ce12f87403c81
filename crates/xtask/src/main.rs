//! Set-up, demo and tests of the workspace: `cargo xtask demo`, `cargo xtask test`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line speaks to its terminal")]
#![expect(clippy::disallowed_methods, reason = "a tool reads its environment and waits for processes")]

mod architecture;
mod children;
mod demo;
mod generate;
mod install;
mod postgres;
mod redis;
mod test;
mod whisper;
mod word_error_rate;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
usage: cargo xtask <command>

  demo           set up a local Whisper server, transcribe the bundled recording, then again from the cache
  test [ARGS]    start private Redis and PostgreSQL servers, run all tests, stop the servers
                 (ARGS go to `cargo nextest run`, e.g. `-p wavequill-queue`)
  generate       write the dashboard, the alert rules and the list of metrics from what the code describes
                 (with --check: fail if they differ from what is in docs/)
  architecture   check the dependency rules and the shape of the tree";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    children::stop_all_on_ctrl_c()?;
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    match command.as_str() {
        "demo" => demo::run(),
        "test" => test::run(&rest),
        "generate" => generate::run(&rest),
        "architecture" => architecture::run(),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        "" => bail!("no command\n{USAGE}"),
        other => bail!("unknown command `{other}`\n{USAGE}"),
    }
}

/// The root of the workspace.
fn root() -> Result<PathBuf> {
    // `cargo run` sets the variable to this package's folder; the workspace is two above.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").context("run it as `cargo xtask`")?;
    let root = PathBuf::from(package);
    root.ancestors().nth(2).map(PathBuf::from).context("this package is not in `crates/`")
}

/// Where cargo builds, whatever its configuration says.
fn target_dir() -> Result<PathBuf> {
    let metadata = architecture::metadata(&root()?)?;
    let folder = metadata.get("target_directory").and_then(serde_json::Value::as_str);
    folder.map(PathBuf::from).context("cargo metadata names no target directory")
}
