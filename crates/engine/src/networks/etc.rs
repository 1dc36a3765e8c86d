//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a container.

use std::fs::File;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::error::EngineError;
use crate::request::{ContainerRequest, NetMode};
use crate::store::{Joined, Lease};

/// What a container can use of the host's `resolv.conf(5)`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HostResolver {
    /// Those that the host asks, in this order.
    pub(super) servers: Vec<IpAddr>,
    search: Vec<String>,
    options: Vec<String>,
    /// Its `hosts(5)`, for a container in its network.
    names: Option<String>,
}

fn read(path: &str) -> HostResolver {
    parse(&std::fs::read_to_string(path).unwrap_or_default())
}

/// The host's resolver.
pub(super) fn resolver_of_host() -> HostResolver {
    read("/etc/resolv.conf")
}

/// The host's own names, whole lines; nothing when it has none.
fn hosts_of_host() -> Option<String> {
    let mut text = std::fs::read_to_string("/etc/hosts").ok().filter(|text| !text.is_empty())?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Some(text)
}

/// Without servers that a container does not reach.
fn reachable(mut all: HostResolver) -> HostResolver {
    all.servers.retain(|a| match a {
        IpAddr::V4(a) => !a.is_loopback() && !a.is_link_local(),
        IpAddr::V6(a) => !a.is_loopback() && !a.is_unicast_link_local(),
    });
    all
}

/// The host's resolver as a container can use it itself. One that only listens on the host's loopback cannot be reached from
/// there: then those that `systemd-resolved` asks.
fn resolver_for_container() -> HostResolver {
    let own = reachable(resolver_of_host());
    if own.servers.is_empty() { reachable(read("/run/systemd/resolve/resolv.conf")) } else { own }
}

/// Words that may stand in a file that the container's programs trust: nothing that ends a line.
fn plain(word: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':' | b'.');
    !word.is_empty() && word.len() <= 253 && word.bytes().all(good)
}

fn parse(text: &str) -> HostResolver {
    let mut found = HostResolver::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let keyword = words.next();
        let rest = || words.clone().filter(|w| plain(w)).map(str::to_owned).collect::<Vec<_>>();
        match keyword {
            Some("nameserver") => {
                // With a zone it is a neighbour of the host's link.
                let address: Option<IpAddr> = words.next().and_then(|w| w.parse().ok());
                found.servers.extend(address.filter(|a| !a.is_unspecified()));
            }
            // The last one counts.
            Some("search" | "domain") => found.search = rest(),
            Some("options") => found.options.extend(rest()),
            _ => {}
        }
    }
    found
}

/// The generated files as texts, by name.
fn texts(
    hostname: &str,
    request: &ContainerRequest,
    joined: &[Joined],
    host: &HostResolver,
) -> [(&'static str, String); 3] {
    let addresses: Vec<IpAddr> = joined.iter().filter_map(|j| j.lease.as_ref()).flat_map(Lease::addresses).collect();
    let full = request.domainname.as_ref().map(|domain| format!("{hostname}.{domain} ")).unwrap_or_default();
    let hosts_network = request.net.mode == NetMode::Host;
    let mut hosts = match &host.names {
        Some(names) if hosts_network => names.clone(),
        _ => "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned(),
    };
    if addresses.is_empty() {
        hosts.push_str(&format!("127.0.1.1\t{full}{hostname}\n"));
    }
    for address in &addresses {
        hosts.push_str(&format!("{address}\t{full}{hostname}\n"));
    }
    for (name, address) in &request.extra_hosts {
        hosts.push_str(&format!("{address}\t{name}\n"));
    }
    // Nobody outside answers who has no way out.
    let open = hosts_network || joined.iter().any(|j| !j.network.internal && j.lease.is_some());
    let usable = |server: &&IpAddr| hosts_network || addresses.iter().any(|a| a.is_ipv4() == server.is_ipv4());
    // Its own resolver asks the others.
    let resolved = super::names::resolved(joined);
    let servers = match (request.dns.is_empty(), open) {
        _ if resolved => vec![bulkhead_net::names::ADDRESS.to_string()],
        (false, _) => request.dns.clone(),
        (true, true) => host.servers.iter().filter(usable).map(ToString::to_string).collect(),
        (true, false) => Vec::new(),
    };
    let or_hosts = |asked: &[String], host: &[String]| {
        if asked.is_empty() && open { host.to_vec() } else { asked.to_vec() }
    };
    let mut resolver: String = servers.iter().map(|address| format!("nameserver {address}\n")).collect();
    // A single dot takes every search domain away, as Docker has it.
    let search: Vec<String> = or_hosts(&request.dns_search, &host.search).into_iter().filter(|d| *d != ".").collect();
    let mut options = or_hosts(&request.dns_options, &host.options);
    if resolved && !options.iter().any(|o| o.starts_with("ndots:")) {
        // A neighbour's name is asked for as it is, before somebody outside could have it with a search domain.
        options.push("ndots:0".to_owned());
    }
    for (word, values) in [("search", search), ("options", options)] {
        if !values.is_empty() {
            resolver.push_str(&format!("{word} {}\n", values.join(" ")));
        }
    }
    [("hosts", hosts), ("hostname", format!("{hostname}\n")), ("resolv.conf", resolver)]
}

/// Makes the directory of the generated files of a container that is new, and writes them, unless its start does so.
///
/// # Errors
/// The file operation that failed.
pub(crate) fn make(dir: &Path, hostname: &str, request: &ContainerRequest, later: bool) -> Result<(), EngineError> {
    std::fs::DirBuilder::new().mode(0o755).create(dir).map_err(EngineError::io("make", dir))?;
    if later { Ok(()) } else { write(dir, hostname, request, &[]) }
}

/// Writes the generated files of a container that starts with these addresses. They are written anew at each start: the
/// addresses are others, and so may the host's resolver be.
///
/// # Errors
/// The file operation that failed.
pub(crate) fn write(
    dir: &Path,
    hostname: &str,
    request: &ContainerRequest,
    joined: &[Joined],
) -> Result<(), EngineError> {
    let host = match request.net.mode {
        // What listens on the host's loopback is reached there, and names mean what they mean to the host.
        NetMode::Host => HostResolver { names: hosts_of_host(), ..resolver_of_host() },
        _ if joined.is_empty() => HostResolver::default(),
        _ => resolver_for_container(),
    };
    for (name, text) in texts(hostname, request, joined, &host) {
        let path = dir.join(name);
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&path)?;
            file.write_all(text.as_bytes())?;
            rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o644))?;
            Ok(())
        };
        write().map_err(EngineError::io("write", &path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{joined, network};
    use super::*;

    fn file(name: &str, request: &ContainerRequest, joined: &[Joined], host: &HostResolver) -> String {
        texts("box", request, joined, host).into_iter().find(|(n, _)| *n == name).unwrap().1
    }

    #[test]
    fn only_servers_that_can_be_reached_are_taken() {
        let text = "# a comment\nnameserver 127.0.0.53\nnameserver 10.0.0.53\nnameserver fe80::1%eth0\nnameserver fd00::53\n\
                    nameserver x\ndomain old\nsearch example.org lan\noptions ndots:2 \u{7f}bad\n";
        let found = parse(text);
        // The host itself reaches all of them, but for those that are only on one of its links.
        assert_eq!(found.servers, ["127.0.0.53", "10.0.0.53", "fd00::53"].map(|a| a.parse::<IpAddr>().unwrap()));
        let found = reachable(found);
        assert_eq!(found.servers, ["10.0.0.53", "fd00::53"].map(|a| a.parse::<IpAddr>().unwrap()));
        assert_eq!((found.search, found.options), (vec!["example.org".into(), "lan".into()], vec!["ndots:2".into()]));
        assert!(reachable(parse("nameserver 127.0.0.1\nnameserver ::1\n")).servers.is_empty());
    }

    #[test]
    fn the_own_address_has_the_own_name() {
        let request = ContainerRequest { domainname: Some("example.org".into()), ..ContainerRequest::default() };
        let one = [joined(network("web", "10.1.0.0/24"), "10.1.0.2")];
        let host = HostResolver::default();
        assert!(file("hosts", &request, &one, &host).contains("\n10.1.0.2\tbox.example.org box\n"));
        assert!(!file("hosts", &request, &one, &host).contains("127.0.1.1"));
        assert!(file("hosts", &request, &[], &host).contains("\n127.0.1.1\tbox.example.org box\n"));
    }

    #[test]
    fn the_hosts_servers_are_for_those_that_can_go_out_and_what_was_asked_wins() {
        let host = HostResolver {
            servers: vec!["10.0.0.53".parse().unwrap(), "fd00::53".parse().unwrap()],
            search: vec!["lan".into()],
            options: Vec::new(),
            names: Some("127.0.0.1\tlocalhost\n192.0.2.9\tdb.example.org\n".into()),
        };
        let plain = ContainerRequest::default();
        let mut apart = network("web", "10.1.0.0/24");
        apart.isolated = true;
        let open = [joined(apart.clone(), "10.1.0.2")];
        // Version 6 is of no use to one that has none.
        assert_eq!(file("resolv.conf", &plain, &open, &host), "nameserver 10.0.0.53\nsearch lan\n");
        assert_eq!(file("resolv.conf", &plain, &[], &host), "");
        // Where members know each other there is a resolver of its own, and a neighbour's name comes before a domain.
        let own = [joined(network("web", "10.1.0.0/24"), "10.1.0.2")];
        assert_eq!(file("resolv.conf", &plain, &own, &host), "nameserver 127.0.0.11\nsearch lan\noptions ndots:0\n");
        let ndots = ContainerRequest { dns_options: vec!["ndots:3".into()], ..ContainerRequest::default() };
        assert!(file("resolv.conf", &ndots, &own, &host).ends_with("options ndots:3\n"));
        let mut internal = apart;
        internal.internal = true;
        assert_eq!(file("resolv.conf", &plain, &[joined(internal, "10.1.0.2")], &host), "");
        let asked = ContainerRequest {
            dns: vec!["9.9.9.9".into()],
            dns_search: vec![".".into()],
            ..ContainerRequest::default()
        };
        assert_eq!(file("resolv.conf", &asked, &open, &host), "nameserver 9.9.9.9\n");
        // In the host's network everything is as the host has it.
        assert!(!file("hosts", &plain, &open, &host).contains("db.example.org"));
        let mut there = plain;
        there.net.mode = NetMode::Host;
        assert_eq!(file("resolv.conf", &there, &[], &host), "nameserver 10.0.0.53\nnameserver fd00::53\nsearch lan\n");
        let names = file("hosts", &there, &[], &host);
        assert_eq!(names, "127.0.0.1\tlocalhost\n192.0.2.9\tdb.example.org\n127.0.1.1\tbox\n");
    }
}
