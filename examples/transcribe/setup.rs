//! From the command line to a service.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use wavequill::external::testing::{SimulatorHandle, ToneSpeech};
use wavequill::external::{BaseUrl, PlainHttp};
use wavequill::testing::speech_api_simulator;
use wavequill::{CacheUse, Gaps, TranscribeOptions, Wavequill, WavequillBuilder};

use crate::args::{Args, Concurrency};

/// The service that the arguments ask for, and the simulator that it speaks to, if it does.
pub(crate) async fn service(args: &Args) -> Result<(Wavequill, Option<SimulatorHandle>)> {
    let simulator = if args.simulate { Some(simulator().await?) } else { None };
    let builder = match &simulator {
        Some(simulator) => {
            eprintln!("transcribe: using the built-in simulator, which understands tone-coded audio only");
            Wavequill::builder().base_url(simulator.base_url()).provider("simulator")
        }
        None => with_api(args)?,
    };
    let store = args.store.clone().map_or_else(data_folder, Ok)?;
    let mut builder = builder.store(store).model(&args.model).options(options(args)).job_attempts(1);
    if let Some(database) = &args.database {
        builder = builder.database(database.as_str());
    }
    if let Some(redis) = &args.redis {
        builder = builder.redis(redis.as_str());
    }
    if let Concurrency::Requests(requests) = args.concurrency {
        builder = builder.concurrency(requests);
    }
    if let Some(requests) = args.requests_per_minute {
        builder = builder.requests_per_minute(requests);
    }
    if let Some(bytes) = args.max_chunk_bytes {
        builder = builder.max_chunk_bytes(bytes);
    }
    if let Some(duration) = args.max_chunk_seconds {
        builder = builder.max_chunk_duration(duration);
    }
    Ok((builder.build().await?, simulator))
}

fn with_api(args: &Args) -> Result<WavequillBuilder> {
    let plain_http = if args.allow_plain_http { PlainHttp::Anywhere } else { PlainHttp::Loopback };
    let builder = Wavequill::builder().base_url(&args.base_url).plain_http(plain_http);
    match std::env::var(&args.api_key_env) {
        Ok(key) if !key.is_empty() => Ok(builder.api_key(key)),
        _ if args.allow_plain_http => Ok(builder),
        _ if BaseUrl::new(&args.base_url).is_ok_and(|url| url.origin().is_loopback()) => Ok(builder),
        _ => bail!(
            "{} needs a key: set {}, or name another variable with --api-key-env",
            args.base_url,
            args.api_key_env
        ),
    }
}

fn options(args: &Args) -> TranscribeOptions {
    TranscribeOptions {
        language: args.language.clone(),
        prompt: args.prompt.clone(),
        temperature: None,
        gaps: if args.allow_gaps { Gaps::Allow } else { Gaps::Refuse },
        cache: if args.no_cache { CacheUse::Bypass } else { CacheUse::Full },
    }
}

async fn simulator() -> Result<SimulatorHandle> {
    speech_api_simulator().start().await.context("the simulator cannot listen on loopback")
}

/// Writes tone-coded speech, which the simulator understands.
pub(crate) fn write_tones(place: &Path, duration: Duration) -> Result<()> {
    let file = File::create(place).with_context(|| format!("cannot write {}", place.display()))?;
    ToneSpeech::new(duration)
        .write_wav(BufWriter::new(file))
        .with_context(|| format!("cannot write {}", place.display()))?;
    Ok(())
}

/// Where this system keeps a user's data.
fn data_folder() -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || variable("HOME");
    let folder = if cfg!(target_os = "macos") {
        home().map(|home| home.join("Library/Application Support"))
    } else if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else {
        variable("XDG_DATA_HOME").or_else(|| home().map(|home| home.join(".local/share")))
    };
    Ok(folder.context("the user's data folder is unknown: name one with --store")?.join("wavequill"))
}
