//! Prints what the filter of a container engine's `config.json` costs, the first time in a process and again:
//! `cargo run --release --example config`. The text has the form that dockerd writes: one rule with all that is
//! allowed, and a few with conditions.

use bulkhead_seccomp::{Action, Arch, Context, Profile, ProfileText, compile, defaults, matcher, syscalls};
use std::error::Error;
use std::io::Write;
use std::time::{Duration, Instant};

const CONTEXT: Context = Context { arch: Arch::X86_64, caps: 0, kernel: (6, 12) };

fn text() -> Result<String, Box<dyn Error>> {
    let filter = defaults::compat_profile().resolve(&CONTEXT)?;
    let allowed = |arch: Arch, number: u32| {
        let data = bulkhead_seccomp::SyscallData { nr: number, arch: arch.audit(), ..Default::default() };
        matcher::verdict(&filter, &data) == Action::Allow
    };
    let mut names: Vec<&str> = Vec::new();
    for arch in [Arch::X86_64, Arch::X86] {
        let all = syscalls(arch).iter().filter(|(number, _)| allowed(arch, *number));
        names.extend(all.map(|(_, name)| *name));
    }
    names.retain(|name| !matches!(*name, "personality" | "clone" | "clone3" | "socket"));
    names.sort_unstable();
    names.dedup();
    let rule = |name: &str, value: u64, op: &str| serde_json::json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": value, "op": op}]});
    let mut rules = vec![serde_json::json!({"names": names, "action": "SCMP_ACT_ALLOW"})];
    rules.extend([0, 8, 0x20000, 0x20008, 0xffff_ffff].map(|value| rule("personality", value, "SCMP_CMP_EQ")));
    rules.push(rule("socket", 40, "SCMP_CMP_NE"));
    rules.push(rule("clone", 2_114_060_288, "SCMP_CMP_MASKED_EQ"));
    rules.push(serde_json::json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}));
    Ok(serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules,
    })
    .to_string())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout();
    // The text is made by another process, so that nothing is warm here.
    let Some(path) = std::env::args().nth(1) else {
        writeln!(out, "{}", text()?)?;
        return Ok(());
    };
    let text = std::fs::read_to_string(path)?;
    let rounds: u32 = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(200);
    let mut first = None;
    let mut best = [Duration::MAX; 4];
    for _ in 0..rounds {
        let start = Instant::now();
        let shape: ProfileText = serde_json::from_str(&text)?;
        let read = start.elapsed();
        let profile = Profile::from_text(&shape)?;
        let checked = start.elapsed();
        let filter = profile.resolve(&CONTEXT)?;
        let resolved = start.elapsed();
        let program = compile(&filter)?;
        let compiled = start.elapsed();
        std::hint::black_box(program);
        let times = [read, checked - read, resolved - checked, compiled - resolved];
        first.get_or_insert(times);
        best = [0, 1, 2, 3].map(|i| best[i].min(times[i]));
    }
    let [first, again] = [first.unwrap_or_default(), best].map(|t| (t.iter().sum::<Duration>(), t));
    writeln!(out, "read, check, resolve, compile: first {first:?}, again {again:?}")?;
    Ok(())
}
