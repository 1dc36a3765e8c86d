//! The tables in outline: every chain, where packets come into it, and how often it is used.
//!
//! Every start compares this with the kernel's; to make all rules for that would take longer than the kernel takes to show
//! its own. A test keeps it as the rules are.

use super::model::{Base, Family};

/// A chain in outline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outline {
    pub(crate) family: Family,
    pub(crate) name: &'static str,
    pub(crate) base: Option<Base>,
    /// Its rules, and those that lead to it.
    pub(crate) used: u32,
}

const fn chain(family: Family, name: &'static str, used: u32) -> Outline {
    Outline { family, name, base: None, used }
}

const fn base(
    family: Family,
    name: &'static str,
    (kind, hook, priority): (&'static str, u32, i32),
    used: u32,
) -> Outline {
    Outline { family, name, base: Some(Base { kind, hook, priority }), used }
}

/// All chains of a table.
pub(crate) fn of(family: Family) -> impl Iterator<Item = &'static Outline> + Clone {
    ALL.iter().filter(move |chain| chain.family == family)
}

const B: Family = Family::Bridge;
const I: Family = Family::Inet;

#[rustfmt::skip]
const ALL: &[Outline] = &[
    chain(B, "drop_frame", 4),
    chain(B, "drop_source", 7),
    chain(B, "drop_router", 5),
    chain(B, "drop_dhcp", 4),
    chain(B, "drop_multicast", 4),
    chain(B, "drop_linklocal", 4),
    chain(B, "from_ip4", 5),
    chain(B, "from_arp", 4),
    chain(B, "from_ip6", 12),
    chain(B, "member", 5),
    base(B, "prerouting", ("filter", 0, -300), 1),
    chain(B, "drop_policy", 4),
    chain(B, "policy", 20),
    base(B, "forward", ("filter", 2, -200), 1),
    chain(I, "record", 4),
    chain(I, "deny", 6),
    chain(I, "refuse", 10),
    chain(I, "routed", 10),
    chain(I, "between", 4),
    chain(I, "outbound", 14),
    chain(I, "inbound", 4),
    chain(I, "to_host", 7),
    chain(I, "publish", 9),
    base(I, "forward", ("filter", 2, 0), 3),
    base(I, "input", ("filter", 1, 0), 1),
    base(I, "ports", ("filter", 0, -300), 1),
    base(I, "prerouting", ("nat", 0, -100), 1),
    base(I, "output", ("nat", 3, -100), 1),
    base(I, "postrouting", ("nat", 4, 100), 3),
];

#[cfg(test)]
mod tests {
    use super::super::expr::{Expr, Verdict};
    use super::super::rules;
    use super::*;

    #[test]
    fn it_is_that_of_the_rules() {
        let mut all = Vec::new();
        for table in rules::tables() {
            let every = || table.chains.iter().flat_map(|c| &c.rules).flat_map(|r| &r.expressions);
            for chain in &table.chains {
                let leads =
                    |e: &&Expr| matches!(e, Expr::Then(Verdict::Jump(to) | Verdict::Goto(to)) if *to == chain.name);
                let used = u32::try_from(chain.rules.len() + every().filter(leads).count()).expect("few");
                all.push(Outline { family: table.family, name: chain.name, base: chain.base, used });
            }
        }
        let line = |one: &Outline| {
            let family = if one.family == B { "B" } else { "I" };
            match one.base {
                None => format!("    chain({family}, {:?}, {}),", one.name, one.used),
                Some(Base { kind, hook, priority }) => {
                    format!("    base({family}, {:?}, ({kind:?}, {hook}, {priority}), {}),", one.name, one.used)
                }
            }
        };
        let lines: Vec<String> = all.iter().map(line).collect();
        assert_eq!(ALL, all, "it should be:\n{}", lines.join("\n"));
    }
}
