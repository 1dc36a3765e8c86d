//! What must hold for any text of a registry or of a file, for the fuzzer. A broken promise is a panic.

#![expect(clippy::panic, reason = "a broken promise ends the fuzzer's run")]

use crate::auth::Challenge;
use crate::credentials;
use crate::url::Url;

/// Addresses and challenges: what is read is written and read again as the same, and no address has a user in it.
///
/// # Panics
/// When that is broken.
pub fn words(text: &str) {
    for line in text.lines() {
        for challenge in Challenge::parse(line) {
            if challenge.parameters.keys().any(|name| name.bytes().any(|b| b.is_ascii_uppercase())) {
                panic!("a parameter is not in lower case: {challenge:?}");
            }
        }
        let Ok(base) = Url::parse("https://registry.example:5000/v2/a/blobs/b?c=d") else {
            panic!("a good address was refused")
        };
        for url in [Url::parse(line), base.join(line)].into_iter().flatten() {
            let written = url.to_string();
            if Url::parse(&written).ok().as_ref() != Some(&url) {
                panic!("{written} is read as something else");
            }
            let authority = written.split('/').nth(2).unwrap_or_default();
            if authority.contains('@') || authority.is_empty() {
                panic!("{written} has no plain host");
            }
        }
    }
}

/// A file of credentials: whatever it says, what is put in is found, and what is taken out is gone.
///
/// # Panics
/// When that is broken.
pub fn auth_file(bytes: &[u8]) {
    if !credentials::holds_for(bytes) {
        panic!("what was put in was not found, or what was taken out was");
    }
}
