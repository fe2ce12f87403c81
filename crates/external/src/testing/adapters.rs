//! The server of the simulator.

pub(crate) mod hyper_server;
