//! The command line: what can be said, and what is refused before anything is done.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use wavequill::processing::{OutputFormat, Transcript};

/// Transcribes recordings over an OpenAI-compatible speech API, as fast as its quota allows, and never pays twice.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "a flag of a command line is a bool")]
#[command(name = "transcribe", version, after_help = EXIT_STATUS, args_override_self = true)]
pub(crate) struct Args {
    /// The recordings: WAV, FLAC, MP3, M4A or MP4, Ogg Opus, WebM or Matroska files.
    #[arg(required_unless_present = "write_tones", value_name = "AUDIO")]
    pub(crate) audio: Vec<PathBuf>,

    /// OpenAI-compatible root, e.g. http://127.0.0.1:8000/v1
    #[arg(long, value_name = "URL", env = "OPENAI_BASE_URL", default_value = "https://api.openai.com/v1")]
    pub(crate) base_url: String,

    /// Variable that holds the API key; a loopback URL needs none.
    #[arg(long, value_name = "NAME", default_value = "OPENAI_API_KEY")]
    pub(crate) api_key_env: String,

    /// Use plain http for another host than this machine, such as a server in the same network; no key is asked for then.
    #[arg(long)]
    pub(crate) allow_plain_http: bool,

    /// Use the built-in simulator of a speech API, which understands tone-coded audio only.
    #[arg(long)]
    pub(crate) simulate: bool,

    /// The model.
    #[arg(long, value_name = "NAME", default_value = "whisper-1")]
    pub(crate) model: String,

    /// The language that is spoken, as ISO 639-1; detected if absent.
    #[arg(long, value_name = "CODE")]
    pub(crate) language: Option<String>,

    /// Text that leads the recognition: names and words to expect.
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: Option<String>,

    /// What is written. `json` is OpenAI's verbose_json shape.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,

    /// Where it is written, whole or not at all: a file, or a folder for several recordings; standard output if absent.
    #[arg(short, long, value_name = "FILE|DIR")]
    pub(crate) output: Option<PathBuf>,

    /// Folder of the embedded store; the user's data folder if absent.
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,

    /// Redis for recent answers, beside --database, e.g. redis://127.0.0.1:6379
    #[arg(long, value_name = "URL", requires = "database")]
    pub(crate) redis: Option<String>,

    /// PostgreSQL for the answers, shared by all machines that use it, e.g. postgres://user:password@127.0.0.1/wavequill
    #[arg(long, value_name = "URL")]
    pub(crate) database: Option<String>,

    /// Requests in flight: a number, or `auto`.
    #[arg(long, value_name = "N|auto", default_value = "auto", value_parser = concurrency)]
    pub(crate) concurrency: Concurrency,

    /// The API's request quota, told in advance; it is learned from the answers otherwise.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) requests_per_minute: Option<u32>,

    /// The most bytes of audio in a request; the model's limit (26214400 for OpenAI's), less a reserve for the form, if absent.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_chunk_bytes: Option<u64>,

    /// The longest audio of a request in seconds; 1380 if absent: the API's 1400, less a reserve.
    #[arg(long, value_name = "N", value_parser = seconds)]
    pub(crate) max_chunk_seconds: Option<Duration>,

    /// Neither look for what was transcribed before nor keep what is transcribed now.
    #[arg(long)]
    pub(crate) no_cache: bool,

    /// Write the transcript even if some ranges could not be transcribed; they are named.
    #[arg(long)]
    pub(crate) allow_gaps: bool,

    /// How progress is shown on standard error; `auto` is a bar on a terminal and nothing elsewhere.
    #[arg(long, value_enum, default_value_t = ProgressMode::Auto)]
    pub(crate) progress: ProgressMode,

    /// Where statistics of the run are written as JSON.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) stats: Option<PathBuf>,

    /// Where a picture of the run is written: one page of HTML with every chunk, attempt and retry.
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,

    /// Write a tone-coded recording for `--simulate` to this WAV file, and do nothing else.
    #[arg(long, value_name = "FILE.wav", conflicts_with = "audio")]
    pub(crate) write_tones: Option<PathBuf>,

    /// How long the tone-coded recording is, in seconds.
    #[arg(long, value_name = "N", value_parser = seconds, default_value = "120", requires = "write_tones")]
    pub(crate) tones_seconds: Duration,
}

const EXIT_STATUS: &str = "\
Exit status:
  0  the whole transcript was written
  1  it failed; one line says what and what to do
  2  wrong usage
  3  some ranges could not be transcribed: nothing is written unless --allow-gaps; what succeeded is kept
  130  stopped by Ctrl-C";

impl Args {
    /// What clap cannot tell by itself.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.audio.len() > 1 && self.output.is_none() && self.format != Format::Text {
            return Err("several recordings in this format need --output DIR, a file each".into());
        }
        if self.audio.len() > 1 && self.output.as_ref().is_some_and(|output| !output.is_dir()) {
            return Err("several recordings need an existing folder as --output".into());
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
    Srt,
    Vtt,
}

impl Format {
    /// The transcript in this format.
    pub(crate) fn render(self, transcript: &Transcript) -> String {
        let format = match self {
            Self::Text => OutputFormat::Text,
            Self::Json => OutputFormat::VerboseJson,
            Self::Srt => OutputFormat::Srt,
            Self::Vtt => OutputFormat::Vtt,
        };
        format.render(transcript)
    }

    /// The extension of a file's name.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Text => "txt",
            Self::Json => "json",
            Self::Srt => "srt",
            Self::Vtt => "vtt",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    Auto,
    Bar,
    Json,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Concurrency {
    Auto,
    Requests(u16),
}

fn concurrency(text: &str) -> Result<Concurrency, String> {
    if text == "auto" {
        return Ok(Concurrency::Auto);
    }
    match text.parse() {
        Ok(requests @ 1..=1024) => Ok(Concurrency::Requests(requests)),
        _ => Err("it is a number from 1 to 1024, or `auto`".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let refused = || "it is a number of seconds above 0".to_owned();
    let seconds: f64 = text.parse().map_err(|_| refused())?;
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero()).ok_or_else(refused)
}
