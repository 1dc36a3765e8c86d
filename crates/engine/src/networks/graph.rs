//! Networks, who is on them, and what may flow: what `network graph` draws.

use std::collections::BTreeMap;

use super::lan::Lan;
use super::ports::shown;
use super::rules::EgressRule;
use super::{FlowRule, ready};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::layout::Layout;
use crate::request::NetMode;
use crate::store::NetworkRecord;

/// Everything that is drawn, in an order that depends on names alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    /// Networks by their names.
    pub networks: Vec<GraphNetwork>,
    /// Containers that are on none, and what they have instead: `none`, `host`, or `container:` and a name.
    pub apart: Vec<(String, String)>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphNetwork {
    /// Its name.
    pub name: String,
    /// Driver and subnets.
    pub kind: String,
    /// What flows between its members.
    pub between: Between,
    /// Its members by their names.
    pub members: Vec<GraphMember>,
    /// Flows that its policy states, by members' names; ends that nobody is stand as they are written.
    pub flows: Vec<GraphFlow>,
}

/// What flows between members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Between {
    /// Nothing.
    Nothing,
    /// What a policy states.
    Stated,
    /// Everything.
    Everything,
}

/// A flow between two members.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GraphFlow {
    /// Who begins.
    pub from: String,
    /// Who answers.
    pub to: String,
    /// What is sent: `5432/tcp`, `icmp`, `any`.
    pub what: String,
    /// Both are there.
    pub known: bool,
}

/// A container on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphMember {
    /// Its name.
    pub name: String,
    /// Its addresses there; none when it does not run.
    pub addresses: Vec<String>,
    /// Further names there.
    pub aliases: Vec<String>,
    /// Its own names for other containers, and theirs.
    pub links: Vec<(String, String)>,
    /// Ports of the host that lead to it by this network, and where to: `127.0.0.1:8080`, `80/tcp`.
    pub ports: Vec<(String, String)>,
    /// What it reaches outside by this network.
    pub out: Out,
}

/// What is reached outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Out {
    /// Nothing.
    Nothing,
    /// What a list has.
    Listed(Vec<String>),
    /// Everything that containers may reach.
    Everything,
}

/// `5432/tcp` of `:5432/tcp`; `any` of nothing.
fn words(what: &str) -> String {
    let text = what.trim_start_matches([':', '/']);
    if text.is_empty() { "any".to_owned() } else { text.to_owned() }
}

/// Reads everything that is to be drawn.
///
/// # Errors
/// What the store says.
pub fn graph(engine: &Engine) -> Result<Graph, EngineError> {
    engine.recover()?;
    ready(engine)?;
    let store = engine.store()?;
    let mut networks: BTreeMap<String, GraphNetwork> = BTreeMap::new();
    for record in store.list_networks()? {
        networks.insert(record.name.clone(), empty(&record));
    }
    let mut graph = Graph::default();
    let containers = store.list_containers()?;
    let called = |id: &str| {
        let short = || id.get(..12).unwrap_or(id).to_owned();
        containers.iter().find(|c| c.id == id).map_or_else(short, |c| c.name.clone())
    };
    for record in &containers {
        let joined = store.joined(&record.id)?;
        let runs = Layout::new(&engine.paths, &record.id).read_state().is_some();
        let ports = if runs { store.ports_of(&record.id)? } else { Vec::new() };
        if joined.is_empty() {
            let instead = match &record.request.net.mode {
                NetMode::Container(name) => format!("container:{name}"),
                NetMode::Host => "host".to_owned(),
                _ => "none".to_owned(),
            };
            graph.apart.push((record.name.clone(), instead));
        }
        for one in joined {
            let Some(network) = networks.get_mut(&one.network.name) else { continue };
            let own: Vec<std::net::IpAddr> = one.lease.iter().flat_map(|l| l.addresses()).collect();
            let here = ports.iter().filter(|p| own.contains(&p.target));
            let list = one.wish.egress.as_ref().or(one.network.egress.as_ref());
            network.members.push(GraphMember {
                name: record.name.clone(),
                addresses: own.iter().map(ToString::to_string).collect(),
                aliases: one.wish.aliases.clone(),
                links: one.wish.links.iter().map(|(name, other)| (name.clone(), called(other))).collect(),
                ports: here.map(|p| (shown(p.address, p.port), format!("{}/{}", p.inner, p.protocol))).collect(),
                out: out(&one.network, list.map(Vec::as_slice)),
            });
        }
    }
    for record in store.list_networks()? {
        let Some(network) = networks.get_mut(&record.name) else { continue };
        network.members.sort_by(|a, b| a.name.cmp(&b.name));
        for member in &mut network.members {
            member.ports.sort();
        }
        let rules = record.policy.unwrap_or_default();
        network.flows = flows(&rules, &network.members);
    }
    graph.networks = networks.into_values().collect();
    graph.apart.sort();
    Ok(graph)
}

fn empty(record: &NetworkRecord) -> GraphNetwork {
    let subnets: Vec<String> = record.blocks().map(|block| block.subnet.to_string()).collect();
    GraphNetwork {
        name: record.name.clone(),
        kind: format!(
            "{} {}",
            Lan::of(record).map_or_else(|| record.driver.clone(), |lan| lan.show()),
            subnets.join(" ")
        ),
        between: match (record.isolated, &record.policy) {
            (true, _) => Between::Nothing,
            (false, Some(_)) => Between::Stated,
            (false, None) => Between::Everything,
        },
        members: Vec::new(),
        flows: Vec::new(),
    }
}

fn out(network: &NetworkRecord, list: Option<&[EgressRule]>) -> Out {
    match list {
        _ if network.internal => Out::Nothing,
        None => Out::Everything,
        Some([]) => Out::Nothing,
        Some(list) => Out::Listed(list.iter().map(ToString::to_string).collect()),
    }
}

/// Flows by members' names: an alias is who has it, the sign for everybody each of them.
fn flows(rules: &[FlowRule], members: &[GraphMember]) -> Vec<GraphFlow> {
    let who = |end: &str| -> Vec<(String, bool)> {
        let is = |m: &&GraphMember| end == "*" || m.name == end || m.aliases.iter().any(|alias| alias == end);
        let found: Vec<_> = members.iter().filter(is).map(|m| (m.name.clone(), true)).collect();
        if found.is_empty() { vec![(end.to_owned(), false)] } else { found }
    };
    let mut all = Vec::new();
    for rule in rules {
        for (from, here) in who(&rule.from) {
            for (to, there) in
                who(&rule.to).into_iter().filter(|(to, _)| *to != from || rule.from != "*" && rule.to != "*")
            {
                let what = words(&rule.what.to_string());
                all.push(GraphFlow { from: from.clone(), to, what, known: here && there });
            }
        }
    }
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, alias: &str) -> GraphMember {
        GraphMember {
            name: name.to_owned(),
            addresses: Vec::new(),
            aliases: vec![alias.to_owned()],
            links: Vec::new(),
            ports: Vec::new(),
            out: Out::Everything,
        }
    }

    #[test]
    fn flows_are_drawn_between_those_who_are_meant() {
        let members = [member("base", "db"), member("web", "www")];
        let rules: Vec<FlowRule> = ["www -> db:5432", "* -> base/icmp", "cache -> web", "* -> *:7"]
            .iter()
            .map(|text| FlowRule::parse(text).unwrap())
            .collect();
        let shown: Vec<String> =
            flows(&rules, &members).iter().map(|f| format!("{} {} {} {}", f.from, f.to, f.what, f.known)).collect();
        let expected = [
            "base web 7/tcp true",
            "cache web any false",
            "web base 5432/tcp true",
            "web base 7/tcp true",
            "web base icmp true",
        ];
        assert_eq!(shown, expected);
    }
}
