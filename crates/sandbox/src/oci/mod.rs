//! OCI bundles: from `config.json` to the same plan that the engine's own containers have.
//!
//! Where a config asks for less than our defaults it gets what it asks: whoever calls an OCI runtime decides. What is
//! then missing is named by a [`Grant`](crate::spec::Grant), so that `verify` holds for these plans too.

pub mod config;
