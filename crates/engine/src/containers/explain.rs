//! `explain`: what isolates a container, in plain words, and which flag weakened what.

use bulkhead_sandbox::cgroup::{Usage, usage};
use bulkhead_sandbox::facts::Reserve;
use bulkhead_sandbox::spec::{Caps, Grant, MapWriter, SandboxSpec, Seccomp};
use bulkhead_sys::proc::Proc;
use serde::Serialize;

use super::spec_of;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::layout::Layout;
use crate::request::{ContainerRequest, NetMode, ProfileName};

/// One kind of isolation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What it is about.
    pub topic: &'static str,
    /// What holds, in plain words.
    pub text: String,
    /// What a container of Docker has without a flag.
    pub docker: &'static str,
}

/// Something that was loosened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Weakened {
    /// The flag that did it.
    pub flag: String,
    /// What it took away.
    pub effect: String,
}

/// What the kernel says about the first process, read now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Measured {
    /// Process id on the host.
    pub pid: i32,
    /// `/proc/PID/uid_map`: id 0 inside is this id on the host.
    pub root_is_host_uid: Option<u32>,
    /// `NoNewPrivs`.
    pub no_new_privileges: bool,
    /// `Seccomp` is 2.
    pub filtered: bool,
    /// `CapEff` by name.
    pub effective: Vec<&'static str>,
    /// `CapBnd` by name.
    pub bounding: Vec<&'static str>,
    /// Figures of its control group.
    pub usage: Usage,
}

/// The whole explanation.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// Name of the container.
    pub name: String,
    /// Full id.
    pub id: String,
    /// What isolates it.
    pub isolation: Vec<Line>,
    /// What was loosened, and by which flag.
    pub weakened: Vec<Weakened>,
    /// What the kernel says, when it runs.
    pub measured: Option<Measured>,
}

fn bytes(n: u64) -> String {
    match n {
        n if n >= 1 << 30 && n % (1 << 30) == 0 => format!("{} GiB", n >> 30),
        n if n >= 1 << 20 => format!("{} MiB", n >> 20),
        n => format!("{n} bytes"),
    }
}

fn user_line(spec: &SandboxSpec) -> String {
    let ids = &spec.ids;
    let root = ids.uids.first().map_or(0, |r| r.outside);
    let count: u64 = ids.uids.iter().map(|r| u64::from(r.count)).sum();
    match ids.writer {
        MapWriter::Direct => format!(
            "root inside is user {root} on the host, which has no account; {count} ids {}",
            match &spec.share {
                None => "of its own, shared with no other container".to_owned(),
                Some(share) => format!("that are those of container {}", short(&share.with)),
            }
        ),
        MapWriter::Helpers => format!(
            "root inside is you ({root}) on the host, the other {} ids are your subordinate ids, which your containers share",
            count - 1
        ),
        MapWriter::Single => format!("root inside is you ({root}) on the host; no other id exists inside"),
    }
}

/// The start of an id.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn namespaces_line(spec: &SandboxSpec) -> String {
    let text = match &spec.share {
        None => "user, mount, pid, network, ipc, uts, cgroup, time: all its own".to_owned(),
        Some(share) => {
            format!("user and {} of container {}, the others its own", share.names().join(", "), short(&share.with))
        }
    };
    let hosts = spec.granted(|grant| matches!(grant, Grant::Host(_)));
    if hosts { text.replace(" network,", "") + "; the network is the host's" } else { text }
}

fn devices_line(spec: &SandboxSpec) -> String {
    let mut text = "null zero full random urandom tty, and terminals of its own".to_owned();
    for device in &spec.devices {
        text.push_str(&format!("; {} ({})", device.target, device.rule));
    }
    text
}

/// What two containers can do to each other.
fn shared_effect(namespaces: &[String]) -> String {
    let mut parts = vec!["both have the same user ids, and root of one is root of the other's namespaces"];
    for (name, effect) in [
        ("ipc", "each reads and writes the other's shared memory, semaphores and queues"),
        ("pid", "each sees and signals the other's processes, and all end with the one that owns process 1"),
        ("uts", "they have one host name"),
        ("network", "they have one network: addresses, ports, and what each of them sends and hears"),
    ] {
        if namespaces.iter().any(|n| n == name) {
            parts.push(effect);
        }
    }
    parts.join("; ")
}

fn caps_line(caps: Caps) -> String {
    let names = caps.names();
    if names.is_empty() {
        return "none, and none can be gained".to_owned();
    }
    format!("{}: {}, valid only over what the container owns", names.len(), names.join(" ").to_lowercase())
}

fn limits_line(spec: &SandboxSpec, grouped: bool) -> String {
    let r = &spec.resources;
    let mut parts = Vec::new();
    parts.push(r.pids.map_or_else(|| "any number of processes".to_owned(), |p| format!("{p} processes")));
    let shared = if grouped { "memory up to the host reserve" } else { "memory not limited" };
    parts.push(r.memory.map_or_else(|| shared.to_owned(), |m| format!("{} of memory", bytes(m))));
    if let Some(milli) = r.milli_cpus {
        parts.push(format!("{}.{:03} CPUs", milli / 1000, milli % 1000));
    }
    parts.push(format!("/dev/shm {}", bytes(spec.shm_size)));
    parts.join(", ")
}

/// What isolates a sandbox with this spec. `grouped`: it has a control group, without which the host cannot hold back
/// memory and CPU.
#[must_use]
pub fn isolation(spec: &SandboxSpec, grouped: bool) -> Vec<Line> {
    let line = |topic, text: String, docker| Line { topic, text, docker };
    let granted = |g: &Grant| spec.grants.contains(g);
    let suid = if granted(&Grant::NewPrivileges) { "set-user-id programs work" } else { "nosuid" };
    vec![
        line("user ids", user_line(spec), "root inside is root on the host"),
        line("namespaces", namespaces_line(spec), "no user and no time namespace"),
        line("capabilities", caps_line(spec.process.bounding), "14, valid over the whole host"),
        line(
            "privileges",
            if spec.process.no_new_privileges {
                "no program can gain any (no_new_privs)"
            } else {
                "programs may gain some by set-user-id"
            }
            .to_owned(),
            "set-user-id programs work",
        ),
        line(
            "system calls",
            match &spec.seccomp {
                Seccomp::Unconfined => "all of the kernel's: no filter".to_owned(),
                Seccomp::Filter { name, program } => {
                    format!("filter {name:?} ({} instructions), native calls only", program.insns().len())
                }
            },
            "filter; ptrace, kernel TLS, 32-bit calls and more allowed",
        ),
        line(
            "mounts",
            if granted(&Grant::Mounts) || granted(&Grant::Privileged) {
                "may be changed inside"
            } else {
                "cannot be changed inside (Landlock, no right to mount)"
            }
            .to_owned(),
            "AppArmor where the host has it, else nothing",
        ),
        line(
            "root file system",
            format!("{}, nodev, {suid}", if spec.read_only_root { "read-only" } else { "private writable layer" }),
            "writable, suid",
        ),
        line(
            "kernel files",
            if granted(&Grant::KernelPaths) || granted(&Grant::Privileged) {
                "as the kernel shows them".to_owned()
            } else {
                format!("{} masked, {} read-only, /sys read-only", spec.masked_paths.len(), spec.read_only_paths.len())
            },
            "12 masked, 5 read-only",
        ),
        line("devices", devices_line(spec), "the same, and may make device nodes"),
        line(
            "network",
            "a stack of its own with loopback only".to_owned(),
            "shared bridge, raw packets, ports open to everybody",
        ),
        line("limits", limits_line(spec, grouped), "none"),
        line(
            "host reserve",
            if grouped {
                "all containers together: 4/5 of memory, half of the processes, low CPU weight"
            } else {
                "none: no control group is delegated to you; processes are limited by themselves"
            }
            .to_owned(),
            "none",
        ),
        line("log", "3 files of 10 MiB".to_owned(), "grows without end"),
        line("keyring", "a session keyring of its own, calls denied".to_owned(), "calls denied"),
    ]
}

/// What a container in the host's network gets. `scoped`: Landlock keeps abstract sockets apart.
fn hosts_network_effect(scoped: bool) -> String {
    let sockets = if scoped {
        "Landlock keeps the host's abstract Unix sockets away"
    } else {
        "the host's abstract Unix sockets can be reached too: this kernel's Landlock cannot keep them away (Linux 6.12 can)"
    };
    format!(
        "every address, port and loopback service of the host, with no wall, list or policy between; what it listens on is \
         open where the host is; {sockets}; still no right to change the host's links, routes or firewall, and no raw packets"
    )
}

fn flag_of(grant: &Grant, request: &ContainerRequest, scoped: bool) -> Weakened {
    let weak = |flag: &str, effect: &str| Weakened { flag: flag.to_owned(), effect: effect.to_owned() };
    match grant {
        Grant::NewPrivileges if request.profile == ProfileName::Compat => {
            weak("--profile compat", "programs may gain privileges by set-user-id bits, inside the container")
        }
        Grant::NewPrivileges => weak(
            "--security-opt no-new-privileges=false",
            "programs may gain privileges by set-user-id bits, inside the container",
        ),
        Grant::SeccompUnconfined => {
            weak("--security-opt seccomp=unconfined", "every system call of the kernel can be reached")
        }
        Grant::SeccompCustom => weak("--security-opt seccomp=FILE", "a filter of yours replaces the built-in one"),
        Grant::Capabilities(names) => Weakened {
            flag: format!("--cap-add {}", names.join(",")),
            effect: "capabilities beyond the eight of the default, inside the container's own namespaces".to_owned(),
        },
        Grant::KernelPaths => weak("--security-opt systempaths=unconfined", "no kernel file is masked or read-only"),
        Grant::Mounts => weak("--cap-add SYS_ADMIN", "mounts may be changed inside: the Landlock layer is off"),
        Grant::Privileged => weak(
            "--privileged",
            "all capabilities inside its own user namespace, kernel files shown, mounts allowed; still no right over the host",
        ),
        Grant::Device { target, rule } => Weakened {
            flag: format!("--device {target}"),
            effect: format!("the device {rule} of the host may be used, and what its driver lets a user do"),
        },
        Grant::Shared { with, namespaces } => Weakened {
            flag: namespaces.iter().map(|n| format!("--{n} container:{}", short(with))).collect::<Vec<_>>().join(" "),
            effect: shared_effect(namespaces),
        },
        // Only an OCI runtime's caller can ask for these.
        Grant::Bundle => weak("bundle", "mounts, devices and control groups are those of a bundle"),
        Grant::Host(_) if request.net.mode == NetMode::Host => {
            Weakened { flag: "--network host".to_owned(), effect: hosts_network_effect(scoped) }
        }
        Grant::Host(kinds) => weak("bundle", &format!("no {} namespace of its own", kinds.join(", "))),
        Grant::Entered(kinds) => weak("bundle", &format!("the {} namespace of somebody else", kinds.join(", "))),
        Grant::Compat => {
            weak("--profile compat", "Docker's fourteen capabilities, its system calls, no default limits")
        }
    }
}

fn measured(pid: i32, cgroups: &[std::path::PathBuf]) -> Option<Measured> {
    let proc = Proc::host().ok()?;
    let read = |name: &str| {
        let path = std::ffi::CString::new(format!("{pid}/{name}")).ok()?;
        String::from_utf8(proc.read(&path).ok()?).ok()
    };
    let status = read("status")?;
    let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
    let caps = |name: &str| {
        field(name).and_then(|v| u64::from_str_radix(v, 16).ok()).map_or_else(Vec::new, |b| Caps(b).names())
    };
    Some(Measured {
        pid,
        root_is_host_uid: read("uid_map")?.split_whitespace().nth(1).and_then(|v| v.parse().ok()),
        no_new_privileges: field("NoNewPrivs:") == Some("1"),
        filtered: field("Seccomp:") == Some("2"),
        effective: caps("CapEff:"),
        bounding: caps("CapBnd:"),
        usage: usage(cgroups),
    })
}

/// What the configuration says instead of the defaults.
fn configured(engine: &Engine, mut lines: Vec<Line>, grouped: bool) -> Vec<Line> {
    let (reserve, log) = (engine.config.reserve(), engine.config.log());
    for line in &mut lines {
        match line.topic {
            "host reserve" if grouped && reserve != Reserve::default() => {
                line.text = format!(
                    "all containers together: {} % of memory, {} % of the processes, CPU weight of {} % of a group",
                    reserve.memory, reserve.pids, reserve.cpu
                );
            }
            "log" => line.text = format!("{} files of {}", log.files, bytes(log.size)),
            _ => {}
        }
    }
    lines
}

/// Explains a container.
///
/// # Errors
/// An unknown container.
pub fn explain(engine: &Engine, query: &str) -> Result<Explanation, EngineError> {
    engine.recover()?;
    let record = engine.store()?.find_container(query)?;
    let spec = spec_of(&record)?;
    let state = Layout::new(&engine.paths, &record.id).read_state();
    let grouped = match &state {
        Some(state) => !state.cgroups.is_empty(),
        None => engine.facts()?.cgroup != bulkhead_sandbox::facts::CgroupLayout::None,
    };
    let store = engine.store()?;
    let (joined, ports) = (store.joined(&record.id)?, store.ports_of(&record.id)?);
    let mut lines = configured(engine, isolation(&spec, grouped), grouped);
    for line in lines.iter_mut().filter(|l| l.topic == "network") {
        line.text = crate::networks::describe(&record.request, &joined, &ports);
    }
    let scoped = engine.facts()?.keeps_sockets_apart();
    Ok(Explanation {
        name: record.name.clone(),
        id: record.id.clone(),
        isolation: lines,
        weakened: spec.grants.iter().map(|g| flag_of(g, &record.request, scoped)).collect(),
        measured: state.and_then(|s| measured(s.pid, &s.cgroups)),
    })
}

/// Words of `text` in lines of at most `width` characters.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

impl Explanation {
    /// A table: what isolates this container beside what Docker gives without a flag, `width` characters wide.
    #[must_use]
    pub fn compare(&self, width: usize) -> String {
        const TOPIC: usize = 17;
        let column = width.clamp(72, 160).saturating_sub(TOPIC + 4) / 2;
        let rule = format!("{}\n", "-".repeat(TOPIC + 4 + 2 * column));
        let mut out = format!("{:<TOPIC$}  {:<column$}  {}\n{rule}", "", "this container", "Docker by default");
        for line in &self.isolation {
            let (ours, docker) = (wrap(&line.text, column), wrap(line.docker, column));
            for row in 0..ours.len().max(docker.len()) {
                let cell = |lines: &[String]| lines.get(row).cloned().unwrap_or_default();
                let topic = if row == 0 { line.topic } else { "" };
                let text = format!("{topic:<TOPIC$}  {:<column$}  {}", cell(&ours), cell(&docker));
                out.push_str(text.trim_end());
                out.push('\n');
            }
        }
        out.push_str(&rule);
        out
    }
}

impl std::fmt::Display for Explanation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} ({})", self.name, self.id.get(..12).unwrap_or(&self.id))?;
        writeln!(f, "\nWhat isolates it:")?;
        for line in &self.isolation {
            writeln!(f, "  {:<17} {}", line.topic, line.text)?;
        }
        writeln!(f, "\nWhat weakens it:")?;
        if self.weakened.is_empty() {
            writeln!(f, "  nothing: it has the hardened defaults")?;
        }
        for weak in &self.weakened {
            writeln!(f, "  {:<40} {}", weak.flag, weak.effect)?;
        }
        writeln!(f, "\nWhat the kernel says now:")?;
        match &self.measured {
            None => writeln!(f, "  it does not run"),
            Some(m) => {
                let yes = |b| if b { "yes" } else { "NO" };
                let list = |n: &[&str]| if n.is_empty() { "none".to_owned() } else { n.join(" ").to_lowercase() };
                writeln!(f, "  process {} on the host", m.pid)?;
                if let Some(uid) = m.root_is_host_uid {
                    writeln!(f, "  root inside is user {uid} on the host")?;
                }
                writeln!(f, "  no new privileges: {}, filtered: {}", yes(m.no_new_privileges), yes(m.filtered))?;
                writeln!(f, "  capabilities in force: {}", list(&m.effective))?;
                writeln!(f, "  capabilities that can be had: {}", list(&m.bounding))?;
                let u = &m.usage;
                let show = |v: Option<u64>| v.map_or_else(|| "not accounted".to_owned(), bytes);
                writeln!(
                    f,
                    "  memory {}, processes {}, CPU {} ms",
                    show(u.memory),
                    u.pids.map_or_else(|| "not accounted".to_owned(), |p| p.to_string()),
                    u.cpu_nanoseconds.map_or_else(|| "?".to_owned(), |n| (n / 1_000_000).to_string()),
                )
            }
        }
    }
}
