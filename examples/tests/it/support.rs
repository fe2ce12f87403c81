//! A recording, a server that hears it, and the command between them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use wavequill::external::testing::{SimulatorHandle, SpeechApiSimulator, ToneScore, ToneSpeech, ToneWord};
use wavequill::testing::speech_api_simulator;
use wavequill_examples::{Cli, Ran};

/// A folder with a recording in it, and a server.
pub(crate) struct Stage {
    pub(crate) folder: TempDir,
    pub(crate) server: SimulatorHandle,
    pub(crate) cli: Cli,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(speech_api_simulator()).await
    }

    pub(crate) async fn with(server: SpeechApiSimulator) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, server: server.start().await.unwrap(), cli: Cli::find().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Tone-coded speech as a WAV file.
    pub(crate) fn tones(&self, name: &str, speech: &ToneSpeech) -> PathBuf {
        let path = self.path(name);
        speech.write_wav(std::io::BufWriter::new(std::fs::File::create(&path).unwrap())).unwrap();
        path
    }

    pub(crate) fn args(&self, audio: &Path, more: &[&str]) -> Vec<String> {
        let store = self.path("store");
        let base_url = self.server.base_url();
        let fixed = ["--base-url", &base_url, "--store", store.to_str().unwrap()];
        let mut args = vec![audio.to_str().unwrap().to_owned()];
        args.extend(fixed.iter().chain(more).map(|arg| (*arg).to_owned()));
        args
    }

    /// Runs the command off the async threads, where the server lives.
    pub(crate) async fn run(&self, audio: &Path, more: &[&str]) -> Ran {
        let (cli, args) = (self.cli.clone(), self.args(audio, more));
        tokio::task::spawn_blocking(move || cli.run(args).unwrap()).await.unwrap()
    }
}

pub(crate) fn speech(seconds: u64) -> ToneSpeech {
    ToneSpeech::new(Duration::from_secs(seconds))
}

/// The words of a `--format json` transcript, with their times.
pub(crate) fn heard(json: &str) -> Vec<ToneWord> {
    let transcript: serde_json::Value = serde_json::from_str(json).unwrap();
    let words = transcript["words"].as_array().unwrap();
    let time = |word: &serde_json::Value, name: &str| Duration::from_secs_f64(word[name].as_f64().unwrap());
    words
        .iter()
        .map(|word| ToneWord {
            text: word["word"].as_str().unwrap().to_owned(),
            start: time(word, "start"),
            end: time(word, "end"),
        })
        .collect()
}

pub(crate) fn score(speech: &ToneSpeech, json: &str) -> ToneScore {
    ToneScore::of(speech.truth(), heard(json))
}

/// The one line that a failed command says.
pub(crate) fn complaint(ran: &Ran) -> &str {
    let lines: Vec<&str> = ran.stderr.lines().collect();
    let [line] = lines[..] else { panic!("not one line: {:?}", ran.stderr) };
    assert!(line.starts_with("transcribe: "), "{line}");
    line
}
