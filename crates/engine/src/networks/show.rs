//! Networks in the form that Docker's clients know.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::lan::Lan;
use super::ports::shown;
use super::wire::bridge_link;
use crate::request::{ContainerRequest, NetMode};
use crate::store::{Block, Joined, Lease, NetworkRecord, PortRecord, User};

fn config(block: &Block) -> Value {
    let mut map = Map::new();
    map.insert("Subnet".to_owned(), json!(block.subnet.to_string()));
    if let Some(range) = block.range {
        map.insert("IPRange".to_owned(), json!(range.to_string()));
    }
    map.insert("Gateway".to_owned(), json!(block.gateway.to_string()));
    Value::Object(map)
}

/// An address with the prefix of its block.
fn with_prefix(address: Option<impl std::fmt::Display>, block: Option<Block>) -> String {
    address.zip(block).map_or_else(String::new, |(a, b)| format!("{a}/{}", b.subnet.prefix()))
}

/// A network as `network inspect` shows it.
pub(super) fn network(record: &NetworkRecord, members: &[(User, Option<Lease>)]) -> Value {
    let running = members.iter().filter_map(|(user, lease)| Some((user, lease.as_ref()?)));
    let containers: Map<String, Value> = running
        .map(|((id, name), lease)| {
            let shown = json!({
                "Name": name,
                "EndpointID": lease.link,
                "MacAddress": mac(record, lease),
                "IPv4Address": with_prefix(lease.v4, record.v4),
                "IPv6Address": with_prefix(lease.v6, record.v6),
            });
            (id.clone(), shown)
        })
        .collect();
    json!({
        "Name": record.name,
        "Id": record.id,
        "Created": crate::containers::time(record.created),
        "Scope": "local",
        "Driver": record.driver,
        "EnableIPv4": record.v4.is_some(),
        "EnableIPv6": record.v6.is_some(),
        "IPAM": {
            "Driver": "default",
            "Options": {},
            "Config": record.blocks().map(|b| config(&b)).collect::<Vec<_>>(),
        },
        "Internal": record.internal,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": containers,
        "Options": record.options,
        "Labels": record.labels,
        "Bulkhead": own(record, members),
    })
}

/// What Docker does not know of a network.
fn own(record: &NetworkRecord, members: &[(User, Option<Lease>)]) -> Value {
    let connected: Vec<&String> = members.iter().map(|((_, name), _)| name).collect();
    match Lan::of(record) {
        Some(lan) => json!({
            "Parent": lan.parent.clone().unwrap_or_else(|| bridge_link(&record.id)),
            "Mode": lan.mode(),
            "MTU": (record.mtu > 0).then_some(record.mtu),
            "Isolated": record.isolated,
            "Held": HELD,
            "NotHeld": NOT_HELD,
            "Connected": connected,
        }),
        None => json!({
            "Bridge": bridge_link(&record.id),
            "MTU": record.mtu,
            "Isolated": record.isolated,
            "Masquerade": record.masquerade && !record.internal,
            "Policy": record.policy,
            "Egress": record.egress,
            "Connected": connected,
        }),
    }
}

/// What holds on a link of the host, in the container's own network namespace.
const HELD: [&str; 5] = [
    "a container sends from its own addresses only",
    "no answers to ARP or neighbour discovery for others",
    "no multicast, broadcast, link-local or metadata addresses",
    "no router advertisements, redirects or answers of DHCP, in either direction",
    "no right to administer its network or to send raw packets",
];

/// What does not, because nothing of the host's is in between.
const NOT_HELD: [&str; 4] = [
    "published ports: it is reached at its own address",
    "policies and egress lists",
    "the host's firewall: what is beyond the parent reaches it, and is reached",
    "counts of what was stopped",
];

/// The hardware address, where it is the container's own.
fn mac(record: &NetworkRecord, lease: &Lease) -> String {
    if Lan::of(record).is_none_or(|lan| lan.kind.has_mac()) { lease.mac.to_string() } else { String::new() }
}

/// `NetworkMode` as Docker has it.
fn mode(request: &ContainerRequest) -> String {
    match &request.net.mode {
        NetMode::Networks => request.net.joins.first().map_or_else(|| "bridge".to_owned(), |j| j.network.clone()),
        _ => mode_without(request),
    }
}

/// What `inspect` shows below `HostConfig`.
pub(crate) fn host_config(request: &ContainerRequest) -> Value {
    let mut bindings: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for one in &request.net.publish {
        let span = one.inner.last - one.inner.first;
        for at in 0..=span {
            let host = match one.host {
                None => String::new(),
                Some(host) if host.last - host.first == span => (host.first + at).to_string(),
                Some(host) => host.to_string(),
            };
            let address = one.address.map(|a| a.to_string()).unwrap_or_default();
            bindings
                .entry(format!("{}/{}", one.inner.first + at, one.protocol))
                .or_default()
                .push(json!({ "HostIp": address, "HostPort": host }));
        }
    }
    json!({
        "NetworkMode": mode(request),
        "PortBindings": bindings,
        "PublishAllPorts": request.net.publish_all,
        "Egress": request.net.egress,
    })
}

/// What `inspect` shows as `NetworkSettings`.
pub(crate) fn settings(request: &ContainerRequest, joined: &[Joined], ports: &[PortRecord]) -> Value {
    let mut shown_ports: BTreeMap<String, Option<Vec<Value>>> = BTreeMap::new();
    let running = joined.iter().any(|j| j.lease.is_some());
    for exposed in request.net.expose.iter().filter(|_| running) {
        for port in exposed.ports.first..=exposed.ports.last {
            shown_ports.insert(format!("{port}/{}", exposed.protocol), None);
        }
    }
    for port in ports {
        let binding = json!({ "HostIp": port.address.to_string(), "HostPort": port.port.to_string() });
        let entry = shown_ports.entry(format!("{}/{}", port.inner, port.protocol)).or_default();
        entry.get_or_insert_default().push(binding);
    }
    let networks: Map<String, Value> = joined.iter().map(|j| (j.network.name.clone(), endpoint(j))).collect();
    let mut shown = json!({ "Networks": networks, "Ports": shown_ports });
    // Docker has those of its default network here too, and scripts read them.
    let default = joined.iter().find(|j| j.network.name == crate::store::DEFAULT_NETWORK).map(endpoint);
    if let (Some(shown), Some(default)) = (shown.as_object_mut(), default.as_ref().and_then(Value::as_object)) {
        let fields = ["EndpointID", "Gateway", "IPAddress", "IPPrefixLen", "MacAddress", "IPv6Gateway"];
        shown.extend(fields.iter().filter_map(|name| Some(((*name).to_owned(), default.get(*name)?.clone()))));
    }
    shown
}

fn endpoint(joined: &Joined) -> Value {
    let Joined { network, wish, lease, .. } = joined;
    let lease = lease.as_ref();
    let text = |value: Option<String>| value.unwrap_or_default();
    let gateway = |block: Option<Block>| text(block.filter(|_| lease.is_some()).map(|b| b.gateway.to_string()));
    let prefix = |has: bool, block: Option<Block>| block.filter(|_| has).map_or(0, |b| b.subnet.prefix());
    let (v4, v6) = (lease.and_then(|l| l.v4), lease.and_then(|l| l.v6));
    let asked = (wish.v4.is_some() || wish.v6.is_some()).then(|| {
        let mut map = Map::new();
        if let Some(address) = wish.v4 {
            map.insert("IPv4Address".to_owned(), json!(address.to_string()));
        }
        if let Some(address) = wish.v6 {
            map.insert("IPv6Address".to_owned(), json!(address.to_string()));
        }
        map
    });
    json!({
        "IPAMConfig": asked,
        "Links": if wish.links.is_empty() { Value::Null } else { json!(links(&wish.links)) },
        "Aliases": if wish.aliases.is_empty() { Value::Null } else { json!(wish.aliases) },
        "MacAddress": text(lease.map(|l| mac(network, l)).or_else(|| wish.mac.map(|m| m.to_string()))),
        "DriverOpts": Value::Null,
        "NetworkID": network.id,
        "EndpointID": text(lease.map(|l| l.link.clone())),
        "Gateway": gateway(network.v4),
        "IPAddress": text(v4.map(|a| a.to_string())),
        "IPPrefixLen": prefix(v4.is_some(), network.v4),
        "IPv6Gateway": gateway(network.v6),
        "GlobalIPv6Address": text(v6.map(|a| a.to_string())),
        "GlobalIPv6PrefixLen": prefix(v6.is_some(), network.v6),
    })
}

/// Links as Docker writes them: container and name.
fn links(all: &[(String, String)]) -> Vec<String> {
    all.iter().map(|(name, container)| format!("{container}:{name}")).collect()
}

/// What `ps` shows as networks.
pub(crate) fn names(request: &ContainerRequest, joined: Vec<String>) -> Vec<String> {
    if joined.is_empty() { vec![mode_without(request)] } else { joined }
}

/// What `ps` shows as ports: neighbours in a row as one range, as Docker does.
pub(crate) fn lines(request: &ContainerRequest, ports: &[PortRecord]) -> Vec<String> {
    let mut runs: Vec<(PortRecord, u16)> = Vec::new();
    let mut sorted: Vec<&PortRecord> = ports.iter().collect();
    sorted.sort_by_key(|p| (p.protocol, p.address, p.inner, p.port));
    for port in sorted {
        let follows = |(first, more): &(PortRecord, u16)| {
            (first.protocol, first.address) == (port.protocol, port.address)
                && first.inner.checked_add(more + 1) == Some(port.inner)
                && first.port.checked_add(more + 1) == Some(port.port)
        };
        match runs.last_mut().filter(|run| follows(run)) {
            Some((_, more)) => *more += 1,
            None => runs.push((port.clone(), 0)),
        }
    }
    let range = |first: u16, more: u16| {
        if more == 0 { first.to_string() } else { format!("{first}-{}", first.saturating_add(more)) }
    };
    let mut all: Vec<(u16, String)> = runs
        .iter()
        .map(|(p, more)| {
            let address = if p.address.is_ipv6() { format!("[{}]", p.address) } else { p.address.to_string() };
            let text = format!("{address}:{}->{}/{}", range(p.port, *more), range(p.inner, *more), p.protocol);
            (p.inner, text)
        })
        .collect();
    let published = |port: u16, protocol| ports.iter().any(|p| (p.inner, p.protocol) == (port, protocol));
    for one in &request.net.expose {
        if !(one.ports.first..=one.ports.last).any(|port| published(port, one.protocol)) {
            all.push((one.ports.first, one.to_string()));
        }
    }
    all.sort();
    all.into_iter().map(|(_, text)| text).collect()
}

fn mode_without(request: &ContainerRequest) -> String {
    match &request.net.mode {
        NetMode::Host => "host".to_owned(),
        NetMode::Container(name) => format!("container:{name}"),
        _ => "none".to_owned(),
    }
}

/// The networks and ports of a container in words.
pub(crate) fn describe(request: &ContainerRequest, joined: &[Joined], ports: &[PortRecord]) -> String {
    match &request.net.mode {
        NetMode::Host => return "the host's own".to_owned(),
        NetMode::Container(name) => return format!("that of container {name}"),
        NetMode::Networks if !joined.is_empty() => {}
        _ => return "a stack of its own with loopback only".to_owned(),
    }
    let one = |j: &Joined| {
        let egress = j.wish.egress.as_ref().or(j.network.egress.as_ref());
        let lan = Lan::of(&j.network);
        let out = match (j.network.internal, egress) {
            (true, _) => "no way out".to_owned(),
            (false, _) if lan.is_some() => "past the host's firewall".to_owned(),
            (false, None) => "a way out".to_owned(),
            (false, Some(list)) if list.is_empty() => "a way out for answers only".to_owned(),
            (false, Some(list)) => {
                format!("a way out to {} only", list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            }
        };
        let members = match (&j.network.policy, j.network.isolated) {
            (_, true) => "members apart",
            (Some(_), false) => "members reach each other by its policy",
            (None, false) => "members reach each other",
        };
        let kind = match &lan {
            Some(lan) => format!("{}, {out}, {members}", lan.show()),
            None => format!("{out}, {members}"),
        };
        let at: Vec<String> = j.lease.iter().flat_map(Lease::addresses).map(|a| format!(" as {a}")).collect();
        format!("{} ({kind}){}", j.network.name, at.join(","))
    };
    let mut text = "a stack of its own, on ".to_owned();
    text.push_str(&joined.iter().map(one).collect::<Vec<_>>().join("; "));
    let published: Vec<String> = match ports.is_empty() {
        false => ports.iter().map(|p| format!("{} to {}/{}", shown(p.address, p.port), p.inner, p.protocol)).collect(),
        true => request.net.publish.iter().map(ToString::to_string).collect(),
    };
    match (published.is_empty(), request.net.publish_all) {
        (true, false) => text.push_str("; no port is published"),
        (true, true) => text.push_str("; all exposed ports are published"),
        (false, _) => text.push_str(&format!("; published: {}", published.join(", "))),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::{joined, network};
    use super::super::{Exposed, PortRange, Protocol, PublishRequest};
    use super::*;

    fn request() -> ContainerRequest {
        let mut request = ContainerRequest::default();
        request.net.mode = NetMode::Networks;
        request.net.publish = vec![PublishRequest {
            address: None,
            host: PortRange::parse("8000-8001"),
            inner: PortRange::parse("80-81").unwrap(),
            protocol: Protocol::Tcp,
        }];
        request.net.expose = vec![Exposed::parse("443").unwrap()];
        request
    }

    #[test]
    fn what_is_asked_and_what_it_has_are_shown_as_docker_shows_them() {
        let shown = host_config(&request());
        assert_eq!(shown["PortBindings"]["81/tcp"][0], json!({ "HostIp": "", "HostPort": "8001" }));
        assert_eq!(shown["NetworkMode"], "bridge");
        let one = [joined(network("web", "10.1.0.0/24"), "10.1.0.2")];
        let port = PortRecord {
            address: "127.0.0.1".parse().unwrap(),
            port: 8000,
            protocol: Protocol::Tcp,
            target: "10.1.0.2".parse().unwrap(),
            inner: 80,
        };
        let shown = settings(&request(), &one, std::slice::from_ref(&port));
        assert_eq!(shown["Ports"]["80/tcp"], json!([{ "HostIp": "127.0.0.1", "HostPort": "8000" }]));
        assert_eq!(shown["Ports"]["443/tcp"], Value::Null);
        let web = &shown["Networks"]["web"];
        assert_eq!(
            (&web["IPAddress"], &web["IPPrefixLen"], &web["Gateway"]),
            (&json!("10.1.0.2"), &json!(24), &json!("10.1.0.1"))
        );
        assert!(web["MacAddress"].as_str().unwrap().starts_with("02:"));
        let said = describe(&request(), &one, &[port]);
        assert_eq!(
            said,
            "a stack of its own, on web (a way out, members reach each other) as 10.1.0.2; published: 127.0.0.1:8000 to 80/tcp"
        );
        let stopped = [Joined { lease: None, ..one[0].clone() }];
        assert_eq!(settings(&request(), &stopped, &[])["Ports"], json!({}));
        assert!(describe(&request(), &stopped, &[]).ends_with("; published: 8000-8001:80-81"));
    }

    #[test]
    fn ports_in_a_row_are_one_line() {
        let port = |port: u16, inner: u16, address: &str| PortRecord {
            address: address.parse().unwrap(),
            port,
            protocol: Protocol::Tcp,
            target: "10.1.0.2".parse().unwrap(),
            inner,
        };
        let all = [
            port(8001, 81, "127.0.0.1"),
            port(8000, 80, "127.0.0.1"),
            port(9000, 82, "127.0.0.1"),
            port(8000, 80, "::1"),
            port(65535, 83, "::1"),
        ];
        assert_eq!(
            lines(&request(), &all),
            [
                "127.0.0.1:8000-8001->80-81/tcp",
                "[::1]:8000->80/tcp",
                "127.0.0.1:9000->82/tcp",
                "[::1]:65535->83/tcp",
                "443/tcp"
            ]
        );
        assert_eq!(names(&request(), Vec::new()), ["none"]);
    }

    #[test]
    fn a_network_lists_those_that_run() {
        let record = network("web", "10.1.0.0/24");
        let lease = joined(record.clone(), "10.1.0.2").lease;
        let user = |name: &str| (name.repeat(32), name.to_owned());
        let shown = super::network(&record, &[(user("ab"), lease), (user("cd"), None)]);
        assert_eq!(shown["Containers"].as_object().unwrap().len(), 1);
        assert_eq!(shown["Containers"]["ab".repeat(32)]["IPv4Address"], "10.1.0.2/24");
        assert_eq!(shown["Bulkhead"]["Connected"], json!(["ab", "cd"]));
        assert_eq!(shown["IPAM"]["Config"], json!([{ "Subnet": "10.1.0.0/24", "Gateway": "10.1.0.1" }]));
    }
}
