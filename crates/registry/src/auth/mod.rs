//! Who we are to a registry: challenges read, tokens fetched, and nothing sent where it does not belong.
//!
//! A registry says with its first refusal how it wants to be asked. Credentials of a registry go to the registry itself
//! (basic) or to the place that it names for tokens (bearer), never on the way of a redirect. That place must be
//! encrypted unless it is on this machine, and must not be further inside than the registry is.

mod challenge;
mod token;

pub use self::challenge::{Challenge, Scheme};
pub(crate) use self::token::{Asked, fetch};

use crate::credentials::Secret;

/// What is sent as `Authorization`.
#[derive(Clone, Debug)]
pub(crate) enum Grant {
    /// A token, as it is.
    Bearer(Secret),
    /// User and password.
    Basic(String, Secret),
}

impl Grant {
    pub(crate) fn header(&self) -> String {
        match self {
            Self::Bearer(token) => format!("Bearer {}", token.reveal()),
            Self::Basic(user, password) => basic(user, password),
        }
    }
}

pub(crate) fn basic(user: &str, password: &Secret) -> String {
    use base64::Engine as _;
    let pair = format!("{user}:{}", password.reveal());
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}
