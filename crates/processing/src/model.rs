//! The values of the context.

pub(crate) mod aligned_part;
pub(crate) mod audio_file;
pub(crate) mod chunk;
pub(crate) mod chunk_map;
pub(crate) mod chunk_result;
pub(crate) mod chunk_transcript;
pub(crate) mod format;
pub(crate) mod gap;
pub(crate) mod packet_index;
pub(crate) mod pause;
pub(crate) mod plan;
pub(crate) mod profile;
pub(crate) mod progress;
pub(crate) mod recipe;
pub(crate) mod sample;
pub(crate) mod task;
pub(crate) mod transcript;
