//! `bulkhead login` and `bulkhead logout`.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::{Entry, flags_of};
use crate::error::{CliError, FAILED};
use crate::line::Flags;
use crate::wire::registry::{self, Stored};
use crate::{output, wire};

/// Longest user name or password, in bytes: tokens of clouds are long.
const LONGEST: u64 = 64 << 10;

/// The command.
pub const ENTRY: Entry = Entry {
    name: "login",
    about: "Log in to a registry",
    footer: "\
User and password are checked with the registry and kept where Docker keeps them:
by the credential helper that ~/.docker/config.json names, or in that file.

Examples:
  bulkhead login registry.example
  pass show registry | bulkhead login -u me --password-stdin registry.example",
    flags: Flags::Anywhere,
    build: LoginFlags::augment_args,
    run: |matches| execute(flags_of(matches)?),
};

/// `logout`.
pub const LOGOUT: Entry = Entry {
    name: "logout",
    about: "Forget who you are to a registry",
    footer: "Examples:\n  bulkhead logout registry.example",
    flags: Flags::Anywhere,
    build: LogoutFlags::augment_args,
    run: |matches| logout(&flags_of(matches)?),
};

#[derive(Args)]
struct LoginFlags {
    /// User name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password; everybody on this machine can read it there: use --password-stdin
    #[arg(short, long, value_name = "PASSWORD")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// Registry, HOST[:PORT] [default: docker.io]
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

#[derive(Debug, Args)]
struct LogoutFlags {
    /// Registry, HOST[:PORT] [default: docker.io]
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

fn execute(flags: LoginFlags) -> Result<u8, CliError> {
    let registry = flags.registry.as_deref();
    if flags.password.is_some() && flags.password_stdin {
        return Err(CliError::usage("--password and --password-stdin are mutually exclusive"));
    }
    if flags.password_stdin && flags.username.is_none() {
        return Err(CliError::usage("Must provide --username with --password-stdin"));
    }
    if flags.password.is_some() {
        output::note("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    if flags.username.is_none() && flags.password.is_none() && wire::registry::has_login(registry)? {
        output::line("Authenticating with existing credentials...")?;
        match registry::login(registry, None) {
            Ok(_) => return output::line("Login Succeeded").map(|()| 0),
            Err(error) if !std::io::stdin().is_terminal() => return Err(error),
            Err(error) => output::note(&format!("Login did not succeed, error: {error}")),
        }
    }
    let user = match flags.username {
        Some(user) => user,
        None => ask("Username: ", false)?,
    };
    let password = match flags.password {
        Some(password) => password,
        None if flags.password_stdin => from_stdin()?,
        None => ask("Password: ", true)?,
    };
    if user.is_empty() || password.is_empty() {
        return Err(CliError::failed("a user name and a password are needed, and neither may be empty"));
    }
    if user.contains(':') {
        return Err(CliError::invalid("--username", &user, "a user name has no colon"));
    }
    if let Some(Stored::File(path)) = registry::login(registry, Some((user, password)))? {
        output::note(&format!("WARNING! Your password will be stored unencrypted in {}.", path.display()));
        output::note("Configure a credential helper (\"credsStore\" in that file) to remove this warning.");
    }
    output::line("Login Succeeded").map(|()| 0)
}

fn logout(flags: &LogoutFlags) -> Result<u8, CliError> {
    let (host, found) = registry::logout(flags.registry.as_deref())?;
    if found {
        output::line(&format!("Removing login credentials for {host}"))?;
    } else {
        output::line(&format!("Not logged in to {host}"))?;
    }
    Ok(0)
}

fn unread(error: &std::io::Error) -> CliError {
    CliError::failed(format!("cannot read standard input: {error}"))
}

fn from_stdin() -> Result<String, CliError> {
    let mut text = String::new();
    std::io::stdin().lock().take(LONGEST).read_to_string(&mut text).map_err(|e| unread(&e))?;
    Ok(text.strip_suffix('\n').map(|t| t.strip_suffix('\r').unwrap_or(t)).unwrap_or(&text).to_owned())
}

/// Asks on the terminal; what is `secret` is not shown while it is typed.
fn ask(prompt: &str, secret: bool) -> Result<String, CliError> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let error = CliError::failed("cannot perform an interactive login from a non-terminal");
        return Err(error.with_code(FAILED).with_hint("give --username and --password-stdin"));
    }
    let hidden = if secret { Some(Hidden::new()?) } else { None };
    drop(std::io::stderr().write_all(prompt.as_bytes()));
    let mut line = String::new();
    let read = stdin.lock().take(LONGEST).read_line(&mut line);
    if hidden.is_some() {
        drop(std::io::stderr().write_all(b"\n"));
    }
    read.map_err(|e| unread(&e))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden(rustix::termios::Termios);

impl Hidden {
    fn new() -> Result<Self, CliError> {
        let failed = |e: rustix::io::Errno| CliError::failed(format!("cannot hide what is typed: {e}"));
        let before = tcgetattr(std::io::stdin()).map_err(failed)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &quiet).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone has nothing to show.
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0).unwrap_or_default();
    }
}
