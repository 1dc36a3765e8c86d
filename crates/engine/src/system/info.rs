//! `system info`: this engine and its host, under the names that Docker's clients know.

use std::path::PathBuf;

use bulkhead_sandbox::facts::{CgroupLayout, HostFacts};
use serde::Serialize;

use crate::containers::{self, State, Which};
use crate::engine::Engine;
use crate::error::EngineError;

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Info {
    /// Version of this program.
    pub version: String,
    /// The same, where Docker's clients look for it.
    pub server_version: String,
    /// Containers of the store.
    pub containers: u64,
    /// Those that run.
    pub containers_running: u64,
    /// Those that are frozen.
    pub containers_paused: u64,
    /// The others.
    pub containers_stopped: u64,
    /// Images of the store; the built-in one does not count.
    pub images: u64,
    /// How root file systems are made of layers.
    pub driver: String,
    /// Where output goes by default.
    pub logging_driver: String,
    /// Who writes control groups: `cgroupfs`, or `none`.
    pub cgroup_driver: String,
    /// `1`, `2` or `none`.
    pub cgroup_version: String,
    /// What holds containers in, as `name=seccomp,profile=default`.
    pub security_options: Vec<String>,
    /// Of the kernel.
    pub kernel_version: String,
    /// Of the host.
    pub operating_system: String,
    /// Always `linux`.
    #[serde(rename = "OSType")]
    pub os_type: String,
    /// Of the machine.
    pub architecture: String,
    /// CPUs that this process may use.
    #[serde(rename = "NCPU")]
    pub cpus: u64,
    /// Bytes of memory.
    pub mem_total: u64,
    /// Host name.
    pub name: String,
    /// Where the store is.
    pub root: PathBuf,
    /// The same, where Docker's clients look for it.
    pub docker_root_dir: PathBuf,
    /// Where the files of running containers are.
    pub run: PathBuf,
    /// An ordinary user's.
    pub rootless: bool,
    /// What this host does not give.
    pub warnings: Vec<String>,
    /// All that is known of the host.
    pub host: HostFacts,
}

/// Looks at the store and the host.
///
/// # Errors
/// What cannot be read.
pub fn info(engine: &Engine) -> Result<Info, EngineError> {
    let facts = engine.facts()?;
    let running = containers::list(engine, Which::Running)?;
    let (all, images) = engine.store()?.counts()?;
    let paused = count(running.iter().filter(|s| matches!(s.state, State::Paused { .. })).count());
    let running = count(running.len()).saturating_sub(paused);
    let closed = if facts.privileged { None } else { crate::networks::closed(engine)? };
    let closed = closed.map(|why| format!("containers of this user have networks without a way out: {why}"));
    let uname = rustix::system::uname();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let (cgroup_driver, cgroup_version) = match &facts.cgroup {
        CgroupLayout::None => ("none", "none"),
        CgroupLayout::V1 { .. } => ("cgroupfs", "1"),
        CgroupLayout::V2 { .. } => ("cgroupfs", "2"),
    };
    Ok(Info {
        server_version: version.clone(),
        version,
        containers: all,
        containers_running: running,
        containers_paused: paused,
        containers_stopped: all.saturating_sub(running).saturating_sub(paused),
        images,
        driver: "overlay".to_owned(),
        logging_driver: "json-file".to_owned(),
        cgroup_driver: cgroup_driver.to_owned(),
        cgroup_version: cgroup_version.to_owned(),
        security_options: security(facts),
        kernel_version: uname.release().to_string_lossy().into_owned(),
        operating_system: operating_system(),
        os_type: "linux".to_owned(),
        architecture: uname.machine().to_string_lossy().into_owned(),
        cpus: rustix::thread::sched_getaffinity(None).map_or(u64::from(facts.cpus), |set| u64::from(set.count())),
        mem_total: facts.memory,
        name: uname.nodename().to_string_lossy().into_owned(),
        root: engine.paths.root.clone(),
        docker_root_dir: engine.paths.root.clone(),
        run: engine.paths.run.clone(),
        rootless: !facts.privileged,
        warnings: warnings(facts).into_iter().chain(closed).collect(),
        host: facts.clone(),
    })
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn security(facts: &HostFacts) -> Vec<String> {
    let mut all =
        vec!["name=seccomp,profile=default".to_owned(), "name=userns".to_owned(), "name=no-new-privileges".to_owned()];
    if facts.has_namespace("cgroup") {
        all.push("name=cgroupns".to_owned());
    }
    if facts.landlock_abi > 0 {
        all.push(format!("name=landlock,abi={}", facts.landlock_abi));
    }
    let modules = [("apparmor", facts.apparmor), ("selinux", facts.selinux)];
    // Active on the host; a container has the label that was asked for.
    all.extend(modules.iter().filter(|(_, active)| *active).map(|(name, _)| format!("name={name},profile=unset")));
    if !facts.privileged {
        all.push("name=rootless".to_owned());
    }
    all
}

fn warnings(facts: &HostFacts) -> Vec<String> {
    let mut all = Vec::new();
    let missing: Vec<&str> = match &facts.cgroup {
        CgroupLayout::None => {
            all.push(
                "no control group may be made by this user: limits on memory, CPU and I/O are refused, and 'pause' too"
                    .to_owned(),
            );
            Vec::new()
        }
        CgroupLayout::V1 { controllers } => {
            ["memory", "cpu", "pids", "blkio", "cpuset"].into_iter().filter(|c| !controllers.contains_key(*c)).collect()
        }
        CgroupLayout::V2 { controllers, .. } => {
            let has = |c: &str| controllers.iter().any(|h| h == c);
            ["memory", "cpu", "pids", "io", "cpuset"].into_iter().filter(|c| !has(c)).collect()
        }
    };
    all.extend(missing.iter().map(|c| format!("no {c} controller: limits that need it are refused")));
    if matches!(facts.cgroup, CgroupLayout::V1 { .. }) && !facts.swap_accounting {
        all.push("this kernel does not account swap: --memory-swap is refused".to_owned());
    }
    if facts.landlock_abi == 0 {
        all.push("no Landlock: mounts inside are held by the other means alone".to_owned());
    }
    all
}

fn operating_system() -> String {
    let text = ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|p| std::fs::read_to_string(p).ok());
    let text = text.unwrap_or_default();
    let name = text.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |n| n.trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bulkhead_sandbox::facts::{CgroupLayout, HostFacts};

    use super::{security, warnings};

    #[test]
    fn what_the_host_lacks_is_said() {
        let mut facts = HostFacts::gather().unwrap();
        facts.cgroup = CgroupLayout::V1 { controllers: BTreeMap::from([("memory".to_owned(), "/m".into())]) };
        facts.landlock_abi = 0;
        let text = warnings(&facts).join("\n");
        assert!(text.contains("no pids controller") && text.contains("no Landlock"), "{text}");
        facts.cgroup = CgroupLayout::None;
        assert!(warnings(&facts)[0].contains("this user"));
        facts.privileged = false;
        facts.landlock_abi = 3;
        let all = security(&facts);
        assert!(
            all.contains(&"name=rootless".to_owned()) && all.contains(&"name=landlock,abi=3".to_owned()),
            "{all:?}"
        );
    }
}
