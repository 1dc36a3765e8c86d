//! Container images from files: references, archives, layers, configuration.
//!
//! Everything this crate reads is hostile until proven otherwise. It is meant to run inside a worker that is already
//! confined, and is written as if it were not:
//!
//! * paths are resolved by the kernel beneath a directory handle, never by joining strings ([`mod@unpack`]);
//! * there is one strict tar reader, which refuses what two readers could understand differently ([`archive`]);
//! * bytes are addressed by a verified [`Digest`], and the bytes that were hashed are the bytes that are used ([`mod@load`]);
//! * image configuration is data without any field that could carry policy ([`config`]);
//! * everything has a limit, and the error names it ([`budget`]).

pub mod archive;
pub mod budget;
pub mod config;
pub mod copy;
pub mod diff;
pub mod digest;
mod error;
mod fsops;
mod json;
pub mod load;
pub mod manifest;
pub mod pack;
pub mod passwd;
pub mod recipe;
pub mod reference;
#[doc(hidden)]
pub mod testing;
pub mod unpack;

pub use budget::{Budget, Meter};
pub use config::ImageConfig;
pub use digest::{Digest, Hasher};
pub use error::{ImageError, Result};
pub use load::{
    ImageReport, ImportOptions, ImportReport, LayerReport, LoadOptions, LoadReport, Platform, change, import, load,
    load_arriving, load_layout,
};
pub use reference::Reference;
pub use unpack::{OwnIds, Skipped};

/// A length in memory as a count of bytes on disk. No supported target has a `usize` wider than 64 bits.
pub(crate) fn len64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
