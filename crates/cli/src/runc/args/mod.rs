//! The command line of an OCI runtime, from words to typed requests.
//!
//! Written by hand, because a start is timed: nothing is built that the one command does not need.

mod exec;
mod help;
mod scan;
mod table;
mod update;

use std::path::{Path, PathBuf};

pub use self::exec::{ExecArgs, SubCgroup};
pub use self::update::{Source, UpdateArgs, limited};

use self::scan::{Scanned, Until, scan};
use self::table::{GLOBAL, Spec};
use super::error::{During, RuncError};
use super::log::Log;
use crate::flags::{Needed, boolean, signal, time};

/// Flags that stand before the command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Global {
    /// `--root`, absolute; [`Global::root`](super::state) finds the usual one where it was not given.
    pub given_root: Option<PathBuf>,
    /// Errors and debug lines.
    pub log: Log,
    /// Control groups are made by systemd.
    pub systemd_cgroup: bool,
    /// Control groups that may not be used are forgiven; `None` decides by who calls.
    pub rootless: Option<bool>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Show a text and end well: help or version.
    Show(String),
    /// Make a container up to its program.
    Create(CreateArgs),
    /// Start the program of a created container.
    Start {
        /// Its id.
        id: String,
    },
    /// All at once.
    Run(RunArgs),
    /// Show the state.
    State {
        /// Its id.
        id: String,
    },
    /// Send a signal.
    Kill(KillArgs),
    /// Remove it.
    Delete(DeleteArgs),
    /// Run another process in it.
    Exec(Box<ExecArgs>),
    /// Show all containers.
    List {
        /// JSON instead of a table.
        json: bool,
        /// Ids only.
        quiet: bool,
    },
    /// Show its processes.
    Ps {
        /// Its id.
        id: String,
        /// JSON instead of a table.
        json: bool,
        /// What `ps` is called with.
        options: Vec<String>,
    },
    /// Show figures and events.
    Events {
        /// Its id.
        id: String,
        /// The figures, once.
        stats: bool,
        /// Between two figures, in nanoseconds; not 0.
        interval: u64,
    },
    /// Freeze it.
    Pause {
        /// Its id.
        id: String,
    },
    /// Let it go on.
    Resume {
        /// Its id.
        id: String,
    },
    /// Change its limits.
    Update(Box<UpdateArgs>),
    /// Write a `config.json` to begin with.
    Spec {
        /// Where.
        bundle: PathBuf,
        /// For an ordinary user.
        rootless: bool,
    },
    /// Show what is supported.
    Features,
}

/// What `create` and `run` take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateArgs {
    /// Id of the new container, checked.
    pub id: String,
    /// Absolute directory of `config.json`.
    pub bundle: PathBuf,
    /// Socket that the terminal's master is sent to.
    pub console_socket: Option<PathBuf>,
    /// Socket that a pidfd of the first process is sent to.
    pub pidfd_socket: Option<PathBuf>,
    /// File that its pid is written to, absolute.
    pub pid_file: Option<PathBuf>,
    /// The root is changed without `pivot_root(2)`.
    pub no_pivot: bool,
    /// The caller's session keyring is kept.
    pub no_new_keyring: bool,
    /// Descriptors to pass beside the first three and those of `LISTEN_FDS`.
    pub preserve_fds: u32,
}

/// What `run` takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunArgs {
    /// As `create`.
    pub create: CreateArgs,
    /// It is not waited for.
    pub detach: bool,
    /// It is not deleted at its end.
    pub keep: bool,
    /// Orphans are not adopted.
    pub no_subreaper: bool,
}

/// What `kill` takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KillArgs {
    /// Id of the container.
    pub id: String,
    /// Number of the signal; 0 only asks whether it could be sent.
    pub signal: i32,
    /// To all processes; a stopped container is no error.
    pub all: bool,
}

/// What `delete` takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteArgs {
    /// Id of the container.
    pub id: String,
    /// Kill it first; one that does not exist is no error.
    pub force: bool,
}

/// Global flags and the command of these words; the program's name is not among them.
///
/// # Errors
///
/// What is wrong with the words, as far as it can be reported: the log is returned as it was set up until then.
pub fn parse(args: Vec<String>) -> (Global, Result<Command, RuncError>) {
    let mut global = Global::default();
    let command = scan(args, GLOBAL, Until::FirstWord).and_then(|scanned| {
        global.log = Log::new(scanned.text("log").map(Path::new), scanned.text("log-format"), scanned.is_on("debug"))?;
        if scanned.help {
            return Ok(Command::Show(help::program()));
        }
        if scanned.is_on("version") {
            return Ok(Command::Show(help::version()));
        }
        global.given_root = scanned.text("root").map(root).transpose()?;
        global.systemd_cgroup = scanned.is_on("systemd-cgroup");
        global.rootless = scanned.text("rootless").map_or(Ok(None), rootless)?;
        command(scanned.words)
    });
    (global, command)
}

/// `--root`, as an absolute path.
fn root(text: &str) -> Result<PathBuf, RuncError> {
    let path = if text.is_empty() { std::env::current_dir() } else { std::path::absolute(text) };
    let path = path.during("find the working directory")?;
    // `..` is gone only where the path is made canonical, and the directory may not be there yet.
    if !path.components().any(|part| matches!(part, std::path::Component::Normal(_))) {
        return Err(RuncError::new(format!("invalid value {text:?} for --root: another directory than / is needed")));
    }
    Ok(path)
}

fn rootless(text: &str) -> Result<Option<bool>, RuncError> {
    if text.is_empty() || text.eq_ignore_ascii_case("auto") {
        return Ok(None);
    }
    let needed = || RuncError::new(format!("invalid value {text:?} for --rootless: true, false or auto is needed"));
    boolean(text).map(Some).ok_or_else(needed)
}

fn command(words: Vec<String>) -> Result<Command, RuncError> {
    let mut words = words.into_iter();
    let Some(name) = words.next() else { return Ok(Command::Show(help::program())) };
    let rest: Vec<String> = words.collect();
    if matches!(name.as_str(), "help" | "h") {
        return match rest.first() {
            None => Ok(Command::Show(help::program())),
            Some(topic) => {
                table::find(topic).map(|spec| Command::Show(help::command(spec))).ok_or_else(|| unknown(topic))
            }
        };
    }
    let spec = table::find(&name).ok_or_else(|| unknown(&name))?;
    if let Some(reason) = spec.refused {
        let help = rest.iter().any(|word| matches!(word.as_str(), "-h" | "--help" | "-help" | "--h"));
        return if help { Ok(Command::Show(help::command(spec))) } else { Err(RuncError::new(reason)) };
    }
    let scanned = scan(rest, spec.flags, if spec.stops { Until::FirstWord } else { Until::End })?;
    if scanned.help {
        return Ok(Command::Show(help::command(spec)));
    }
    count(spec, scanned.words.len())?;
    typed(spec.name, scanned)
}

fn unknown(name: &str) -> RuncError {
    RuncError::new(format!("unknown command: {name:?}. No help topic for '{}'", crate::output::escape::cell(name)))
}

fn count(spec: &Spec, given: usize) -> Result<(), RuncError> {
    let (Spec { name, words, least, most, .. }, plural) = (spec, |n: usize| if n == 1 { "" } else { "s" });
    let wanted = match (least, most) {
        (least, most) if least == most && given != *least => format!("exactly {least} argument{}", plural(*least)),
        (least, _) if given < *least => format!("a minimum of {least} argument{}", plural(*least)),
        (_, most) if given > *most => format!("a maximum of {most} argument{}", plural(*most)),
        _ => return Ok(()),
    };
    let form = if words.is_empty() { String::new() } else { format!(": {words}") };
    Err(RuncError::new(format!("\"{name}\" requires {wanted}{form}; {given} given")))
}

fn typed(name: &str, scanned: Scanned) -> Result<Command, RuncError> {
    let on = |flag: &str| scanned.is_on(flag);
    let one = || id(&scanned);
    Ok(match name {
        "create" => Command::Create(create(&scanned)?),
        "start" => Command::Start { id: one()? },
        "run" => Command::Run(RunArgs {
            create: create(&scanned)?,
            detach: on("detach"),
            keep: on("keep"),
            no_subreaper: on("no-subreaper"),
        }),
        "state" => Command::State { id: one()? },
        "kill" => Command::Kill(KillArgs { id: one()?, signal: signal_of(&scanned)?, all: on("all") }),
        "delete" => Command::Delete(DeleteArgs { id: one()?, force: on("force") }),
        "exec" => Command::Exec(Box::new(exec::read(scanned)?)),
        "list" => Command::List { json: json(&scanned)?, quiet: on("quiet") },
        "ps" => Command::Ps { id: one()?, json: json(&scanned)?, options: scanned.words.into_iter().skip(1).collect() },
        "events" => Command::Events { id: one()?, stats: on("stats"), interval: interval(&scanned)? },
        "pause" => Command::Pause { id: one()? },
        "resume" => Command::Resume { id: one()? },
        "update" => Command::Update(Box::new(update::read(&scanned)?)),
        "spec" => Command::Spec { bundle: bundle(&scanned)?, rootless: on("rootless") },
        "features" => Command::Features,
        // Every entry of the table has its arm; a test looks at each.
        other => return Err(RuncError::new(format!("the command {other} has no meaning"))),
    })
}

/// A value of a flag, judged by one of the parsers of the engine's own command line.
fn value<T>(
    scanned: &Scanned,
    flag: &str,
    parse: impl FnOnce(&str) -> Result<T, Needed>,
) -> Result<Option<T>, RuncError> {
    let Some(text) = scanned.text(flag) else { return Ok(None) };
    let wrong = |needed| RuncError::new(format!("invalid value {text:?} for --{flag}: {needed}"));
    parse(text).map(Some).map_err(wrong)
}

/// A whole number of any type.
fn number<T: std::str::FromStr>(what: &'static str) -> impl Fn(&str) -> Result<T, Needed> {
    move |text| text.parse().map_err(|_| Needed::from(what))
}

fn id(scanned: &Scanned) -> Result<String, RuncError> {
    let id = scanned.words.first().map(String::as_str).unwrap_or_default();
    check_id(id)?;
    Ok(id.to_owned())
}

/// An id names a directory below `--root`, a control group, and shows in messages.
///
/// # Errors
///
/// Any other than 1 to 1024 of `A-Z a-z 0-9 _ + - .`; `.` and `..`.
pub fn check_id(id: &str) -> Result<(), RuncError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-' | b'.');
    if (1..=1024).contains(&id.len()) && id.bytes().all(good) && !matches!(id, "." | "..") {
        return Ok(());
    }
    let start: String = id.chars().take(64).collect();
    Err(RuncError::new(format!(
        "invalid container ID format: {start:?}: 1 to 1024 of A-Z a-z 0-9 _ + - . are needed, other than . and .."
    )))
}

fn path(scanned: &Scanned, flag: &str) -> Option<PathBuf> {
    scanned.text(flag).filter(|text| !text.is_empty()).map(PathBuf::from)
}

fn absolute(scanned: &Scanned, flag: &str) -> Result<Option<PathBuf>, RuncError> {
    path(scanned, flag).map(|path| std::path::absolute(path).during("find the working directory")).transpose()
}

fn bundle(scanned: &Scanned) -> Result<PathBuf, RuncError> {
    match absolute(scanned, "bundle")? {
        Some(path) => Ok(path),
        None => std::env::current_dir().during("find the working directory"),
    }
}

fn preserve(scanned: &Scanned) -> Result<u32, RuncError> {
    Ok(value(scanned, "preserve-fds", number("a number of descriptors is needed"))?.unwrap_or(0))
}

fn create(scanned: &Scanned) -> Result<CreateArgs, RuncError> {
    Ok(CreateArgs {
        id: id(scanned)?,
        bundle: bundle(scanned)?,
        console_socket: path(scanned, "console-socket"),
        pidfd_socket: path(scanned, "pidfd-socket"),
        pid_file: absolute(scanned, "pid-file")?,
        no_pivot: scanned.is_on("no-pivot"),
        no_new_keyring: scanned.is_on("no-new-keyring"),
        preserve_fds: preserve(scanned)?,
    })
}

fn signal_of(scanned: &Scanned) -> Result<i32, RuncError> {
    match scanned.words.get(1).map(String::as_str) {
        None | Some("") => Ok(15),
        // Asks whether there is somebody to send to (kill(2)).
        Some("0") => Ok(0),
        Some(text) => {
            signal::parse(text).map_err(|needed| RuncError::new(format!("unknown signal {text:?}: {needed}")))
        }
    }
}

fn json(scanned: &Scanned) -> Result<bool, RuncError> {
    let parse = |text: &str| match text {
        "" | "table" => Ok(false),
        "json" => Ok(true),
        _ => Err(Needed::from("table or json is needed")),
    };
    Ok(value(scanned, "format", parse)?.unwrap_or(false))
}

fn interval(scanned: &Scanned) -> Result<u64, RuncError> {
    let positive = |text: &str| match time::length(text)? {
        0 => Err(Needed::from("a time above 0, like 5s or 100ms, is needed")),
        nanos => Ok(nanos),
    };
    Ok(value(scanned, "interval", positive)?.unwrap_or(5_000_000_000))
}

#[cfg(test)]
mod tests;
