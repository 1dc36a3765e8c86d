//! `bulkhead network policy`.

use clap::Args;
use serde_json::{Value, json};

use crate::commands::{Entry, flags_of};
use crate::error::CliError;
use crate::flags::network::flows;
use crate::line::Flags;
use crate::output::{self, template::Format};
use crate::wire::{self, FlowRule, Policy, PolicyChange};

/// The command.
pub const ENTRY_POLICY: Entry = Entry {
    name: "policy",
    about: "Show or change what the members of a network may send each other",
    footer: "\
A flow is FROM -> TO[:PORT[-PORT]][/tcp|udp|sctp|icmp|any]; the arrow may be written → too. FROM and TO are names of
containers, or aliases on the network, or * for every member. A port without a protocol is one of TCP; without either
everything is meant. What answers a flow may come back. A network with a policy lets nothing else pass between its members;
without one they reach each other. A change holds at once, also for containers that run.

Examples:
  bulkhead network policy shop
  bulkhead network policy --allow 'web -> db:5432/tcp' --allow '* -> dns:53/any' shop
  bulkhead network policy --allow none shop
  bulkhead network policy --remove 'web -> db:5432/tcp' shop
  bulkhead network policy --clear shop",
    flags: Flags::Anywhere,
    build: PolicyFlags::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

#[derive(Debug, Args)]
struct PolicyFlags {
    /// A flow that may be, or none for a policy that lets nothing pass; may be repeated
    #[arg(long, value_name = "FLOW")]
    allow: Vec<String>,
    /// A flow that may not be any more; may be repeated
    #[arg(long, value_name = "FLOW")]
    remove: Vec<String>,
    /// No policy: members reach each other
    #[arg(long)]
    clear: bool,
    /// Names that no member has are of containers that are still to come
    #[arg(long)]
    later: bool,
    /// "json", or a template like '{{.From}}', or "table …" [default: table]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Name, id or the start of an id
    #[arg(value_name = "NETWORK")]
    network: String,
}

impl PolicyFlags {
    /// What is to be changed, in order.
    fn changes(&self) -> Result<Vec<PolicyChange>, CliError> {
        let (allow, remove) = (flows("--allow", &self.allow)?, flows("--remove", &self.remove)?);
        if self.clear && (allow.is_some() || remove.is_some()) {
            return Err(CliError::usage("--clear does not go together with --allow and --remove")
                .with_hint("without a policy everything is allowed; to begin anew, clear it first"));
        }
        if let Some([]) = remove.as_deref() {
            return Err(CliError::invalid("--remove", "none", "a flow of the policy is needed"));
        }
        if self.later && allow.is_none() {
            return Err(CliError::usage("--later says something of --allow").with_hint("leave it out"));
        }
        let clear = self.clear.then_some(PolicyChange::Clear);
        let remove = remove.map(PolicyChange::Remove);
        let allow = allow.map(|flows| PolicyChange::Allow { flows, later: self.later });
        Ok(clear.into_iter().chain(remove).chain(allow).collect())
    }
}

fn row(flow: &FlowRule, policy: &Policy) -> Value {
    let what = flow.what.to_string();
    let unknown: Vec<&str> =
        [&flow.from, &flow.to].into_iter().filter(|n| policy.unknown.contains(*n)).map(String::as_str).collect();
    json!({
        "From": flow.from,
        "To": flow.to,
        "Traffic": if what.is_empty() { "any" } else { what.trim_start_matches([':', '/']) },
        "Missing": unknown.join(","),
    })
}

/// What stands where there is no table of flows.
fn sentence(policy: &Policy) -> Option<String> {
    let name = &policy.network;
    match &policy.flows {
        None if policy.isolated => Some(format!("network {name} has no policy: its members do not reach each other\n")),
        None => Some(format!("network {name} has no policy: its members reach each other\n")),
        Some(flows) if flows.is_empty() => {
            Some(format!("the policy of network {name} has no flow: nothing passes between its members\n"))
        }
        Some(_) => None,
    }
}

fn execute(words: &PolicyFlags) -> Result<u8, CliError> {
    let format = Format::listing(words.format.as_deref())?;
    let changes = words.changes()?;
    let mut policy = None;
    for change in &changes {
        policy = Some(wire::change_policy(&words.network, change)?);
    }
    let policy = match policy {
        // What was done needs no answer; who asks for a form gets it.
        Some(_) if words.format.is_none() => return Ok(0),
        Some(policy) => policy,
        None => wire::policy(&words.network)?,
    };
    let rows: Vec<Value> = policy.flows.iter().flatten().map(|flow| row(flow, &policy)).collect();
    let text = match (format, sentence(&policy)) {
        (None, Some(sentence)) => sentence,
        (None, None) => {
            Format::parse("table {{.From}}\t{{.To}}\t{{.Traffic}}\t{{.Missing}}")?.render(&rows, str::to_uppercase)?
        }
        (Some(format), _) => format.render(&rows, str::to_uppercase)?,
    };
    output::text(&text)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn changes(words: &[&str]) -> Result<Vec<PolicyChange>, String> {
        let matches = crate::commands::parsed(&ENTRY_POLICY, words).unwrap();
        flags_of::<PolicyFlags>(&matches).unwrap().changes().map_err(|e| e.message)
    }

    #[test]
    fn what_is_removed_goes_first() {
        assert_eq!(changes(&["net"]), Ok(vec![]));
        assert_eq!(changes(&["--clear", "net"]), Ok(vec![PolicyChange::Clear]));
        let both = changes(&["--allow", "a -> b", "--remove", "c -> d", "--later", "net"]).unwrap();
        assert!(matches!(both.as_slice(), [PolicyChange::Remove(_), PolicyChange::Allow { later: true, .. }]));
        let none = changes(&["--allow", "none", "net"]).unwrap();
        assert_eq!(none, [PolicyChange::Allow { flows: vec![], later: false }]);
        for (words, wanted) in [
            (&["--clear", "--allow", "a -> b", "net"][..], "--clear"),
            (&["--remove", "none", "net"], "--remove"),
            (&["--later", "net"], "--later"),
            (&["--allow", "a b", "net"], "\"a b\""),
            (&["--allow", "none", "--allow", "a -> b", "net"], "\"none\""),
        ] {
            let error = changes(words).unwrap_err();
            assert!(error.contains(wanted), "{words:?}: {error}");
        }
    }

    #[test]
    fn a_row_names_who_is_missing() {
        let flow = FlowRule::parse("web -> db:5432").unwrap();
        let mut policy = Policy {
            network: "shop".to_owned(),
            flows: Some(vec![flow.clone()]),
            unknown: BTreeSet::from(["db".to_owned()]),
            isolated: false,
        };
        let row = row(&flow, &policy);
        assert_eq!((&row["Traffic"], &row["Missing"]), (&"5432/tcp".into(), &"db".into()));
        assert_eq!(sentence(&policy), None);
        policy.flows = Some(vec![]);
        assert!(sentence(&policy).unwrap().contains("nothing passes"));
        policy.flows = None;
        assert!(sentence(&policy).unwrap().contains("its members reach each other"));
    }
}
