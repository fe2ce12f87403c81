//! The usual composition: an API client over hyper.
