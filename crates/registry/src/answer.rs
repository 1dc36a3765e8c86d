//! Answers that are refusals, in one sentence.

use std::time::Duration;

use serde::Deserialize;

use crate::error::{RegistryError, show};
use crate::http::Reply;

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<One>,
    /// As OAuth 2 and some gateways have it.
    #[serde(default)]
    error_description: String,
    #[serde(default)]
    details: String,
}

#[derive(Deserialize)]
struct One {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The words of a refusal, if it has any that are meant for people.
fn words(bytes: &[u8]) -> String {
    let Ok(errors) = serde_json::from_slice::<Errors>(bytes) else {
        let text = String::from_utf8_lossy(bytes);
        let first = text.lines().next().unwrap_or_default().trim();
        // A page for browsers says nothing here.
        return if first.starts_with('<') { String::new() } else { show(first) };
    };
    let one = errors.errors.into_iter().map(|one| if one.message.is_empty() { one.code } else { one.message });
    let mut all: Vec<String> =
        one.chain([errors.error_description, errors.details]).filter(|w| !w.is_empty()).collect();
    all.dedup();
    all.truncate(3);
    show(&all.join("; "))
}

/// Seconds, or nothing: a date in `Retry-After` is not worth a calendar.
pub(crate) fn retry_after(reply: &Reply) -> Option<Duration> {
    reply.header("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs)
}

/// What an answer that is no success means. `known`: credentials were sent.
pub(crate) fn refusal(reply: Reply, host: &str, what: &str, known: bool, most: u64) -> RegistryError {
    let status = reply.status;
    let again = retry_after(&reply);
    let said = reply.read(most).map(|bytes| words(&bytes)).unwrap_or_default();
    let (host, what) = (host.to_owned(), what.to_owned());
    let or = |text: &str| if said.is_empty() { text.to_owned() } else { said.clone() };
    match status {
        401 => RegistryError::Denied { host, what, reason: or("authentication is required"), known },
        403 => RegistryError::Denied { host, what, reason: or("it is forbidden"), known },
        404 => RegistryError::Missing { host, what },
        429 => {
            let when = again.map(|wait| format!("; it asks to wait {} seconds", wait.as_secs())).unwrap_or_default();
            RegistryError::Limited { host, reason: format!("{}{when}", or("no reason is given")) }
        }
        _ => {
            let reason = if said.is_empty() { String::new() } else { format!(": {said}") };
            RegistryError::Status { host, what, status, reason }
        }
    }
}

/// How many requests are left, when that is few: `REMAINING;w=SECONDS` of `RateLimit-Remaining`.
pub(crate) fn rate_note(reply: &Reply, host: &str) -> Option<String> {
    let number = |name: &str| -> Option<(u64, Option<u64>)> {
        let text = reply.header(name)?;
        let (count, window) = text.split_once(';').unwrap_or((text, ""));
        Some((count.trim().parse().ok()?, window.trim().strip_prefix("w=").and_then(|w| w.parse().ok())))
    };
    let (left, window) = number("ratelimit-remaining")?;
    let most = number("ratelimit-limit").map(|(most, _)| most);
    if left > most.map_or(10, |most| most / 10) {
        return None;
    }
    let of = most.map(|most| format!(" of {most}")).unwrap_or_default();
    let during = window.map(|w| format!(" in {} minutes", w.div_ceil(60))).unwrap_or_default();
    Some(format!("{host} allows {left}{of} more pulls{during}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_refusals() {
        let docker =
            br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your limit","detail":null}]}"#;
        assert_eq!(words(docker), "You have reached your limit");
        assert_eq!(words(br#"{"errors":[{"code":"DENIED"}]}"#), "DENIED");
        assert_eq!(words(br#"{"details":"incorrect username or password"}"#), "incorrect username or password");
        assert_eq!(words(b"<html>...</html>"), "");
        assert_eq!(words(b"slow\x1b down\nmore"), "slow\\u{1b} down");
    }
}
