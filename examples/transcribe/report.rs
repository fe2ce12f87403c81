//! The picture of a run, as `--report` writes it.

use std::path::Path;

use anyhow::{Context, Result};
use tracing_subscriber::layer::SubscriberExt as _;
use wavequill::monitoring::{RunRecorder, render_html};

use crate::output::Output;

/// Records the run from now on, and writes it at the end.
#[derive(Debug)]
pub(crate) struct RunPicture {
    recorder: RunRecorder,
    output: Output,
}

impl RunPicture {
    pub(crate) fn begin(place: &Path) -> Result<Self> {
        let output = Output::open(Some(place))?;
        let recorder = RunRecorder::default();
        let subscriber = tracing_subscriber::registry().with(recorder.clone());
        tracing::subscriber::set_global_default(subscriber).context("the run cannot be recorded")?;
        Ok(Self { recorder, output })
    }

    pub(crate) fn write(self) -> Result<()> {
        self.output.write(&render_html(&self.recorder.report()))
    }
}
