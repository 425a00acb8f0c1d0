//! The protocol between a secrets engine and the Vault or OpenBao that started it (go-plugin, protocol 5).
//!
//! A server starts the program with a cookie and its certificate in the environment ([`launch`]), reads one line from
//! stdout, and talks gRPC to the socket that the line names, with a certificate on each side that the other has pinned
//! ([`identity`]). Over a second connection, which the server offers through the broker, the engine reaches its storage
//! ([`Host`]). Every log line is one JSON object whose own fields are text ([`log`]): a server dies of anything else.
//!
//! Nothing here knows what the engine does: it implements [`Program`] and [`Mount`], and [`serve()`] runs it. One process
//! serves one mount; sharing a process between mounts is declined.
#![cfg_attr(test, allow(clippy::indexing_slicing, reason = "a panic in a test is its failure report"))]

mod backend;
mod broker;
mod host;
mod identity;
pub mod launch;
mod listen;
pub mod log;
mod program;
mod serve;
mod services;

pub use host::Host;
pub use program::{Mount, Program};
pub use serve::serve;

/// The messages and services of the protocol, made from `proto/` at build time.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "generated"
)]
pub(crate) mod proto {
    pub mod plugin {
        tonic::include_proto!("plugin");
    }
    pub mod health {
        tonic::include_proto!("grpc.health.v1");
    }
    pub mod logical {
        tonic::include_proto!("logical");
    }
    pub mod pb {
        tonic::include_proto!("pb");
    }
}
