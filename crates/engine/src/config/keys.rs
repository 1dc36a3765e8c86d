//! Every key there is. `docs/configuration.md` has the same table; a test compares them.

use super::values::Kind;
use crate::request::ProfileName;

/// Whom a key of the system's file concerns, and whether it can be pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everybody; `locked` pins it for ordinary users.
    Lockable,
    /// Everybody; each may choose for himself.
    Everybody,
    /// The system's file speaks of root's places only.
    Own,
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Section and name: `container.memory`.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Its value when no file has one, as text.
    pub default: &'static str,
    /// Whom it concerns.
    pub scope: Scope,
    /// The flag that says the same for one container.
    pub flag: Option<&'static str>,
    /// One line for people.
    pub about: &'static str,
}

const fn key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    scope: Scope,
    flag: Option<&'static str>,
    about: &'static str,
) -> Key {
    Key { name, kind, default, scope, flag, about }
}

/// The keys, in the order in which they are shown.
pub const KEYS: [Key; 21] = [
    key(
        "container.profile",
        Kind::Choice(&ProfileName::NAMES),
        "default",
        Scope::Lockable,
        Some("--profile"),
        "how strict the defaults are",
    ),
    key("container.pids_limit", Kind::Limit, "1024", Scope::Lockable, Some("--pids-limit"), "processes and threads"),
    key("container.memory", Kind::Size(6 << 20), "none", Scope::Lockable, Some("--memory"), "memory of a container"),
    key("container.shm_size", Kind::Size(1), "64m", Scope::Lockable, Some("--shm-size"), "size of /dev/shm"),
    key(
        "container.ulimits",
        Kind::Ulimits,
        "core=0:0 nofile=1024:65536 memlock=65536:65536 rtprio=0:0",
        Scope::Lockable,
        Some("--ulimit"),
        "limits of a process; those that are not named keep their default",
    ),
    key("container.init", Kind::Switch, "false", Scope::Everybody, Some("--init"), "an init of ours is process 1"),
    key(
        "container.stop_timeout",
        Kind::Seconds,
        "10",
        Scope::Lockable,
        Some("--stop-timeout"),
        "seconds from the stop signal to SIGKILL",
    ),
    key("log.max_size", Kind::Size(4096), "10m", Scope::Lockable, None, "size of one file of a container's log"),
    key("log.max_file", Kind::Number(1, 1000), "3", Scope::Lockable, None, "files of a container's log"),
    key(
        "reserve.memory",
        Kind::Number(1, 95),
        "80",
        Scope::Lockable,
        None,
        "percent of the host's memory that all containers together may have",
    ),
    key(
        "reserve.pids",
        Kind::Number(1, 95),
        "50",
        Scope::Lockable,
        None,
        "percent of the host's process ids that all containers together may have",
    ),
    key(
        "reserve.cpu",
        Kind::Number(1, 100),
        "50",
        Scope::Lockable,
        None,
        "CPU weight of all containers together, in percent of one group of the host",
    ),
    key(
        "network.pools",
        Kind::Pools,
        "10.88.0.0/13:22 172.20.0.0/14:22",
        Scope::Own,
        None,
        "where subnets come from, and their size",
    ),
    key(
        "network.publish_address",
        Kind::Addresses,
        "127.0.0.1",
        Scope::Own,
        None,
        "addresses that ports are published on when none is written",
    ),
    key("registry.parallel", Kind::Number(1, 16), "4", Scope::Everybody, None, "layers that are moved at a time"),
    key("registry.attempts", Kind::Number(1, 20), "5", Scope::Everybody, None, "times that a request is made"),
    key(
        "registry.timeout",
        Kind::Number(1, 3600),
        "30",
        Scope::Everybody,
        None,
        "seconds that a registry may be silent",
    ),
    key(
        "registry.min_speed",
        Kind::Size(1),
        "1k",
        Scope::Everybody,
        None,
        "bytes a second that a layer must bring, on average over registry.timeout",
    ),
    key("storage.root", Kind::Place, "", Scope::Own, None, "images, containers, volumes"),
    key("storage.run", Kind::Place, "", Scope::Own, None, "what dies with the boot"),
    key(
        "client.detach_keys",
        Kind::Keys,
        "ctrl-p,ctrl-q",
        Scope::Everybody,
        None,
        "keys that leave an attached container running",
    ),
];

/// The key of this name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The key that was probably meant.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let last = |text: &'static str| text.rsplit('.').next().unwrap_or(text);
    let own = name.rsplit('.').next().unwrap_or(name);
    let names = KEYS.iter().map(|key| key.name);
    // The right name in the wrong section, or without one, is the usual slip.
    if let Some(found) = names.clone().find(|known| last(known) == own.replace('-', "_")) {
        return Some(found);
    }
    names.map(|known| (distance(name, known), known)).filter(|(d, _)| *d <= 3).min().map(|(_, known)| known)
}

/// Letters to insert, delete or replace.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, a) in from.chars().enumerate() {
        let mut next = vec![line + 1];
        for (column, b) in to.iter().enumerate() {
            let at = |row: &[usize], i: usize| row.get(i).copied().unwrap_or(usize::MAX - 1);
            let best = (at(&row, column) + usize::from(a != *b)).min(at(&row, column + 1) + 1);
            next.push(best.min(at(&next, column) + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
