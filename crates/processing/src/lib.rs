#![doc = include_str!("../README.md")]

mod model;

pub use model::sample::{ByteSize, SampleIndex, SampleRate, SampleSpan};
