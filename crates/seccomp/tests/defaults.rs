//! Properties of the shipped profiles.

#![allow(clippy::unwrap_used, reason = "a failure is the result of the test")]

use bulkhead_seccomp::defaults::{compat_profile, default_profile, strict_profile};
use bulkhead_seccomp::{
    Action, Arch, Context, Filter, Profile, SyscallData, Width, caps, compile, explain, matcher, syscall_number,
    syscalls,
};
use std::collections::BTreeSet;

const NATIVE: [Arch; 2] = [Arch::X86_64, Arch::Aarch64];

fn resolve(profile: &Profile, arch: Arch, granted: &[&str]) -> Filter {
    let context = Context { arch, caps: caps::set(granted), kernel: (6, 12) };
    profile.resolve(&context).unwrap()
}

fn ask(filter: &Filter, arch: Arch, name: &str, args: [u64; 6]) -> Option<Action> {
    let number = syscall_number(arch, name)?;
    Some(matcher::verdict(filter, &SyscallData::new(arch, number, args)))
}

#[test]
fn every_native_call_is_decided_on_purpose() {
    for profile in [default_profile(), strict_profile(), compat_profile()] {
        let named: BTreeSet<&str> =
            profile.rules().iter().flat_map(|rule| &rule.names).map(|name| name.as_ref()).collect();
        for arch in NATIVE {
            let undecided: Vec<&str> =
                syscalls(arch).iter().map(|(_, name)| *name).filter(|name| !named.contains(name)).collect();
            assert!(undecided.is_empty(), "{arch}: {undecided:?}");
        }
    }
}

#[test]
fn every_rule_has_a_reason() {
    for rule in default_profile().rules() {
        assert!(!rule.comment.is_empty(), "{:?}", rule.names);
    }
}

/// The flags of clone are a `long`, but only bits of the low half are masked.
#[test]
fn every_condition_looks_at_the_low_half() {
    for (profile, arch) in [default_profile(), compat_profile()].iter().zip(NATIVE) {
        for part in resolve(profile, arch, &[]).arches() {
            for call in part.calls() {
                for condition in call.rules.iter().flat_map(|rule| &rule.conditions) {
                    let masked =
                        u32::try_from(condition.value).is_ok() && condition.op == bulkhead_seccomp::Op::MaskedEq;
                    assert!(condition.width == Width::W32 || masked, "{arch} {} {condition:?}", call.number);
                }
            }
        }
    }
}

#[test]
fn strict_is_the_default_without_splicing() {
    for arch in NATIVE {
        let (default, strict) = (resolve(&default_profile(), arch, &[]), resolve(&strict_profile(), arch, &[]));
        let differs: Vec<&str> = syscalls(arch)
            .iter()
            .map(|(_, name)| *name)
            .filter(|name| ask(&default, arch, name, [0; 6]) != ask(&strict, arch, name, [0; 6]))
            .collect();
        let expected: BTreeSet<&str> = ["splice", "tee", "sendfile"].into();
        assert_eq!(differs.into_iter().collect::<BTreeSet<_>>(), expected);
        assert_eq!(ask(&strict, arch, "sendfile", [0; 6]), Some(Action::ENOSYS));
    }
}

/// What C libraries and language runtimes try at start; a refusal here costs time or correctness.
#[test]
fn probes_of_libraries_and_runtimes_pass() {
    let probes = "rseq membarrier futex futex_waitv statx faccessat2 openat2 close_range epoll_pwait2 \
        landlock_create_ruleset landlock_add_rule landlock_restrict_self mseal map_shadow_stack cachestat \
        fchmodat2 prlimit64 getrandom set_robust_list set_tid_address copy_file_range memfd_create \
        pidfd_open pidfd_send_signal preadv2 pwritev2 pkey_alloc madvise sched_getaffinity getcpu \
        sigaltstack rt_sigtimedwait timer_create timerfd_create eventfd2 signalfd4 inotify_init1 \
        name_to_handle_at io_setup execveat mlock2 renameat2 prctl seccomp capget capset statmount \
        listmount process_mrelease setxattrat file_getattr brk uname arch_prctl vfork";
    for arch in NATIVE {
        for profile in [default_profile(), strict_profile(), compat_profile()] {
            let filter = resolve(&profile, arch, &[]);
            for name in probes.split_ascii_whitespace() {
                let verdict = ask(&filter, arch, name, [0; 6]);
                assert!(matches!(verdict, None | Some(Action::Allow)), "{arch} {name} {verdict:?}");
            }
        }
    }
}

#[test]
fn capabilities_open_their_calls_and_nothing_else() {
    let gates = [
        ("CAP_SYS_ADMIN", "mount unshare setns clone3 sethostname fanotify_init fanotify_mark pivot_root"),
        ("CAP_SYS_CHROOT", "chroot"),
        ("CAP_SYS_PTRACE", "ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd process_madvise"),
        ("CAP_SYS_TIME", "settimeofday clock_settime"),
        ("CAP_SYS_NICE", "mbind set_mempolicy get_mempolicy move_pages"),
        ("CAP_SYSLOG", "syslog"),
        ("CAP_SYS_BOOT", "reboot"),
        ("CAP_SYS_MODULE", "init_module finit_module delete_module"),
        ("CAP_SYS_PACCT", "acct"),
        ("CAP_SYS_RAWIO", "iopl ioperm"),
        ("CAP_SYS_TTY_CONFIG", "vhangup"),
        ("CAP_BPF", "bpf"),
        ("CAP_PERFMON", "perf_event_open"),
        ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ];
    for (holder, _) in gates {
        let filter = resolve(&default_profile(), Arch::X86_64, &[holder]);
        for (cap, calls) in gates {
            for name in calls.split_ascii_whitespace() {
                let verdict = ask(&filter, Arch::X86_64, name, [0; 6]);
                assert_eq!(verdict == Some(Action::Allow), cap == holder, "{holder}: {name} {verdict:?}");
            }
        }
    }
    let block_device = [3, 0, 0x6000, 0, 0, 0];
    for (granted, action) in [(&["CAP_MKNOD"][..], Action::Allow), (&[], Action::EPERM)] {
        let filter = resolve(&default_profile(), Arch::X86_64, granted);
        assert_eq!(ask(&filter, Arch::X86_64, "mknodat", block_device), Some(action));
    }
    let raw = resolve(&default_profile(), Arch::X86_64, &["CAP_NET_RAW"]);
    assert_eq!(ask(&raw, Arch::X86_64, "socket", [17, 3, 0, 0, 0, 0]), Some(Action::Allow));
}

/// Calls that even every capability does not open.
#[test]
fn some_calls_stay_closed() {
    for arch in NATIVE {
        for profile in [default_profile(), compat_profile()] {
            let context = Context { arch, caps: u64::MAX, kernel: (6, 12) };
            let filter = profile.resolve(&context).unwrap();
            for name in ["io_uring_setup", "userfaultfd", "keyctl", "add_key", "kexec_load", "swapon"] {
                assert_eq!(ask(&filter, arch, name, [0; 6]), Some(Action::EPERM), "{arch} {name}");
            }
        }
    }
}

/// Bounds with some room: a jump means that the compiler or the table changed in kind.
#[test]
fn size_of_tables_and_programs() {
    for (profile, arch, allowed, insns) in [
        (default_profile(), Arch::X86_64, 285..=305, 150),
        (default_profile(), Arch::Aarch64, 245..=270, 150),
        (strict_profile(), Arch::X86_64, 280..=300, 150),
        (compat_profile(), Arch::X86_64, 300..=330, 320),
        (compat_profile(), Arch::Aarch64, 260..=290, 240),
    ] {
        let filter = resolve(&profile, arch, &[]);
        let counts = explain::counts(&filter, arch);
        let length = compile(&filter).unwrap().insns().len();
        assert!(allowed.contains(&(counts.allowed + counts.conditional)), "{arch} {counts:?}");
        assert!(length <= insns, "{arch} {length}");
    }
}
