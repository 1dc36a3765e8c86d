//! Every command and flag, once: the scan and the help text are both made from these tables.

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing, or `=true` and `=false`.
    Switch,
    /// A text; the last one counts. The word stands for it in the help.
    Text(&'static str),
    /// A text; it is known and refused with this reason.
    Refused(&'static str),
}

/// A flag.
#[derive(Debug)]
pub(super) struct Flag {
    /// Long name without dashes.
    pub(super) name: &'static str,
    /// One letter, or nothing.
    pub(super) short: &'static str,
    /// What it takes.
    pub(super) kind: Kind,
    /// One line.
    pub(super) help: &'static str,
}

const fn switch(name: &'static str, short: &'static str, help: &'static str) -> Flag {
    Flag { name, short, kind: Kind::Switch, help }
}

const fn text(name: &'static str, short: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { name, short, kind: Kind::Text(value), help }
}

const fn refused(name: &'static str, reason: &'static str) -> Flag {
    Flag { name, short: "", kind: Kind::Refused(reason), help: "refused" }
}

/// A command.
#[derive(Debug)]
pub(super) struct Spec {
    /// Its name.
    pub(super) name: &'static str,
    /// What stands behind the flags.
    pub(super) words: &'static str,
    /// One line.
    pub(super) about: &'static str,
    /// Its flags.
    pub(super) flags: &'static [Flag],
    /// Fewest words.
    pub(super) least: usize,
    /// Most words.
    pub(super) most: usize,
    /// Everything from the first word on is taken as it is.
    pub(super) stops: bool,
    /// It is known and refused with this reason, whatever its flags are.
    pub(super) refused: Option<&'static str>,
}

const fn command(name: &'static str, about: &'static str, flags: &'static [Flag]) -> Spec {
    Spec { name, words: "<container-id>", about, flags, least: 1, most: 1, stops: false, refused: None }
}

/// Flags before the command.
pub(super) const GLOBAL: &[Flag] = &[
    text("root", "", "DIR", "directory of the containers' state; it should not outlive a boot"),
    text("log", "", "FILE", "append errors to this file too"),
    text("log-format", "", "FORMAT", "text (default) or json"),
    switch("debug", "", "log what is done"),
    switch("systemd-cgroup", "", "control groups are made by systemd; cgroupsPath is slice:prefix:name"),
    text("rootless", "", "true|false|auto", "forgive control groups that this user may not use (default: auto)"),
    switch("version", "v", "show the version"),
    switch("help", "h", "show this"),
];

const BUNDLE: Flag = text("bundle", "b", "DIR", "directory of config.json (default: the working directory)");
const CONSOLE: Flag = text("console-socket", "", "PATH", "socket that the terminal's master is sent to");
const PIDFD: Flag = text("pidfd-socket", "", "PATH", "socket that a pidfd of the process is sent to");
const PID_FILE: Flag = text("pid-file", "", "FILE", "file that the process id is written to");
const PRESERVE: Flag = text("preserve-fds", "", "N", "pass N more descriptors, from 3 on and behind LISTEN_FDS");
const NO_PIVOT: Flag = switch("no-pivot", "", "do not change the root by pivot_root (for a root on a ramdisk)");
const NO_KEYRING: Flag = switch("no-new-keyring", "", "keep the caller's session keyring");
const DETACH: Flag = switch("detach", "d", "do not wait for the process");
const FORMAT: Flag = text("format", "f", "FORMAT", "table (default) or json");

const NO_CHECKPOINT: &str =
    "checkpoint and restore are not supported: the memory of a container is not written to disk";
const NO_RDT: &str = "Intel RDT is not supported";
const NO_KERNEL_MEMORY: &str = "kernels since 5.4 have no limit for their own memory";

/// All commands, as the help lists them.
pub(super) const COMMANDS: &[Spec] = &[
    Spec { refused: Some(NO_CHECKPOINT), ..command("checkpoint", "not supported", &[]) },
    command(
        "create",
        "create a container; its program waits for start",
        &[BUNDLE, CONSOLE, PIDFD, PID_FILE, NO_PIVOT, NO_KEYRING, PRESERVE],
    ),
    command(
        "delete",
        "remove all that a container holds",
        &[switch("force", "f", "kill it first; one that does not exist is no error")],
    ),
    command(
        "events",
        "show figures and events of a container",
        &[
            text("interval", "", "TIME", "time between figures (default: 5s)"),
            switch("stats", "", "show the figures once"),
        ],
    ),
    Spec {
        words: "<container-id> <command> [argument ...]  or  --process FILE <container-id>",
        most: usize::MAX,
        stops: true,
        ..command("exec", "run another process in a container", EXEC)
    },
    Spec { words: "", least: 0, most: 0, ..command("features", "show what is supported, as JSON", &[]) },
    Spec {
        words: "<container-id> [signal]",
        most: 2,
        stops: true,
        ..command(
            "kill",
            "send a signal (default: TERM) to a container",
            &[switch("all", "a", "to all of its processes; a stopped container is no error")],
        )
    },
    Spec {
        words: "",
        least: 0,
        most: 0,
        ..command("list", "list containers", &[FORMAT, switch("quiet", "q", "show ids only")])
    },
    command("pause", "freeze all processes of a container", &[]),
    Spec {
        words: "<container-id> [ps option ...]",
        most: usize::MAX,
        stops: true,
        ..command("ps", "show the processes of a container", &[FORMAT])
    },
    Spec { refused: Some(NO_CHECKPOINT), ..command("restore", "not supported", &[]) },
    command("resume", "let a frozen container go on", &[]),
    command(
        "run",
        "create a container, start it, and delete it at its end",
        &[
            BUNDLE,
            CONSOLE,
            PIDFD,
            DETACH,
            switch("keep", "", "do not delete it at its end"),
            PID_FILE,
            switch("no-subreaper", "", "do not adopt orphans of the container"),
            NO_PIVOT,
            NO_KEYRING,
            PRESERVE,
        ],
    ),
    Spec {
        words: "",
        least: 0,
        most: 0,
        ..command(
            "spec",
            "write a config.json to begin with",
            &[
                text("bundle", "b", "DIR", "where (default: the working directory)"),
                switch("rootless", "", "for an ordinary user"),
            ],
        )
    },
    command("start", "start the program of a created container", &[]),
    command("state", "show the state of a container", &[]),
    command("update", "change the limits of a container", UPDATE),
];

const EXEC: &[Flag] = &[
    CONSOLE,
    PIDFD,
    text("cwd", "", "DIR", "working directory inside"),
    text("env", "e", "NAME=VALUE", "environment variable"),
    switch("tty", "t", "give it a terminal"),
    text("user", "u", "UID[:GID]", "who it is"),
    text("additional-gids", "g", "GID", "supplementary group"),
    text("process", "p", "FILE", "all of it, as process of config.json"),
    DETACH,
    PID_FILE,
    text("process-label", "", "LABEL", "SELinux label"),
    text("apparmor", "", "PROFILE", "AppArmor profile"),
    switch("no-new-privs", "", "it cannot gain privileges"),
    text("cap", "c", "CAPABILITY", "another capability"),
    PRESERVE,
    text("cgroup", "", "[CONTROLLER[,...]:]PATH", "group below the container's"),
    switch("ignore-paused", "", "also in a paused container"),
];

const UPDATE: &[Flag] = &[
    text("resources", "r", "FILE", "linux.resources as JSON; - is standard input"),
    text("blkio-weight", "", "N", "weight of block I/O, 10 to 1000"),
    text("cpu-period", "", "USEC", "period of the CPU quota"),
    text("cpu-quota", "", "USEC", "CPU time in a period; -1 is no limit"),
    text("cpu-burst", "", "USEC", "CPU time that may be saved up"),
    text("cpu-share", "", "N", "CPU weight, 2 to 262144"),
    text("cpu-rt-period", "", "USEC", "period of realtime CPU"),
    text("cpu-rt-runtime", "", "USEC", "realtime CPU time in a period"),
    text("cpuset-cpus", "", "LIST", "CPUs"),
    text("cpuset-mems", "", "LIST", "memory nodes"),
    text("memory", "", "BYTES", "memory; -1 is no limit"),
    text("cpu-idle", "", "0|1", "1: run when nothing else does"),
    text("memory-reservation", "", "BYTES", "memory that is reclaimed last"),
    text("memory-swap", "", "BYTES", "memory and swap together; -1 is no limit"),
    text("pids-limit", "", "N", "processes; -1 is no limit"),
    refused("kernel-memory", NO_KERNEL_MEMORY),
    refused("kernel-memory-tcp", NO_KERNEL_MEMORY),
    refused("l3-cache-schema", NO_RDT),
    refused("mem-bw-schema", NO_RDT),
];

/// The command of this name.
#[must_use]
pub(super) fn find(name: &str) -> Option<&'static Spec> {
    COMMANDS.iter().find(|spec| spec.name == name)
}
