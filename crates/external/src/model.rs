//! The values of the context: what is asked, what is answered, and what is known of models, quotas and connections.

pub(crate) mod audio;
pub(crate) mod capabilities;
pub(crate) mod events;
pub(crate) mod http;
pub(crate) mod language;
pub(crate) mod origin;
pub(crate) mod pool;
pub(crate) mod quota;
pub(crate) mod request;
pub(crate) mod response;
