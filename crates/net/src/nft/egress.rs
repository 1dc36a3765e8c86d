//! What a container reaches outside: everything, or what a list has.

use super::expr::*;
use super::model::{Field, Filled, Leads, Rule, Set};
use super::rules::*;

/// Bridge and member without a list.
pub(crate) const FREE4: &str = "free4";
pub(crate) const FREE6: &str = "free6";
/// Member, addresses outside, protocol and destination port that a list has.
pub(crate) const EGRESS4: &str = "egress4";
pub(crate) const EGRESS6: &str = "egress6";
/// The same for addresses that belong to a name, for as long as they do.
pub(crate) const PINNED4: &str = "pinned4";
pub(crate) const PINNED6: &str = "pinned6";
/// Counter of what no list has.
pub(crate) const REASON: &str = "egress";

/// Sets of the table `inet`.
pub(super) fn sets() -> Vec<Set> {
    let of = |name, key, filled| Set { name, key, leads: Leads::Nowhere, filled };
    vec![
        of(FREE4, &[Field::Link, Field::V4], Filled::Declared),
        of(FREE6, &[Field::Link, Field::V6], Filled::Declared),
        of(EGRESS4, FLOW4, Filled::Boxes),
        of(EGRESS6, FLOW6, Filled::Boxes),
        of(PINNED4, FLOW4, Filled::Pinned),
        of(PINNED6, FLOW6, Filled::Pinned),
    ]
}

/// The end of the way out: what is on no list is refused.
pub(super) fn rules() -> Vec<Rule> {
    let accept = then(Verdict::Accept);
    let (v4, v6) = (is(FAMILY, &[IPV4]), is(FAMILY, &[IPV6]));
    let flow4 = [IP4_SOURCE, IP4_DESTINATION, L4, PORT];
    let flow6 = [IP6_SOURCE, IP6_DESTINATION, L4, PORT];
    vec![
        rule("without a list", &[&v4, &look(&[IN_NAME, IP4_SOURCE], FREE4, Found::Key), &accept]),
        rule("without a list", &[&v6, &look(&[IN_NAME, IP6_SOURCE], FREE6, Found::Key), &accept]),
        rule("on the list", &[&v4, &look(&flow4, EGRESS4, Found::Key), &accept]),
        rule("on the list", &[&v6, &look(&flow6, EGRESS6, Found::Key), &accept]),
        rule("by a name on the list", &[&v4, &look(&flow4, PINNED4, Found::Key), &accept]),
        rule("by a name on the list", &[&v6, &look(&flow6, PINNED6, Found::Key), &accept]),
        rule("not on the list", &[&counted(REASON, "refuse")]),
    ]
}
