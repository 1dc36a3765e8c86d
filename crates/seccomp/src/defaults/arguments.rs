//! Calls whose verdict depends on their arguments.
//!
//! Rules of a call are tried in order; the last one often holds always, which reads "otherwise".

use super::{Mode, rule, with, without};
use crate::action::Action;
use crate::errno;
use crate::filter::Op;
use crate::profile::{Arg, ProfileRule};

const EAFNOSUPPORT: Action = Action::Errno(errno::EAFNOSUPPORT);
const EPROTONOSUPPORT: Action = Action::Errno(errno::EPROTONOSUPPORT);
const EOPNOTSUPP: Action = Action::Errno(errno::EOPNOTSUPP);
const ENOPROTOOPT: Action = Action::Errno(errno::ENOPROTOOPT);

const AF_UNIX: u64 = 1;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const AF_NETLINK: u64 = 16;
const AF_PACKET: u64 = 17;
const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;
const NETLINK_ROUTE: u64 = 0;
/// Socket diagnosis, IPsec, netfilter, generic.
const NETLINK_ADMIN: [u64; 4] = [4, 6, 12, 16];

/// `CLONE_NEWNS`, `NEWCGROUP`, `NEWUTS`, `NEWIPC`, `NEWUSER`, `NEWPID`, `NEWNET`. A new time
/// namespace cannot be asked for here: its bit is part of the exit signal.
const CLONE_NEW: u64 = 0x7e02_0000;

const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541c;
const SOL_TCP: u64 = 6;
const TCP_ULP: u64 = 31;
const MSG_OOB: u64 = 1;

const S_IFMT: u64 = 0xf000;
/// None given (a regular file), FIFO, regular file, socket.
const HARMLESS_NODES: [u64; 4] = [0, 0x1000, 0x8000, 0xc000];

/// Plain Linux, `PER_LINUX32`, both with `UNAME26`, and the question for the present one.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Holds always.
const OTHERWISE: Arg = masked(0, 0, 0);

const fn equal(index: u8, value: u64) -> Arg {
    Arg { index, op: Op::Eq, value, value_two: 0 }
}

const fn masked(index: u8, mask: u64, expected: u64) -> Arg {
    Arg { index, op: Op::MaskedEq, value: mask, value_two: expected }
}

pub(super) fn rules(mode: Mode) -> Vec<ProfileRule> {
    let mut rules = clone();
    rules.extend(personality());
    rules.extend(ioctl());
    rules.extend(setsockopt());
    if mode == Mode::Compat {
        rules.extend(docker());
    } else {
        rules.extend(sockets());
        rules.extend(out_of_band());
        rules.extend(nodes());
        rules.extend(debugging());
    }
    rules
}

fn clone() -> Vec<ProfileRule> {
    let why = "processes and threads, but no new namespaces";
    let hidden = "flags are behind a pointer; without the call C libraries use clone";
    let key = "CAP_SYS_ADMIN";
    vec![
        without(rule("clone", Action::Allow, &[masked(0, CLONE_NEW, 0)], why), &[key]),
        without(rule("clone", Action::EPERM, &[OTHERWISE], why), &[key]),
        with(rule("clone clone3", Action::Allow, &[], why), key),
        without(rule("clone3", Action::ENOSYS, &[], hidden), &[key]),
    ]
}

fn personality() -> Vec<ProfileRule> {
    let why = "other values switch address randomisation off or pages to executable";
    let allowed = PERSONALITIES.map(|value| rule("personality", Action::Allow, &[equal(0, value)], why));
    let mut rules = Vec::from(allowed);
    rules.push(rule("personality", Action::EPERM, &[OTHERWISE], why));
    rules
}

fn ioctl() -> Vec<ProfileRule> {
    let input = "types into the terminal that started the container";
    let namespaces = "hands out descriptors of namespaces";
    let refuse = |arg, why| rule("ioctl", Action::EPERM, &[arg], why);
    vec![
        refuse(equal(1, TIOCSTI), input),
        refuse(equal(1, TIOCLINUX), input),
        // Every request of the type nsfs uses (NS_GET_USERNS and its kin).
        refuse(masked(1, 0xff00, 0xb700), namespaces),
        // PIDFD_GET_*_NAMESPACE, 0xff01 to 0xff0a without a size.
        refuse(masked(1, 0xffff_fff8, 0xff00), namespaces),
        refuse(masked(1, 0xffff_fffc, 0xff08), namespaces),
        rule("ioctl", Action::Allow, &[OTHERWISE], "all other requests"),
    ]
}

fn setsockopt() -> Vec<ProfileRule> {
    let why = "TLS in the kernel; libraries keep it in user space when refused";
    let ulp = [equal(1, SOL_TCP), equal(2, TCP_ULP)];
    vec![
        rule("setsockopt", ENOPROTOOPT, &ulp, why),
        rule("setsockopt", Action::Allow, &[OTHERWISE], "all other options"),
    ]
}

fn sockets() -> Vec<ProfileRule> {
    let why = "families of ordinary software; raw ones need CAP_NET_RAW in the kernel";
    let netlink = "routes and addresses; other protocols reach deep into the kernel";
    let family = |value| rule("socket", Action::Allow, &[equal(0, value)], why);
    let protocol = |value| {
        let args = [equal(0, AF_NETLINK), equal(2, value)];
        rule("socket", Action::Allow, &args, netlink)
    };
    let mut rules = vec![family(AF_UNIX), family(AF_INET), family(AF_INET6), protocol(NETLINK_ROUTE)];
    rules.extend(NETLINK_ADMIN.map(|value| with(protocol(value), "CAP_NET_ADMIN")));
    rules.push(rule("socket", EPROTONOSUPPORT, &[equal(0, AF_NETLINK)], netlink));
    rules.push(with(family(AF_PACKET), "CAP_NET_RAW"));
    rules.push(rule("socket", EAFNOSUPPORT, &[OTHERWISE], why));
    rules.push(rule("socketpair", Action::Allow, &[equal(0, AF_UNIX)], why));
    rules.push(rule("socketpair", EAFNOSUPPORT, &[OTHERWISE], why));
    rules
}

/// Sending and receiving, with the index of the flags.
const TRANSFERS: [(&str, u8); 2] = [("sendto recvfrom sendmmsg recvmmsg", 3), ("sendmsg recvmsg", 2)];

fn out_of_band() -> Vec<ProfileRule> {
    let why = "out-of-band data, a rarely used part of UNIX sockets with exploited bugs";
    let mut rules = Vec::new();
    for (calls, flags) in TRANSFERS {
        rules.push(rule(calls, Action::Allow, &[masked(flags, MSG_OOB, 0)], why));
        rules.push(rule(calls, EOPNOTSUPP, &[OTHERWISE], why));
    }
    rules
}

fn nodes() -> Vec<ProfileRule> {
    let why = "files, FIFOs and sockets; devices need CAP_MKNOD";
    let mut rules = Vec::new();
    for (call, mode) in [("mknod", 1), ("mknodat", 2)] {
        for kind in HARMLESS_NODES {
            rules.push(rule(call, Action::Allow, &[masked(mode, S_IFMT, kind)], why));
        }
        rules.push(with(rule(call, Action::Allow, &[], why), "CAP_MKNOD"));
        rules.push(without(rule(call, Action::EPERM, &[OTHERWISE], why), &["CAP_MKNOD"]));
    }
    rules
}

fn debugging() -> Vec<ProfileRule> {
    let calls = "ptrace process_vm_readv process_vm_writev";
    let why = "memory and registers of other processes";
    let watch = "watching files of the whole mount";
    vec![
        with(rule(calls, Action::Allow, &[], why), "CAP_SYS_PTRACE"),
        without(rule(calls, Action::EPERM, &[], why), &["CAP_SYS_PTRACE"]),
        with(rule("fanotify_mark", Action::Allow, &[], watch), "CAP_SYS_ADMIN"),
        without(rule("fanotify_mark", Action::EPERM, &[], watch), &["CAP_SYS_ADMIN"]),
    ]
}

/// What Docker allows of all this.
fn docker() -> Vec<ProfileRule> {
    let why = "as in Docker";
    let other = "families with exploited bugs";
    let calls = "socketpair sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg mknod mknodat ptrace \
                 process_vm_readv process_vm_writev fanotify_mark";
    vec![
        rule("socket", EAFNOSUPPORT, &[equal(0, AF_ALG)], other),
        rule("socket", EAFNOSUPPORT, &[equal(0, AF_VSOCK)], other),
        rule("socket", Action::Allow, &[OTHERWISE], why),
        rule(calls, Action::Allow, &[], why),
    ]
}
