//! Runs, from tasks to transcripts, with a recognizer that follows a script.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod ending;
mod retrying;
mod running;
mod support;
