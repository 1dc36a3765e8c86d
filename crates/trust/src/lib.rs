//! Which images are trusted: rules by name, public keys, and what they have signed.
//!
//! Pure: documents come in as bytes, and nothing here reads a file, asks a registry or looks at a clock. What a document
//! says is believed after its signature has been checked, never before.

mod key;
mod name;
mod policy;
mod signature;

pub use key::{Kind, PublicKey};
pub use name::{Name, Scope};
pub use policy::{Accept, Evidence, Policy, Rule};
pub use signature::{Envelope, Form, Subject, check};
