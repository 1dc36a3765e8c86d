//! Filters in words.

use crate::action::Action;
use crate::arch::{Arch, X32_BIT};
use crate::args::argument_name;
use crate::filter::{ArchFilter, Condition, Filter, Op, Rule, Width};
use crate::syscalls::{syscall_name, syscall_number, syscalls};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a filter says about one call, for example
/// `socket: allow if domain is AF_UNIX (1) | allow if domain is AF_INET (2) | else EAFNOSUPPORT`.
/// `None` if the ABI is not listed or has no such call.
#[must_use]
pub fn call(filter: &Filter, arch: Arch, name: &str) -> Option<String> {
    let part = filter.arch(arch)?;
    let number = syscall_number(arch, name)?;
    Some(format!("{name}: {}", verdict(filter, part, number)))
}

/// One line per call number of an ABI, from 0 to a few numbers above the newest known call.
/// Machine-private numbers far above follow by themselves.
#[must_use]
pub fn verdict_table(filter: &Filter, arch: Arch) -> String {
    let mut table = format!("# {arch}, default {}\n", filter.default_action());
    let Some(part) = filter.arch(arch) else {
        table.push_str("# not listed: every call kills the process, or fails with ENOSYS (x32)\n");
        return table;
    };
    let bit = if arch == Arch::X32 { X32_BIT } else { 0 };
    let private = |number: &u32| *number >= 0x000f_0000 && bit == 0;
    let known = syscalls(arch).iter().map(|(number, _)| *number);
    let newest = known.clone().filter(|number| !private(number)).max();
    let numbers = bit..=newest.unwrap_or(bit).saturating_add(4);
    for number in numbers.chain(known.filter(private)) {
        let name = syscall_name(arch, number).unwrap_or("-");
        let verdict = verdict(filter, part, number);
        // Writing to a string cannot fail.
        let _written = writeln!(table, "{} {name}: {verdict}", number & !bit);
    }
    table
}

/// How many calls of an ABI are always allowed, depend on arguments, and are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Allowed whatever the arguments are.
    pub allowed: usize,
    /// Allowed with some arguments, or when a listener says so.
    pub conditional: usize,
    /// Never allowed.
    pub refused: usize,
}

/// Counts the known calls of an ABI by verdict; all refused if it is not listed.
#[must_use]
pub fn counts(filter: &Filter, arch: Arch) -> Counts {
    let mut counts = Counts::default();
    for (number, _) in syscalls(arch) {
        let part = filter.arch(arch);
        let outcomes = part.map(|part| outcomes(filter, part, *number));
        let outcomes = outcomes.unwrap_or_else(|| vec![Action::KillProcess]);
        if outcomes.iter().all(|action| action.permits()) {
            counts.allowed += 1;
        } else if outcomes.iter().any(|action| action.permits() || *action == Action::Notify) {
            counts.conditional += 1;
        } else {
            counts.refused += 1;
        }
    }
    counts
}

/// A page about a filter: the ABIs, then the known calls grouped by verdict.
#[must_use]
pub fn summary(filter: &Filter) -> String {
    let mut text = format!("unknown calls: {}\n", filter.default_action());
    for part in filter.arches() {
        let mut groups: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (number, name) in syscalls(part.arch()) {
            let verdict = verdict(filter, part, *number);
            groups.entry(verdict).or_default().push(name);
        }
        let _written = writeln!(text, "\n{}:", part.arch());
        for (verdict, names) in groups {
            let _written = writeln!(text, "  {verdict}\n    {}", names.join(" "));
        }
    }
    text.push_str("\nany other ABI: kill process; x32 beside x86_64: ENOSYS\n");
    text
}

/// The rules that can make a difference and the action when none holds.
fn effective<'a>(filter: &Filter, part: &'a ArchFilter, number: u32) -> (Vec<&'a Rule>, Action) {
    let rules = part.rules(number);
    let mut kept = Vec::new();
    for rule in rules {
        let mut constants = rule.conditions.iter().map(Condition::constant);
        if constants.clone().any(|constant| constant == Some(false)) {
            continue;
        }
        if constants.all(|constant| constant == Some(true)) {
            return (kept, rule.action);
        }
        kept.push(rule);
    }
    let above = part.unknown_above().is_some_and(|highest| number > highest);
    let otherwise = if rules.is_empty() && above { Action::ENOSYS } else { filter.default_action() };
    (kept, otherwise)
}

fn outcomes(filter: &Filter, part: &ArchFilter, number: u32) -> Vec<Action> {
    let (rules, otherwise) = effective(filter, part, number);
    rules.iter().map(|rule| rule.action).chain([otherwise]).collect()
}

fn verdict(filter: &Filter, part: &ArchFilter, number: u32) -> String {
    let (rules, otherwise) = effective(filter, part, number);
    if rules.is_empty() {
        return otherwise.to_string();
    }
    let name = syscall_name(part.arch(), number).unwrap_or_default();
    let mut parts: Vec<String> = rules
        .iter()
        .map(|rule| {
            let conditions = rule.conditions.iter().filter(|c| c.constant().is_none());
            let words: Vec<String> = conditions.map(|c| condition(name, c)).collect();
            format!("{} if {}", rule.action, words.join(" and "))
        })
        .collect();
    parts.push(format!("else {otherwise}"));
    parts.join(" | ")
}

fn condition(call: &str, condition: &Condition) -> String {
    let argument = match argument_name(call, condition.arg) {
        Some(name) => name.to_owned(),
        None => format!("argument {}", condition.arg),
    };
    let wide = match condition.width {
        Width::W32 => "",
        Width::W64 => " (64 bits)",
    };
    let value = value(call, condition.arg, condition.value);
    match condition.op {
        Op::Eq => format!("{argument}{wide} is {value}"),
        Op::Ne => format!("{argument}{wide} is not {value}"),
        Op::Lt => format!("{argument}{wide} < {value}"),
        Op::Le => format!("{argument}{wide} <= {value}"),
        Op::Gt => format!("{argument}{wide} > {value}"),
        Op::Ge => format!("{argument}{wide} >= {value}"),
        Op::MaskedEq => {
            let (mask, expected) = (condition.value, condition.value_two);
            format!("{argument}{wide} & {mask:#x} is {expected:#x}")
        }
    }
}

fn value(call: &str, argument: u8, value: u64) -> String {
    let word = match (call, argument, value) {
        ("socket" | "socketpair", 0, 1) => "AF_UNIX",
        ("socket" | "socketpair", 0, 2) => "AF_INET",
        ("socket" | "socketpair", 0, 10) => "AF_INET6",
        ("socket" | "socketpair", 0, 16) => "AF_NETLINK",
        ("socket" | "socketpair", 0, 17) => "AF_PACKET",
        ("socket" | "socketpair", 0, 38) => "AF_ALG",
        ("socket" | "socketpair", 0, 40) => "AF_VSOCK",
        ("ioctl", 1, 0x5412) => "TIOCSTI",
        ("ioctl", 1, 0x541c) => "TIOCLINUX",
        ("setsockopt", 1, 6) => "SOL_TCP",
        ("setsockopt", 2, 31) => "TCP_ULP",
        _ => return format!("{value:#x}"),
    };
    word.to_owned()
}
