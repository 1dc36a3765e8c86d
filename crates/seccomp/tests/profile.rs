//! Reading, writing and resolving profiles.

#![allow(clippy::unwrap_used, reason = "a failure is the result of the test")]

use bulkhead_seccomp::defaults::{compat_profile, default_profile, strict_profile};
use bulkhead_seccomp::{
    Action, Arch, Architectures, Context, Filter, FilterFlag, Profile, ProfileText, SyscallData, caps, explain,
    matcher, syscall_number,
};
use std::error::Error;

const X86_64: Context = Context { arch: Arch::X86_64, caps: 0, kernel: (6, 12) };

fn read(json: &str) -> Profile {
    Profile::from_json(json).unwrap()
}

/// A profile with these rules and `EPERM` as default.
fn rules(rules: &str) -> Profile {
    read(&format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{rules}]}}"#))
}

fn ask(filter: &Filter, name: &str, args: [u64; 6]) -> Action {
    let number = syscall_number(Arch::X86_64, name).unwrap();
    matcher::verdict(filter, &SyscallData::new(Arch::X86_64, number, args))
}

fn verdict(profile: &Profile, name: &str, args: [u64; 6]) -> Action {
    ask(&profile.resolve(&X86_64).unwrap(), name, args)
}

fn first(value: u64) -> [u64; 6] {
    [value, 0, 0, 0, 0, 0]
}

/// The whole chain of messages.
fn refusal(json: &str) -> String {
    let error = Profile::from_json(json).unwrap_err();
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[test]
fn docker_form() {
    let profile = read(
        r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_RISCV64", "subArchitectures": null}],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "", "includes": {}, "excludes": {}},
            {"name": "getpid", "action": "SCMP_ACT_ALLOW", "args": []},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}},
            {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
            {"names": ["cacheflush"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm", "arm64"]}},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": {"caps": ["CAP_SYS_ADMIN"]}}
        ]}"#,
    );
    assert_eq!(profile.flags(), [FilterFlag::Log]);
    assert_eq!(verdict(&profile, "read", [0; 6]), Action::Allow);
    assert_eq!(verdict(&profile, "getpid", [0; 6]), Action::Allow);
    assert_eq!(verdict(&profile, "ptrace", [0; 6]), Action::Allow);
    assert_eq!(verdict(&profile, "clone3", [0; 6]), Action::ENOSYS);
    assert_eq!(verdict(&profile, "bpf", [0; 6]), Action::EPERM);
    assert_eq!(verdict(&profile, "arch_prctl", [0; 6]), Action::Allow);

    let old = profile.resolve(&Context { kernel: (4, 7), ..X86_64 }).unwrap();
    assert_eq!(ask(&old, "ptrace", [0; 6]), Action::EPERM);
    let one = profile.resolve(&Context { caps: caps::set(&["CAP_SYS_ADMIN"]), ..X86_64 }).unwrap();
    assert_eq!(ask(&one, "bpf", [0; 6]), Action::EPERM, "all listed capabilities are needed");
    assert_eq!(ask(&one, "clone3", [0; 6]), Action::EPERM, "one excluded capability is enough");
    let both = caps::set(&["CAP_SYS_ADMIN", "CAP_BPF"]);
    let both = profile.resolve(&Context { caps: both, ..X86_64 }).unwrap();
    assert_eq!(ask(&both, "bpf", [0; 6]), Action::Allow);

    let arches: Vec<Arch> = both.arches().iter().map(|part| part.arch()).collect();
    assert_eq!(arches, [Arch::X86_64, Arch::X86]);
    assert!(profile.resolve(&Context { arch: Arch::X32, ..X86_64 }).is_err());
}

#[test]
fn oci_form() {
    let profile = read(
        r#"{"defaultAction": "SCMP_ACT_KILL_PROCESS",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
        "listenerPath": "/run/x.sock", "listenerMetadata": "m",
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG"},
            {"names": ["personality"], "action": "SCMP_ACT_TRACE", "errnoRet": 7,
             "args": [{"index": 0, "value": 4, "valueTwo": 4, "op": "SCMP_CMP_MASKED_EQ"}]}]}"#,
    );
    assert_eq!(profile.listener(), (Some("/run/x.sock"), Some("m")));
    assert!(matches!(profile.architectures(), Architectures::Listed(names) if names.len() == 2));
    assert_eq!(verdict(&profile, "read", [0; 6]), Action::Log);
    assert_eq!(verdict(&profile, "personality", first(5)), Action::Trace(7));
    assert_eq!(verdict(&profile, "personality", first(3)), Action::KillProcess);
    assert_eq!(profile.resolve(&X86_64).unwrap().arches().len(), 2);
}

/// Who has a listener reads the shape first; who has none refuses.
#[test]
fn a_filter_that_asks() {
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/s","syscalls":[{"names":["mkdir"],
        "action":"SCMP_ACT_NOTIFY","args":[{"index":1,"value":511,"op":"SCMP_CMP_EQ"}]}]}"#;
    assert!(refusal(text).contains("rule 1: action \"SCMP_ACT_NOTIFY\" is not supported here"), "{}", refusal(text));
    let shape: ProfileText = serde_json::from_str(text).unwrap();
    assert_eq!((shape.listener_path(), shape.listener_metadata(), shape.is_empty()), (Some("/s"), "", false));
    let profile = Profile::from_text(&shape).unwrap();
    let second = |value: u64| [0, value, 0, 0, 0, 0];
    assert_eq!(verdict(&profile, "mkdir", second(511)), Action::Notify);
    assert_eq!(verdict(&profile, "mkdir", second(0)), Action::Allow);
    let again: ProfileText = serde_json::from_str(&profile.to_json().unwrap()).unwrap();
    assert_eq!(Profile::from_text(&again).unwrap(), profile);
    let filter = profile.resolve(&X86_64).unwrap();
    assert_eq!(explain::call(&filter, Arch::X86_64, "mkdir").unwrap(), "mkdir: ask if mode is 0x1ff | else allow");
    assert!(serde_json::from_str::<ProfileText>("{}").unwrap().is_empty());
}

#[test]
fn shipped_profiles_survive_a_round_trip() {
    for profile in [default_profile(), strict_profile(), compat_profile()] {
        let json = profile.to_json().unwrap();
        assert_eq!(read(&json), profile);
        assert!(profile.unknown_calls().is_empty(), "{:?}", profile.unknown_calls());
    }
    let other = read(
        r#"{"defaultAction":"SCMP_ACT_LOG","flags":["SECCOMP_FILTER_FLAG_TSYNC"],"listenerPath":"a",
        "architectures":["SCMP_ARCH_ARM"],"syscalls":[{"name":"x","action":"SCMP_ACT_TRACE","errnoRet":3,
        "excludes":{"arches":["s390"],"minKernel":"5.10"},
        "args":[{"index":5,"value":18446744073709551615,"op":"SCMP_CMP_GT"}]}]}"#,
    );
    assert_eq!(read(&other.to_json().unwrap()), other);
    assert_eq!(other.unknown_calls(), ["x"]);
}

#[test]
fn refusals_name_field_value_and_choices() {
    let rule = |body: &str| refusal(&format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{body}]}}"#));
    let arg = |body: &str| rule(&format!(r#"{{"name":"read","action":"SCMP_ACT_LOG","args":[{body}]}}"#));
    for (message, words) in [
        (refusal("{}"), vec!["missing field `defaultAction`"]),
        (refusal(r#"{"defaultAction":"ALLOW"}"#), vec!["profile", "defaultAction \"ALLOW\"", "SCMP_ACT_ALLOW"]),
        (
            refusal(r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":5000}"#),
            vec!["defaultErrnoRet is 5000", "4095"],
        ),
        (refusal(r#"{"defaultAction":"SCMP_ACT_LOG","rules":[]}"#), vec!["unknown field `rules`", "`syscalls`"]),
        (refusal(r#"{"defaultAction":"SCMP_ACT_LOG","defaultAction":"SCMP_ACT_ALLOW"}"#), vec!["duplicate field"]),
        (refusal(r#"{"defaultAction":"SCMP_ACT_LOG","flags":["X"]}"#), vec!["flags \"X\"", "SECCOMP_FILTER_FLAG_LOG"]),
        (
            refusal(r#"{"defaultAction":"SCMP_ACT_LOG","architectures":["amd64"]}"#),
            vec!["\"amd64\"", "SCMP_ARCH_X86_64"],
        ),
        (
            refusal(
                r#"{"defaultAction":"SCMP_ACT_LOG","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}"#,
            ),
            vec!["archMap"],
        ),
        (rule(r#"{"name":"read","action":"SCMP_ACT_NOTIFY"}"#), vec!["rule 1", "SCMP_ACT_NOTIFY", "not supported"]),
        (refusal(r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#), vec!["profile", "SCMP_ACT_NOTIFY"]),
        (rule(r#"{"name":"read","action":"allow"}"#), vec!["rule 1", "action \"allow\"", "SCMP_ACT_ERRNO"]),
        (rule(r#"{"name":"read","action":"SCMP_ACT_ERRNO","errnoRet":4096}"#), vec!["errnoRet is 4096"]),
        (rule(r#"{"name":"read","names":["write"],"action":"SCMP_ACT_LOG"}"#), vec!["name", "names"]),
        (rule(r#"{"names":[],"action":"SCMP_ACT_LOG"}"#), vec!["rule 1"]),
        (rule(r#"{"name":"read","action":"SCMP_ACT_LOG","when":1}"#), vec!["unknown field `when`", "`includes`"]),
        (
            rule(r#"{"name":"read","action":"SCMP_ACT_LOG","includes":{"cap":[]}}"#),
            vec!["unknown field `cap`", "`caps`"],
        ),
        (
            rule(r#"{"name":"read","action":"SCMP_ACT_LOG","excludes":{"caps":["SYS_ADMIN"]}}"#),
            vec!["caps \"SYS_ADMIN\"", "CAP_SYS_ADMIN"],
        ),
        (
            rule(r#"{"name":"read","action":"SCMP_ACT_LOG","includes":{"arches":["amd"]}}"#),
            vec!["arches \"amd\"", "amd64"],
        ),
        (
            rule(r#"{"name":"read","action":"SCMP_ACT_LOG","includes":{"minKernel":"5"}}"#),
            vec!["minKernel \"5\"", "MAJOR.MINOR"],
        ),
        (arg(r#"{"index":6,"value":0,"op":"SCMP_CMP_EQ"}"#), vec!["index is 6", "0 to 5"]),
        (arg(r#"{"index":0,"value":0,"op":"EQ"}"#), vec!["op \"EQ\"", "SCMP_CMP_MASKED_EQ"]),
        (arg(r#"{"index":0,"value":-1,"op":"SCMP_CMP_EQ"}"#), vec!["-1"]),
        (arg(r#"{"index":0,"value":0,"op":"SCMP_CMP_EQ","mask":1}"#), vec!["unknown field `mask`", "`valueTwo`"]),
    ] {
        for word in words {
            assert!(message.contains(word), "{word}: {message}");
        }
    }
}

#[test]
fn limits() {
    let rule = r#"{"name":"a","action":"SCMP_ACT_LOG"},"#;
    let many =
        format!(r#"{{"defaultAction":"SCMP_ACT_LOG","syscalls":[{}]}}"#, rule.repeat(10_001).trim_end_matches(','));
    assert!(refusal(&many).contains("10001 rules"));
    assert!(refusal(&" ".repeat(1024 * 1024 + 1)).contains("1048577 bytes"));
    let arg = r#"{"index":0,"value":1,"op":"SCMP_CMP_EQ"},"#;
    let args = |count| {
        format!(r#"{{"name":"read","action":"SCMP_ACT_ALLOW","args":[{}]}}"#, arg.repeat(count).trim_end_matches(','))
    };
    assert!(
        refusal(&format!(r#"{{"defaultAction":"SCMP_ACT_LOG","syscalls":[{}]}}"#, args(65))).contains("65 conditions")
    );
    let names: Vec<String> =
        bulkhead_seccomp::syscalls(Arch::X86_64).iter().map(|(_, name)| format!("\"{name}\"")).collect();
    let wide = args(64).replace("\"name\":\"read\"", &format!("\"names\":[{}]", names.join(",")));
    assert!(rules(&wide).resolve(&X86_64).is_ok());
    assert!(rules(&[&*wide; 3].join(",")).resolve(&X86_64).is_err());
}

#[test]
fn rules_of_a_call_are_alternatives_and_conditions_of_a_rule_are_not() {
    let profile = rules(
        r#"{"name":"fcntl","action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":1,"value":2,"op":"SCMP_CMP_EQ"}]},
           {"name":"fcntl","action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":9,"op":"SCMP_CMP_GT"}]}"#,
    );
    assert_eq!(verdict(&profile, "fcntl", [1, 2, 0, 0, 0, 0]), Action::Allow);
    assert_eq!(verdict(&profile, "fcntl", [1, 3, 0, 0, 0, 0]), Action::EPERM);
    assert_eq!(verdict(&profile, "fcntl", [10, 3, 0, 0, 0, 0]), Action::Allow);
}

#[test]
fn two_conditions_on_one_argument_are_alternatives() {
    let profile = rules(
        r#"{"name":"mmap","action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"},
            {"index":0,"value":2,"op":"SCMP_CMP_EQ"},{"index":1,"value":3,"op":"SCMP_CMP_EQ"}]}"#,
    );
    assert_eq!(verdict(&profile, "mmap", first(1)), Action::Allow);
    assert_eq!(verdict(&profile, "mmap", first(2)), Action::Allow);
    assert_eq!(verdict(&profile, "mmap", [7, 3, 0, 0, 0, 0]), Action::Allow, "all are split");
    assert_eq!(verdict(&profile, "mmap", first(7)), Action::EPERM);
}

#[test]
fn unconditional_rules_win_and_rules_equal_to_the_default_are_skipped() {
    let conditional =
        r#"{"name":"mmap","action":"SCMP_ACT_ERRNO","errnoRet":5,"args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]}"#;
    let plain = r#"{"name":"mmap","action":"SCMP_ACT_ALLOW"}"#;
    let default = r#"{"name":"mmap","action":"SCMP_ACT_ERRNO"}"#;
    for order in [[conditional, plain, default], [default, plain, conditional], [default, conditional, plain]] {
        assert_eq!(verdict(&rules(&order.join(",")), "mmap", first(1)), Action::Allow);
    }
    let profile = rules(&[default, conditional].join(","));
    assert_eq!(verdict(&profile, "mmap", first(1)), Action::Errno(5));
    assert_eq!(verdict(&profile, "mmap", first(2)), Action::EPERM);
}

#[test]
fn integers_are_compared_on_32_bits_and_longs_on_64() {
    // The shape of the rules that could be passed: "below N" and "above N".
    let profile = rules(
        r#"{"name":"socket","action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":40,"op":"SCMP_CMP_LT"}]},
           {"name":"socket","action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":40,"op":"SCMP_CMP_GT"}]},
           {"name":"mmap","action":"SCMP_ACT_ALLOW","args":[{"index":1,"value":40,"op":"SCMP_CMP_NE"}]}"#,
    );
    for high in [0, 1 << 32, 1 << 63, 0xffff_ffff << 32] {
        assert_eq!(verdict(&profile, "socket", first(high | 40)), Action::EPERM);
        assert_eq!(verdict(&profile, "socket", first(high | 39)), Action::Allow);
    }
    assert_eq!(verdict(&profile, "mmap", [0, 40, 0, 0, 0, 0]), Action::EPERM);
    assert_eq!(verdict(&profile, "mmap", [0, 1 << 32 | 40, 0, 0, 0, 0]), Action::Allow);
}

#[test]
fn large_values_for_integers() {
    let one = |op: &str, value: u64| {
        rules(&format!(
            r#"{{"name":"personality","action":"SCMP_ACT_ALLOW","args":[{{"index":0,"value":{value},"op":"SCMP_CMP_{op}"}}]}}"#
        ))
    };
    // A negative number, extended by whoever wrote the profile.
    assert_eq!(verdict(&one("EQ", u64::MAX), "personality", first(0xffff_ffff)), Action::Allow);
    // Not cut to 1: no 32-bit value is greater or equal.
    assert_eq!(verdict(&one("GT", 1 << 32 | 1), "personality", first(9)), Action::EPERM);
    assert_eq!(verdict(&one("EQ", 1 << 32 | 1), "personality", first(1)), Action::EPERM);
    assert_eq!(verdict(&one("LT", 1 << 32), "personality", first(0xffff_ffff)), Action::Allow);
}

#[test]
fn calls_newer_than_the_profile_look_absent() {
    let profile = rules(r#"{"name":"close_range","action":"SCMP_ACT_ALLOW"}"#);
    assert_eq!(verdict(&profile, "fsopen", [0; 6]), Action::EPERM);
    assert_eq!(verdict(&profile, "openat2", [0; 6]), Action::ENOSYS);
    let open = read(r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"read","action":"SCMP_ACT_ERRNO"}]}"#);
    assert_eq!(verdict(&open, "openat2", [0; 6]), Action::Allow);
}

#[test]
fn explanations() {
    let filter = default_profile().resolve(&X86_64).unwrap();
    let explain = |name| explain::call(&filter, Arch::X86_64, name).unwrap();
    assert_eq!(
        explain("socket"),
        "socket: allow if domain is AF_UNIX | allow if domain is AF_INET | allow if domain is AF_INET6 \
         | allow if domain is AF_NETLINK and protocol is 0x0 | EPROTONOSUPPORT if domain is AF_NETLINK \
         | else EAFNOSUPPORT"
    );
    assert_eq!(explain("clone"), "clone: allow if flags (64 bits) & 0x7e020000 is 0x0 | else EPERM");
    assert_eq!(explain("read"), "read: allow");
    assert_eq!(explain("clone3"), "clone3: ENOSYS");
    assert_eq!(explain::call(&filter, Arch::X86_64, "nope"), None);
    assert_eq!(explain::call(&filter, Arch::X86, "read"), None);
    assert!(explain::summary(&filter).contains("bpf"));
}
