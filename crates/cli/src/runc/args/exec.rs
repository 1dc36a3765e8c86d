//! What `exec` takes.

use std::path::PathBuf;

use super::scan::Scanned;
use super::{absolute, id, path, preserve};
use crate::runc::error::RuncError;

/// What `exec` takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecArgs {
    /// Id of the container.
    pub id: String,
    /// Program and arguments; empty where [`ExecArgs::process`] has them.
    pub args: Vec<String>,
    /// Socket that the terminal's master is sent to.
    pub console_socket: Option<PathBuf>,
    /// Socket that a pidfd of the process is sent to.
    pub pidfd_socket: Option<PathBuf>,
    /// Working directory inside.
    pub cwd: Option<String>,
    /// `NAME=VALUE`, behind those of the container.
    pub env: Vec<String>,
    /// It gets a terminal.
    pub tty: bool,
    /// User id, and group id where it was given.
    pub user: Option<(u32, Option<u32>)>,
    /// Supplementary groups.
    pub additional_gids: Vec<u32>,
    /// File with all of it, as `process` of `config.json`, absolute. The other fields of a process are then not looked
    /// at, but for what was given beside it, which is refused here.
    pub process: Option<PathBuf>,
    /// It is not waited for.
    pub detach: bool,
    /// File that its pid is written to, absolute.
    pub pid_file: Option<PathBuf>,
    /// SELinux label.
    pub process_label: Option<String>,
    /// AppArmor profile.
    pub apparmor: Option<String>,
    /// It cannot gain privileges; `None` as the container.
    pub no_new_privs: Option<bool>,
    /// Further capabilities, by name.
    pub caps: Vec<String>,
    /// Descriptors to pass beside the first three and those of `LISTEN_FDS`.
    pub preserve_fds: u32,
    /// Groups below the container's.
    pub cgroups: Vec<SubCgroup>,
    /// Also in a paused container.
    pub ignore_paused: bool,
}

/// A control group below the container's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubCgroup {
    /// Controllers of version 1; empty means all of them, or version 2.
    pub controllers: Vec<String>,
    /// Path below the container's group, without `..`.
    pub path: String,
}

/// Flags that say what a process file says too, apart from `--tty`, which callers give with it.
const BESIDE: [&str; 8] = ["cwd", "env", "user", "additional-gids", "process-label", "apparmor", "no-new-privs", "cap"];

pub(super) fn read(scanned: Scanned) -> Result<ExecArgs, RuncError> {
    let process = absolute(&scanned, "process")?;
    let texts = |flag: &str| scanned.all(flag).map(str::to_owned).collect::<Vec<_>>();
    let text = |flag: &str| scanned.text(flag).filter(|text| !text.is_empty()).map(str::to_owned);
    match &process {
        Some(_) => {
            if let Some(flag) = scanned.given().find(|flag| BESIDE.contains(flag)) {
                return Err(RuncError::new(format!("--{flag} and --process cannot be given together")));
            }
            if scanned.words.len() > 1 {
                return Err(RuncError::new("a command and --process cannot be given together"));
            }
        }
        None if scanned.words.len() < 2 => {
            return Err(RuncError::new("\"exec\" requires a command behind the container's id, or --process FILE"));
        }
        None => {}
    }
    let numbers = scanned.all("additional-gids").map(|text| group(text, "--additional-gids"));
    Ok(ExecArgs {
        id: id(&scanned)?,
        console_socket: path(&scanned, "console-socket"),
        pidfd_socket: path(&scanned, "pidfd-socket"),
        cwd: text("cwd"),
        env: variables(texts("env"))?,
        tty: scanned.is_on("tty"),
        user: text("user").map(|text| user(&text)).transpose()?,
        additional_gids: numbers.collect::<Result<_, _>>()?,
        detach: scanned.is_on("detach"),
        pid_file: absolute(&scanned, "pid-file")?,
        process_label: text("process-label"),
        apparmor: text("apparmor"),
        no_new_privs: scanned.switch("no-new-privs"),
        caps: texts("cap"),
        preserve_fds: preserve(&scanned)?,
        cgroups: scanned.all("cgroup").map(cgroup).collect::<Result<_, _>>()?,
        ignore_paused: scanned.is_on("ignore-paused"),
        args: scanned.words.into_iter().skip(1).collect(),
        process,
    })
}

fn variables(texts: Vec<String>) -> Result<Vec<String>, RuncError> {
    match texts.iter().find(|text| text.find('=').is_none_or(|at| at == 0)) {
        Some(text) => Err(RuncError::new(format!("invalid value {text:?} for --env: NAME=VALUE is needed"))),
        None => Ok(texts),
    }
}

fn user(text: &str) -> Result<(u32, Option<u32>), RuncError> {
    let wrong = || RuncError::new(format!("invalid value {text:?} for --user: UID or UID:GID is needed, as numbers"));
    let (uid, gid) = text.split_once(':').map_or((text, None), |(uid, gid)| (uid, Some(gid)));
    let uid = uid.parse().map_err(|_| wrong())?;
    Ok((uid, gid.map(str::parse).transpose().map_err(|_| wrong())?))
}

fn group(text: &str, flag: &str) -> Result<u32, RuncError> {
    text.parse().map_err(|_| RuncError::new(format!("invalid value {text:?} for {flag}: a group id is needed")))
}

/// `[CONTROLLER[,CONTROLLER…]:]PATH`.
fn cgroup(text: &str) -> Result<SubCgroup, RuncError> {
    let (controllers, path) = text.split_once(':').map_or(("", text), |(names, path)| (names, path));
    let named = text.contains(':');
    let controllers: Vec<String> = controllers.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let leads_out = path.split('/').any(|part| part == "..");
    if path.is_empty() || leads_out || (named && controllers.is_empty()) {
        return Err(RuncError::new(format!(
            "invalid value {text:?} for --cgroup: bad sub cgroup path: [CONTROLLER[,...]:]PATH is needed, the path without .."
        )));
    }
    Ok(SubCgroup { controllers, path: path.to_owned() })
}
