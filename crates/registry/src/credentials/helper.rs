//! Helper programs (`docker-credential-NAME`): the request on standard input, the answer on standard output. A secret is
//! never an argument.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Deserialize;

use super::{Login, Secret};
use crate::error::{RegistryError, Result};

/// Somebody may have to type a passphrase.
const PATIENCE: Duration = Duration::from_mins(2);
/// Most bytes of an answer.
const LARGEST: usize = 1 << 20;
/// What helpers say when they have nothing: their own specification has it as a sentence.
const NOTHING: [&str; 2] = ["credentials not found in native keychain", "no credentials server URL"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

fn program(helper: &str) -> Result<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if helper.is_empty() || !helper.bytes().all(plain) {
        let what = format!("the credential helper {helper:?}");
        return Err(RegistryError::settings(what, "expected letters, digits, `-`, `_` and `.`"));
    }
    Ok(format!("docker-credential-{helper}"))
}

fn failed(program: &str, reason: impl Into<String>) -> RegistryError {
    RegistryError::settings(format!("the credential helper {program}"), reason)
}

/// What a helper has for this registry.
///
/// # Errors
/// A helper that is missing, fails, or does not answer.
pub(super) fn get(helper: &str, server: &str) -> Result<Login> {
    get_with(&program(helper)?, server)
}

/// [`get`] of a program.
pub(super) fn get_with(program: &str, server: &str) -> Result<Login> {
    let (status, answer) = run(program, "get", server.as_bytes())?;
    if !status.success() {
        let said = String::from_utf8_lossy(&answer);
        if NOTHING.iter().any(|nothing| said.contains(nothing)) {
            return Ok(Login::None);
        }
        // Its words are not repeated: nobody knows what is in them.
        return Err(failed(program, format!("'get' ended with {status}")));
    }
    let answer: Answer = serde_json::from_slice(&answer).map_err(|_| failed(program, "its answer is not JSON"))?;
    let secret = Secret::new(answer.secret);
    match (answer.username.as_str(), secret.reveal()) {
        (_, "") => Ok(Login::None),
        ("<token>", _) => Ok(Login::Identity(secret)),
        (user, _) => Ok(Login::Password(user.to_owned(), secret)),
    }
}

/// Lets a helper keep user and password.
///
/// # Errors
/// As [`get`].
pub(super) fn store(helper: &str, server: &str, user: &str, password: &Secret) -> Result<()> {
    let order = serde_json::json!({ "ServerURL": server, "Username": user, "Secret": password.reveal() });
    done(&program(helper)?, "store", order.to_string().as_bytes())
}

/// Lets a helper forget a registry.
///
/// # Errors
/// As [`get`].
pub(super) fn erase(helper: &str, server: &str) -> Result<()> {
    done(&program(helper)?, "erase", server.as_bytes())
}

fn done(program: &str, verb: &str, input: &[u8]) -> Result<()> {
    let (status, _) = run(program, verb, input)?;
    if status.success() { Ok(()) } else { Err(failed(program, format!("'{verb}' ended with {status}"))) }
}

fn run(program: &str, verb: &str, input: &[u8]) -> Result<(ExitStatus, Vec<u8>)> {
    let started =
        Command::new(program).arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = started.map_err(|e| {
        let missing = e.kind() == std::io::ErrorKind::NotFound;
        failed(program, if missing { "it is not in PATH".to_owned() } else { format!("it cannot be started: {e}") })
    })?;
    let talked = talk(program, &mut child, input);
    if talked.is_err() {
        drop(child.kill());
    }
    let status = child.wait().map_err(|e| failed(program, e.to_string()))?;
    talked.map(|answer| (status, answer))
}

fn talk(program: &str, child: &mut Child, input: &[u8]) -> Result<Vec<u8>> {
    let broken = |e: std::io::Error| failed(program, e.to_string());
    if let Some(mut stdin) = child.stdin.take() {
        // One that knows the answer already need not read the question. What is asked fits into a pipe.
        drop(stdin.write_all(input));
    }
    let mut answer = Vec::new();
    let Some(mut stdout) = child.stdout.take() else { return Ok(answer) };
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(failed(program, format!("it did not answer for {} seconds", PATIENCE.as_secs())));
        }
        let wait = Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(1).max(1), tv_nsec: 0 };
        let mut fds = [PollFd::new(&stdout, PollFlags::IN)];
        match poll(&mut fds, Some(&wait)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(e) => return Err(broken(e.into())),
        }
        let n = stdout.read(&mut buffer).map_err(broken)?;
        if n == 0 {
            return Ok(answer);
        }
        answer.extend_from_slice(buffer.get(..n).unwrap_or_default());
        if answer.len() > LARGEST {
            return Err(failed(program, "its answer is too long"));
        }
    }
}
