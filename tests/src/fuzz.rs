//! What must hold for any input, one function for each target in `fuzz/`; and a short deterministic run of them, for
//! machines without a fuzzer. A broken promise is a panic.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bulkhead_sandbox::cgroup::CgroupPlan;
use bulkhead_sandbox::cgroup::oci as cgroup;
use bulkhead_sandbox::facts::{CgroupLayout, HostFacts, Reserve};
use bulkhead_sandbox::oci::config::{Config, LinuxResources};
use bulkhead_sandbox::oci::{Ask, Entered, Rest, plan, plan_exec};
use bulkhead_sandbox::{fuzz, join, verify};
use bulkhead_seccomp::{Arch, Context, Profile, ProfileText, Program, SyscallData, compile, matcher, vm};

/// A host: with version 1 or 2 of control groups, seen by root or by an ordinary user.
fn facts(v2: bool, privileged: bool) -> HostFacts {
    let names = ["blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids"];
    let v1 = names.map(|n| (n.to_owned(), PathBuf::from(format!("/sys/fs/cgroup/{n}"))));
    HostFacts {
        privileged,
        nested: false,
        uid: if privileged { 0 } else { 1000 },
        gid: if privileged { 0 } else { 1000 },
        kernel: (6, 12),
        landlock_abi: 6,
        namespaces: ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"].map(str::to_owned).to_vec(),
        cgroup: if v2 {
            CgroupLayout::V2 {
                base: PathBuf::from("/sys/fs/cgroup"),
                controllers: ["cpu", "cpuset", "io", "memory", "pids"].map(str::to_owned).to_vec(),
            }
        } else {
            CgroupLayout::V1 { controllers: v1.into_iter().collect() }
        },
        kernel_mounts: vec!["/proc".to_owned(), "/sys".to_owned()],
        below_sys: vec!["/sys/fs/cgroup".to_owned(), "/sys/kernel/debug".to_owned()],
        swap_accounting: true,
        apparmor: true,
        selinux: false,
        keyrings: true,
        hard_limits: BTreeMap::from([("nofile".to_owned(), 4096)]),
        may_raise_limits: privileged,
        memory: 8 << 30,
        pid_max: 32_768,
        cpus: 4,
        oom_score_adj: 0,
        reserve: Reserve::default(),
    }
}

fn own(v2: bool) -> cgroup::Own {
    if v2 {
        return cgroup::Own::of("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n", "0::/user.slice/a.scope\n");
    }
    let names = ["blkio", "cpu,cpuacct", "cpuset", "devices", "freezer", "memory", "pids", "net_cls"];
    let mounts = names
        .iter()
        .enumerate()
        .map(|(i, n)| format!("{} 23 0:{} / /sys/fs/cgroup/{n} rw - cgroup cgroup rw,{n}\n", 30 + i, 40 + i));
    let groups = names.iter().enumerate().map(|(i, n)| format!("{i}:{n}:/\n"));
    cgroup::Own::of(&mounts.collect::<String>(), &groups.collect::<String>())
}

/// Manifests and indexes: what is accepted is one thing, and is read again as the same.
///
/// # Panics
/// When it is not.
pub fn manifest(bytes: &[u8]) {
    use bulkhead_image::manifest::{Document, candidates, parse};
    match parse("fuzz", bytes, None) {
        Ok(Document::Index(entries)) => {
            assert!(entries.len() <= 4096);
            let mut others = Vec::new();
            let fitting = candidates(&entries, &bulkhead_image::Platform::current(), &mut others).len();
            assert!(fitting + others.len() <= entries.len());
        }
        Ok(Document::Manifest(one)) => {
            assert_eq!(one.bytes, bytes);
            let meter = bulkhead_image::Meter::new(&bulkhead_image::Budget::default());
            if one.check("fuzz", &meter).is_ok() {
                assert!(one.layers.len() <= 127);
            }
        }
        Err(e) => assert!(e.to_string().len() < 2000, "{e}"),
    }
}

/// Addresses and challenges of registries.
///
/// # Panics
/// When a promise is broken.
pub fn registry_words(bytes: &[u8]) {
    bulkhead_registry::fuzz::words(&String::from_utf8_lossy(bytes));
}

/// Files of credentials.
///
/// # Panics
/// When a promise is broken.
pub fn auth_file(bytes: &[u8]) {
    bulkhead_registry::fuzz::auth_file(bytes);
}

/// The hosts that plans are made for.
const HOSTS: [(bool, bool); 3] = [(false, true), (true, true), (true, false)];

/// The path of a bundle that is nowhere.
const BUNDLE: &str = "/nonexistent/bundle";

/// `config.json` to a plan: whatever comes out passes `verify`.
///
/// # Panics
/// When it does not, or a config is not what it was when it is written and read again.
pub fn config_to_plan(bytes: &[u8]) {
    let Ok(config) = Config::read(bytes) else { return };
    let written = serde_json::to_vec(&config).unwrap();
    assert_eq!(Config::read(&written).expect("what is written can be read"), config);
    for (v2, privileged) in HOSTS {
        let facts = facts(v2, privileged);
        let linux = config.linux();
        let group = |systemd: bool| {
            let ask = cgroup::Ask {
                id: "c1",
                path: &linux.cgroups_path,
                resources: linux.resources.as_ref(),
                systemd,
                annotations: &config.annotations,
                rootless: !privileged,
                own: &own(v2),
            };
            cgroup::plan(&ask, &facts)
        };
        let group = group(false).or_else(|_| group(true)).unwrap_or(CgroupPlan::None);
        let ask = Ask {
            id: "c1",
            bundle: Path::new(BUNDLE),
            cgroup: group,
            no_pivot: bytes.len().is_multiple_of(5),
            no_new_keyring: bytes.len().is_multiple_of(2),
            waits: !bytes.len().is_multiple_of(3),
            preserve: 0,
            resctrl: bytes.len().is_multiple_of(3).then_some(Path::new("/sys/fs/resctrl")),
        };
        let target = join::Target { pid: 1, started: 1, namespaces: 0x1000_0000, cgroups: Vec::new() };
        let entered = Entered { id: "c1", target: &target, preserve: 0, no_new_keyring: true };
        if let Some(process) = &config.process {
            drop(plan_exec(&config, process, &entered, &facts));
        }
        if let Ok(plan) = plan(&config, &ask, &facts) {
            if let Err(e) = verify::verify(&plan) {
                panic!("v2 {v2}, root {privileged}: {e}: {plan:#?}");
            }
            Rest::of(&config, 0, &facts).expect("what is left of a plan can be planned");
            assert!(!plan.describe().is_empty());
        }
    }
}

/// Messages between parent and child: what can be read is written as it was, but for bytes that mean nothing.
///
/// # Panics
/// When it is not.
pub fn protocol(bytes: &[u8]) {
    for some in bytes.windows(8) {
        let some: [u8; 8] = some.try_into().unwrap();
        if let Some(written) = fuzz::protocol(some) {
            assert_eq!(written[..4], some[..4]);
            assert_eq!(fuzz::protocol(written), Some(written));
        }
    }
}

/// A profile to a program: what comes out is valid, and says what the profile says.
///
/// # Panics
/// When it does not.
pub fn seccomp_profile(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    drop(Profile::from_json(text));
    let Ok(shape) = serde_json::from_str::<ProfileText>(text) else { return };
    let Ok(profile) = Profile::from_text(&shape) else { return };
    let again: ProfileText = serde_json::from_str(&profile.to_json().unwrap()).unwrap();
    assert_eq!(Profile::from_text(&again).unwrap(), profile);
    for (arch, caps) in [(Arch::X86_64, 0), (Arch::Aarch64, u64::MAX)] {
        let Ok(filter) = profile.resolve(&Context { arch, caps, kernel: (6, 12) }) else { continue };
        let Ok(program) = compile(&filter) else { continue };
        assert_eq!(Program::from_insns(program.insns().to_vec()).as_ref(), Ok(&program));
        for part in filter.arches() {
            let named = part.calls().iter().map(|call| call.number);
            let numbers =
                named.flat_map(|n| [n.saturating_sub(1), n, n.saturating_add(1)]).chain([0, 0x4000_0000, u32::MAX]);
            let values: Vec<u64> = part
                .calls()
                .iter()
                .flat_map(|call| call.rules.iter())
                .flat_map(|rule| rule.conditions.iter())
                .flat_map(|c| [c.value, c.value_two, c.value.wrapping_add(1), c.value.wrapping_sub(1)])
                .take(40)
                .chain([0, u64::MAX, 1 << 32])
                .collect();
            for number in numbers.take(200) {
                for value in &values {
                    let data =
                        SyscallData { nr: number, arch: part.arch().audit(), args: [*value; 6], ..Default::default() };
                    let run = vm::run(&program, &data).expect("the program stays on its rails");
                    assert_eq!(run.action, matcher::verdict(&filter, &data), "{arch} {number} {value:#x}");
                }
            }
        }
    }
}

/// `linux.resources` to what is written into a group: every file lies in a group's directory.
///
/// # Panics
/// When one does not.
pub fn cgroup_resources(bytes: &[u8]) {
    let Ok(resources) = serde_json::from_slice::<LinuxResources>(bytes) else { return };
    for (v2, privileged) in HOSTS {
        for (systemd, path) in [(false, "/a/b"), (false, ""), (true, "system.slice:a:b")] {
            let ask = cgroup::Ask {
                id: "c1",
                path,
                resources: Some(&resources),
                systemd,
                annotations: &BTreeMap::new(),
                rootless: !privileged,
                own: &own(v2),
            };
            let Ok(CgroupPlan::Oci(group)) = cgroup::plan(&ask, &facts(v2, privileged)) else { continue };
            let places = group.directories();
            for setting in &group.settings {
                let parent = setting.file.parent().expect("a file has a directory");
                assert!(places.iter().any(|place| place == parent), "{}: {places:?}", setting.file.display());
            }
        }
    }
}

/// Messages of a bus: what can be read is the same when it is written and read again.
///
/// # Panics
/// When it is not.
pub fn dbus_wire(bytes: &[u8]) {
    assert_ne!(fuzz::bus_message(bytes), Some(false));
}

/// Changes to inputs that are known to be good: the same ones in every run.
#[derive(Debug)]
pub struct Mutator {
    seeds: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
    state: u64,
}

impl Mutator {
    /// Of the seeds in `fuzz/corpus/` for a target.
    ///
    /// # Panics
    /// When there are none.
    #[must_use]
    pub fn of(target: &str) -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
        let entries = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let seeds: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
        assert!(!seeds.is_empty(), "{} has seeds", dir.display());
        // What stands between separators of JSON, with what has broken readers before.
        let mut words: Vec<Vec<u8>> = seeds
            .iter()
            .flat_map(|seed| seed.split(|b| b",:[]{}\n\t ".contains(b)))
            .filter(|word| (1..40).contains(&word.len()))
            .map(<[u8]>::to_vec)
            .collect();
        for word in [
            "null",
            "-1",
            "0",
            "1",
            "18446744073709551615",
            "-9223372036854775808",
            "4294967295",
            "1e99",
            "\"\"",
            "{}",
            "[]",
            "true",
            "\"..\"",
            "\"/\"",
            "\"/proc/self\"",
            "\"\\u0000\"",
            "\"a/../../b\"",
            "\"rro\"",
            "65536",
        ] {
            words.push(word.as_bytes().to_vec());
        }
        words.sort();
        words.dedup();
        Self { seeds, words, state: 0x9e37_79b9_7f4a_7c15 }
    }

    /// The inputs that are changed.
    #[must_use]
    pub fn seeds(&self) -> &[Vec<u8>] {
        &self.seeds
    }

    fn random(&mut self, below: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state >> 33).unwrap() % below.max(1)
    }

    /// The next input.
    #[must_use]
    pub fn input(&mut self) -> Vec<u8> {
        let at = self.random(self.seeds.len());
        let mut bytes = self.seeds[at].clone();
        for _ in 0..=self.random(4) {
            let at = self.random(bytes.len());
            match self.random(6) {
                // Most changes leave it JSON: one value is put in the place of another.
                0..=2 => {
                    let is = |b: &u8| b",:[]{}\n\t ".contains(b);
                    let start = bytes[..at].iter().rposition(is).map_or(0, |i| i + 1);
                    let end = bytes[at..].iter().position(is).map_or(bytes.len(), |i| at + i).max(start);
                    let word = self.random(self.words.len());
                    bytes.splice(start..end, self.words[word].clone());
                }
                3 => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << (at % 8);
                    }
                }
                4 => {
                    let end = (at + self.random(40)).min(bytes.len());
                    bytes.drain(at.min(end)..end);
                }
                _ => {
                    let end = (at + self.random(40)).min(bytes.len());
                    let piece = bytes[at.min(end)..end].to_vec();
                    let to = self.random(bytes.len());
                    bytes.splice(to..to, piece);
                }
            }
        }
        bytes
    }
}
