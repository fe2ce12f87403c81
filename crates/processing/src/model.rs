//! The values of the context.

pub(crate) mod audio_file;
pub(crate) mod chunk;
pub(crate) mod format;
pub(crate) mod packet_index;
pub(crate) mod pause;
pub(crate) mod plan;
pub(crate) mod profile;
pub(crate) mod recipe;
pub(crate) mod sample;
