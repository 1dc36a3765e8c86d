//! Registries, spoken to by the OCI distribution protocol (1.1) and Docker's schema 2.
//!
//! Whatever a registry answers is hostile until its digest says otherwise:
//!
//! * manifests and blobs are compared with their digest and their announced size before anybody uses them ([`Client`]);
//! * everything has a limit: sizes, counts, redirects, attempts, silence and slowness ([`Limits`]);
//! * a redirect or a place to log in must not lead from a public registry into a private network ([`address`]);
//! * credentials go to the host that they belong to, encrypted or over loopback, and nowhere else ([`auth`]);
//! * texts of a registry are escaped and cut before they stand in an error.
//!
//! The HTTP client is behind [`mod@http`]; nothing else knows it. There is no asynchronous code: who wants several
//! transfers at once has several threads.

pub mod address;
mod answer;
pub mod auth;
mod blob;
mod client;
pub mod credentials;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod http;
mod limits;
mod pull;
mod push;
mod settings;
mod signatures;
mod url;

pub use blob::Fetch;
pub use client::{Client, Repository};
pub use error::{RegistryError, Result};
pub use limits::Limits;
pub use pull::{Fetched, Resolved, Source};
pub use push::Upload;
pub use settings::{Endpoint, HostSettings, Settings};
pub use signatures::{Signature, Signatures};
