//! `network create`, and the default network.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sha2::{Digest, Sha256};

use super::lan::{self, Lan};
use super::net::{Family, Net};
use super::{EgressRule, FlowRule, emit, options, routes, wire};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::layout::now;
use crate::store::{Block, BlockWish, DEFAULT_NETWORK, Ground, NetworkRecord, NewNetwork, check_network_name, new_id};

/// What `network create` makes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateRequest {
    /// Name.
    pub name: String,
    /// `--driver`; empty for `bridge`.
    pub driver: String,
    /// `--subnet`.
    pub subnets: Vec<Net>,
    /// `--gateway`.
    pub gateways: Vec<IpAddr>,
    /// `--ip-range`.
    pub ranges: Vec<Net>,
    /// `--ipv4=false`: no addresses of version 4.
    pub without_v4: bool,
    /// `--ipv6`.
    pub v6: bool,
    /// `--internal`.
    pub internal: bool,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--opt`.
    pub options: BTreeMap<String, String>,
    /// `--allow`: all that members may send each other.
    pub policy: Option<Vec<FlowRule>>,
    /// `--egress`: what members reach outside that say nothing themselves.
    pub egress: Option<Vec<EgressRule>>,
}

/// Addresses that mean something of their own, and what.
const SPECIAL: [(&str, &str); 9] = [
    ("0.0.0.0/8", "this host"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::/16", "loopback and mapped addresses"),
    ("fe80::/10", "link-local"),
    ("ff00::/8", "multicast"),
    ("fd00:ec2::/32", "metadata services"),
];

/// Makes a network; returns its id.
///
/// # Errors
/// A name, driver, address or option that is not acceptable; a subnet that somebody else has. Nothing is made.
pub fn create(engine: &Engine, request: &CreateRequest) -> Result<String, EngineError> {
    engine.recover()?;
    match request.driver.as_str() {
        "" | "bridge" => {}
        "macvlan" | "ipvlan" => return on_a_link(engine, request),
        other => return Err(EngineError::invalid("--driver", other, "bridge, macvlan or ipvlan is needed")),
    }
    super::listed::check(request.egress.as_deref())?;
    if request.internal && request.egress.as_ref().is_some_and(|list| !list.is_empty()) {
        let why = "an internal network has no way out; leave one of them out";
        return Err(EngineError::refused("--egress with --internal", why));
    }
    check_network_name(&request.name)?;
    // First, so that its subnet is the first of the pools.
    default_network(engine)?;
    let (v4, v6) = blocks(request)?;
    let parsed = options::parse(&request.options, v6 != BlockWish::None, usual_mtu(engine)?)?;
    if !parsed.masquerade && !engine.facts()?.privileged {
        // What carries packets out for a user knows one address of each family.
        let why = "the way out of an ordinary user has one address; leave it out";
        return Err(EngineError::refused("--opt com.docker.network.bridge.enable_ip_masquerade=false", why));
    }
    if parsed.isolated && request.policy.is_some() {
        let why =
            "with com.docker.network.bridge.enable_icc=false members do not reach each other; leave one of them out";
        return Err(EngineError::refused("--allow", why));
    }
    let new = NewNetwork {
        id: new_id()?,
        name: request.name.clone(),
        driver: String::new(),
        link: None,
        v4,
        v6,
        mtu: parsed.mtu,
        internal: request.internal,
        isolated: parsed.isolated,
        masquerade: parsed.masquerade,
        options: request.options.clone(),
        labels: request.labels.clone(),
        created: now(),
        policy: request.policy.clone(),
        egress: request.egress.clone(),
    };
    let (pools, routes) = (engine.config.pools(), routes::of_host());
    let record = engine.store()?.create_network(&new, &Ground { pools: &pools, routes: &routes })?;
    emit(engine, "create", &record, &[]);
    Ok(record.id)
}

/// Makes a network of a driver whose links are on a link of the host, and that link where it is one that is made.
fn on_a_link(engine: &Engine, request: &CreateRequest) -> Result<String, EngineError> {
    let driver = &request.driver;
    if !engine.facts()?.privileged {
        let why = "an ordinary user has no right over links of the host; use --driver bridge, or run as root";
        return Err(EngineError::refused(format!("--driver {driver}"), why));
    }
    for (flag, written) in [("--allow", request.policy.is_some()), ("--egress", request.egress.is_some())] {
        if written {
            let why = "what is sent by a link of the host does not pass the host's firewall; use --driver bridge";
            return Err(EngineError::refused(format!("{flag} with --driver {driver}"), why));
        }
    }
    check_network_name(&request.name)?;
    default_network(engine)?;
    let (v4, v6) = blocks(request)?;
    let (lan, mtu) = Lan::parse(driver, &request.options, v6 != BlockWish::None)?;
    if let Some(parent) = &lan.parent {
        bulkhead_net::lan::look(parent, lan.kind).map_err(|e| match e {
            bulkhead_net::NetError::Invalid { value, accepted, .. } => {
                EngineError::invalid("--opt", format!("parent={value}"), accepted)
            }
            other => other.into(),
        })?;
    }
    let store = engine.store()?;
    lan::apart(&lan, store)?;
    let new = NewNetwork {
        id: new_id()?,
        name: request.name.clone(),
        driver: driver.clone(),
        link: lan.parent.clone(),
        v4,
        v6,
        mtu,
        // Nobody is beyond a link that leads nowhere.
        internal: request.internal || lan.parent.is_none(),
        isolated: lan.kind.is_apart(),
        options: request.options.clone(),
        labels: request.labels.clone(),
        created: now(),
        ..NewNetwork::default()
    };
    let (pools, routes) = (engine.config.pools(), routes::of_host());
    let record = store.create_network(&new, &Ground { pools: &pools, routes: &routes })?;
    if let Err(e) = lan::prepare(wire::uplink(&record).as_slice()) {
        // The first failure is what matters.
        drop(store.remove_network(&record.id));
        return Err(e);
    }
    emit(engine, "create", &record, &[]);
    Ok(record.id)
}

/// Bytes of a packet where nothing was asked. What leaves a user's network is copied by a process, packet by packet.
fn usual_mtu(engine: &Engine) -> Result<u32, EngineError> {
    Ok(if engine.facts()?.privileged { options::MTU } else { super::rootless::MTU })
}

/// The default network of this store, made when there is none yet. Its id depends on where the store is, and on nothing
/// else: two stores of one host have two bridges.
pub(super) fn default_network(engine: &Engine) -> Result<NetworkRecord, EngineError> {
    let place = engine.paths.root.to_string_lossy();
    let digest = Sha256::new().chain_update("bulkhead default network of ").chain_update(place.as_bytes()).finalize();
    let new = NewNetwork {
        id: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        name: DEFAULT_NETWORK.to_owned(),
        v4: BlockWish::Free,
        v6: BlockWish::None,
        mtu: usual_mtu(engine)?,
        isolated: true,
        masquerade: true,
        created: now(),
        ..NewNetwork::default()
    };
    Ok(engine.store()?.default_network(&new, || (engine.config.pools(), routes::of_host()))?)
}

/// The wishes in both families.
fn blocks(request: &CreateRequest) -> Result<(BlockWish, BlockWish), EngineError> {
    let (mut gateways, mut ranges) = (request.gateways.clone(), request.ranges.clone());
    let mut of = |family: Family, wanted: bool| -> Result<BlockWish, EngineError> {
        let mut subnets = request.subnets.iter().filter(|s| s.family() == family);
        let Some(subnet) = subnets.next() else {
            return Ok(if wanted { BlockWish::Free } else { BlockWish::None });
        };
        if let Some(second) = subnets.next() {
            let needed = format!("a network has one subnet of each family, and {subnet} is one already");
            return Err(EngineError::invalid("--subnet", second.to_string(), needed));
        }
        block(*subnet, &mut gateways, &mut ranges).map(BlockWish::These)
    };
    let v4 = of(Family::V4, !request.without_v4)?;
    let v6 = of(Family::V6, request.v6)?;
    if request.without_v4 && v4 != BlockWish::None {
        return Err(EngineError::invalid("--ipv4", "false", "a --subnet of version 4 was asked for; leave one out"));
    }
    if (v4, v6) == (BlockWish::None, BlockWish::None) {
        return Err(EngineError::invalid("--ipv4", "false", "without version 4, --ipv6 is needed"));
    }
    let lies = "a --subnet that it lies in is needed, and one of each kind for each subnet";
    if let Some(left) = gateways.first() {
        return Err(EngineError::invalid("--gateway", left.to_string(), lies));
    }
    if let Some(left) = ranges.first() {
        return Err(EngineError::invalid("--ip-range", left.to_string(), lies));
    }
    Ok((v4, v6))
}

/// A subnet with the gateway and the range that lie in it, which are taken out of the lists.
fn block(subnet: Net, gateways: &mut Vec<IpAddr>, ranges: &mut Vec<Net>) -> Result<Block, EngineError> {
    let wrong = |needed: String| EngineError::invalid("--subnet", subnet.to_string(), needed);
    let special = SPECIAL.iter().find_map(|(text, what)| {
        let net = Net::parse(text)?;
        net.overlaps(&subnet)
            .then(|| format!("{text} ({what}) is no part of a network; choose a private one, like 10.1.2.0/24"))
    });
    if let Some(needed) = special {
        return Err(wrong(needed));
    }
    let Some((first, _)) = subnet.hosts() else {
        return Err(wrong("room for a gateway and a container is needed: /30 or wider, /126 in version 6".to_owned()));
    };
    let gateway = gateways.iter().position(|g| subnet.contains(*g)).map(|at| gateways.remove(at)).unwrap_or(first);
    if !subnet.is_host(gateway) {
        let (low, high) = subnet.hosts().unwrap_or((first, first));
        return Err(EngineError::invalid(
            "--gateway",
            gateway.to_string(),
            format!("one from {low} to {high} is needed"),
        ));
    }
    let range = ranges.iter().position(|r| r.overlaps(&subnet)).map(|at| ranges.remove(at));
    if let Some(range) = range {
        let usable = |net: &Net| {
            // The first few are enough to find one that is neither the gateway nor nobody's.
            let width = if net.family() == Family::V4 { 32 } else { 128 };
            net.parts(width).take(4).any(|one| subnet.is_host(one.address()) && one.address() != gateway)
        };
        if !subnet.holds(&range) || !usable(&range) {
            let needed = format!("a part of {subnet} with an address for a container is needed");
            return Err(EngineError::invalid("--ip-range", range.to_string(), needed));
        }
    }
    Ok(Block { subnet, gateway, range })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(subnets: &[&str], gateways: &[&str], ranges: &[&str]) -> CreateRequest {
        CreateRequest {
            subnets: subnets.iter().map(|t| Net::parse(t).unwrap()).collect(),
            gateways: gateways.iter().map(|t| t.parse().unwrap()).collect(),
            ranges: ranges.iter().map(|t| Net::parse(t).unwrap()).collect(),
            ..CreateRequest::default()
        }
    }

    #[test]
    fn gateways_and_ranges_find_their_subnets() {
        let both = request(&["fd01::/64", "10.1.0.0/24"], &["10.1.0.9", "fd01::9"], &["10.1.0.128/25"]);
        let (BlockWish::These(four), BlockWish::These(six)) = blocks(&both).unwrap() else { panic!("both") };
        assert_eq!((four.gateway.to_string(), six.gateway.to_string()), ("10.1.0.9".to_owned(), "fd01::9".to_owned()));
        assert_eq!((four.range, six.range), (Net::parse("10.1.0.128/25"), None));
        let (four, six) = blocks(&request(&["10.1.0.0/24"], &[], &[])).unwrap();
        assert!(matches!(four, BlockWish::These(b) if b.gateway.to_string() == "10.1.0.1") && six == BlockWish::None);
        assert_eq!(blocks(&request(&[], &[], &[])).unwrap(), (BlockWish::Free, BlockWish::None));
        let only_six = CreateRequest { without_v4: true, v6: true, ..CreateRequest::default() };
        assert_eq!(blocks(&only_six).unwrap(), (BlockWish::None, BlockWish::Free));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (subnets, gateways, ranges, wanted) in [
            (&["127.0.0.0/16"][..], &[][..], &[][..], ["--subnet", "127.0.0.0/16"]),
            (&["169.254.0.0/16"], &[], &[], ["--subnet", "169.254.0.0/16"]),
            (&["0.0.0.0/0"], &[], &[], ["--subnet", "0.0.0.0/0"]),
            (&["fd00:ec2::/64"], &[], &[], ["--subnet", "metadata"]),
            (&["::/0"], &[], &[], ["--subnet", "::/0"]),
            (&["10.1.0.0/31"], &[], &[], ["--subnet", "10.1.0.0/31"]),
            (&["fd01::/127"], &[], &[], ["--subnet", "fd01::/127"]),
            (&["10.1.0.0/24", "10.2.0.0/24"], &[], &[], ["--subnet", "10.2.0.0/24"]),
            (&["10.1.0.0/24"], &["10.1.0.255"], &[], ["--gateway", "10.1.0.255"]),
            (&["10.1.0.0/24"], &["10.2.0.1"], &[], ["--gateway", "10.2.0.1"]),
            (&["10.1.0.0/24"], &["10.1.0.1", "10.1.0.2"], &[], ["--gateway", "10.1.0.2"]),
            (&[], &["10.1.0.1"], &[], ["--gateway", "10.1.0.1"]),
            (&["10.1.0.0/24"], &[], &["10.1.0.0/16"], ["--ip-range", "10.1.0.0/16"]),
            (&["10.1.0.0/24"], &[], &["10.1.0.1/32"], ["--ip-range", "10.1.0.1/32"]),
            (&[], &[], &["10.1.0.0/25"], ["--ip-range", "10.1.0.0/25"]),
        ] {
            let error = blocks(&request(subnets, gateways, ranges)).unwrap_err().to_string();
            assert!(wanted.iter().all(|w| error.contains(w)), "{wanted:?}: {error}");
        }
        let neither = CreateRequest { without_v4: true, ..CreateRequest::default() };
        assert!(blocks(&neither).unwrap_err().to_string().contains("--ipv6"));
    }
}
