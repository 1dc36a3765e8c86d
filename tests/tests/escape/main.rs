//! Ways out of a container that were found in other engines, tried on this one. Every probe is also run where nothing
//! is in its way, to show that it would notice a hit.
//!
//! All targets are canaries that the test made; a probe stops at the first sign of success.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failure is the result of the test")]

mod caps;
mod descriptors;
mod exe;
mod files;
mod host;
mod ids;
mod kernel;
mod limits;
mod magic;
mod race;
mod rootfs;
mod terminal;
