//! `--network` and the flags that belong to it.

use std::net::{Ipv4Addr, Ipv6Addr};

use bulkhead_engine::networks::{
    EgressRule, Exposed, FlowRule, Mac, PortRange, Protocol, PublishRequest, egress_list, flow_list,
};
use bulkhead_engine::request::NetMode;
use bulkhead_engine::store::JoinWish;

use super::{Needed, namespace};
use crate::error::CliError;

/// One `--network`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// A stack that is not connected by name.
    Mode(NetMode),
    /// A network, and what is wanted of it.
    Join(JoinWish),
}

/// `none`, `bridge`, `host`, `container:NAME`, a network, or `name=NETWORK,alias=…,ip=…,ip6=…,mac-address=…`.
///
/// # Errors
///
/// Anything else, and an option that there is not.
pub fn choice(text: &str) -> Result<Choice, Needed> {
    if let Some(other) = namespace::container(text) {
        return Ok(Choice::Mode(NetMode::Container(other?)));
    }
    Ok(match text {
        "" => return Err("none, bridge, host, container:NAME or the name of a network is needed".into()),
        "none" => Choice::Mode(NetMode::None),
        "host" => Choice::Mode(NetMode::Host),
        "default" => Choice::Mode(NetMode::Unset),
        _ if text.contains('=') => Choice::Join(long(text)?),
        _ => Choice::Join(JoinWish { network: network(text)?, ..JoinWish::default() }),
    })
}

fn long(text: &str) -> Result<JoinWish, Needed> {
    let mut join = JoinWish::default();
    for part in text.split(',') {
        let (key, value) = part.split_once('=').ok_or_else(|| Needed::from(format!("{part:?} is no KEY=VALUE")))?;
        match key {
            "name" => join.network = network(value)?,
            "alias" => join.aliases.push(alias(value)?),
            "ip" => join.v4 = Some(ip(value)?),
            "ip6" => join.v6 = Some(ip6(value)?),
            "mac-address" => join.mac = Some(mac(value)?),
            _ => return Err(format!("{key:?} is not known; name, alias, ip, ip6 and mac-address are").into()),
        }
    }
    if join.network.is_empty() {
        return Err("name=NETWORK is needed".into());
    }
    Ok(join)
}

/// The name of a network, by Docker's rule.
///
/// # Errors
///
/// Any other text.
pub fn network(text: &str) -> Result<String, Needed> {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if first && rest && text.len() <= 128 {
        Ok(text.to_owned())
    } else {
        Err("the name of a network, [a-zA-Z0-9][a-zA-Z0-9_.-]*, is needed, 128 characters at most".into())
    }
}

/// `--network-alias`: a name that others on the network use, as a host name is written; with the underscores that names of
/// services often have.
///
/// # Errors
///
/// Any other text.
pub fn alias(text: &str) -> Result<String, Needed> {
    let label = |part: &str| {
        let good = part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        good && (1..=63).contains(&part.len()) && !part.starts_with('-') && !part.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(label) {
        Ok(text.to_owned())
    } else {
        Err("a name of letters, digits, '-', '_' and '.' is needed, 63 between two dots at most, without '-' at an end"
            .into())
    }
}

/// `--link CONTAINER[:NAME]`: the name, then the container.
///
/// # Errors
///
/// No container, or a name that is no host name.
pub fn link(text: &str) -> Result<(String, String), Needed> {
    let (container, name) = text.split_once(':').unwrap_or((text, text));
    if container.is_empty() {
        return Err("a container is needed, with or without a name for it: CONTAINER[:NAME]".into());
    }
    Ok((alias(name)?, container.to_owned()))
}

/// `--ip`.
///
/// # Errors
///
/// Anything but an address of version 4.
pub fn ip(text: &str) -> Result<Ipv4Addr, Needed> {
    text.parse().map_err(|_| "an address of version 4 like 10.1.2.3 is needed".into())
}

/// `--ip6`.
///
/// # Errors
///
/// Anything but an address of version 6.
pub fn ip6(text: &str) -> Result<Ipv6Addr, Needed> {
    text.parse().map_err(|_| "an address of version 6 like fd00:1::3 is needed".into())
}

/// `--mac-address`.
///
/// # Errors
///
/// Anything else, and an address of a group.
pub fn mac(text: &str) -> Result<Mac, Needed> {
    Mac::parse(text).ok_or_else(|| "a hardware address of one machine like 02:42:0a:01:02:03 is needed".into())
}

/// `-p [ADDRESS:][HOST:]CONTAINER[/PROTOCOL]`, each a port or a range; `ADDRESS::CONTAINER` takes a port of the host that
/// is free.
///
/// # Errors
///
/// Any other form, and ranges that do not fit one another.
pub fn publish(text: &str) -> Result<PublishRequest, Needed> {
    const FORM: &str =
        "[ADDRESS:][HOST:]CONTAINER[/tcp|udp|sctp] is needed, like 8080:80, 127.0.0.1:8080:80 or [::1]::80/udp";
    let form = || Needed::from(FORM);
    let (ports, protocol) = match text.rsplit_once('/') {
        Some((ports, name)) => (ports, Protocol::named(name).ok_or_else(form)?),
        None => (text, Protocol::Tcp),
    };
    let (address, rest) = match ports.strip_prefix('[') {
        Some(after) => {
            let (address, rest) = after.split_once("]:").ok_or_else(form)?;
            let address: Ipv6Addr = address.parse().map_err(|_| form())?;
            (Some(address.into()), rest)
        }
        None => match ports.matches(':').count() {
            0 | 1 => (None, ports),
            2 => {
                let (address, rest) = ports.split_once(':').ok_or_else(form)?;
                let address: Ipv4Addr = address.parse().map_err(|_| form())?;
                (Some(address.into()), rest)
            }
            _ => return Err("an address of version 6 stands in brackets, like [::1]:8080:80".into()),
        },
    };
    let range = |text: &str| PortRange::parse(text).ok_or_else(form);
    let (host, inner) = match rest.split_once(':') {
        None => (None, range(rest)?),
        // Without an address there is nothing that the empty word could stand for.
        Some(("", inner)) if address.is_some() => (None, range(inner)?),
        Some((host, inner)) => (Some(range(host)?), range(inner)?),
    };
    let count = |r: PortRange| r.last - r.first;
    if host.is_some_and(|host| count(host) != count(inner) && count(inner) != 0) {
        return Err("as many ports of the host as of the container are needed, like 8000-8010:80-90".into());
    }
    Ok(PublishRequest { address, host, inner, protocol })
}

/// `--egress`, `none` or entries.
///
/// # Errors
///
/// The first that is neither.
pub fn egress(words: &[String]) -> Result<Option<Vec<EgressRule>>, CliError> {
    egress_list(words).map_err(|(word, needed)| CliError::invalid("--egress", &word, needed))
}

/// Flows of a policy, `none` or several.
///
/// # Errors
///
/// The first that is neither.
pub fn flows(flag: &str, words: &[String]) -> Result<Option<Vec<FlowRule>>, CliError> {
    flow_list(words).map_err(|(word, needed)| CliError::invalid(flag, &word, needed))
}

/// `--expose`.
///
/// # Errors
///
/// Any other form.
pub fn expose(text: &str) -> Result<Exposed, Needed> {
    Exposed::parse(text).ok_or_else(|| "a port like 80, 80/udp or 8000-8010/tcp is needed".into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ports_in_all_forms() {
        let show = |text: &str| publish(text).map(|p| p.to_string());
        for (text, shown) in [
            ("80", "80"),
            ("80/tcp", "80"),
            ("8080:80/UDP", "8080:80/udp"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080:80"),
            ("0.0.0.0::80", "0.0.0.0::80"),
            ("[::1]:8080:80", "[::1]:8080:80"),
            ("[::]::53/sctp", "[::]::53/sctp"),
            ("8000-8010:80-90", "8000-8010:80-90"),
            ("8000-8010:80", "8000-8010:80"),
            ("80-82", "80-82"),
        ] {
            assert_eq!(show(text).as_deref(), Ok(shown), "{text}");
        }
        for wrong in [
            "",
            ":",
            ":80",
            "80:",
            "0",
            "0:80",
            "80:0",
            "65536",
            "80/icmp",
            "80/",
            "x:80",
            "localhost:80:80",
            "127.0.0.1:80",
            "::1:80:80",
            "[::1]80:80",
            "[1.2.3.4]:80:80",
            "1:2:3:4:5",
            "80-79",
            "8000-8001:80-82",
            "8000:80-81",
            "+80",
            "80 ",
        ] {
            assert!(publish(wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_what_was_read(
            address in proptest::option::of(any::<std::net::IpAddr>()), host in proptest::option::of(1_u16..),
            inner in 1_u16.., more in 0_u16..10, protocol in 0_usize..3,
        ) {
            let range = |first: u16| PortRange { first, last: first.saturating_add(more) };
            let (host, inner) = (host.map(range), range(inner));
            prop_assume!(host.is_none_or(|h| h.last - h.first == inner.last - inner.first));
            let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp][protocol];
            let request = PublishRequest { address, host, inner, protocol };
            prop_assert_eq!(publish(&request.to_string()).unwrap(), request);
        }

        #[test]
        fn no_text_is_too_much(text in ".{0,40}") {
            drop((publish(&text), choice(&text), expose(&text), mac(&text)));
        }
    }

    #[test]
    fn networks_in_both_forms() {
        assert_eq!(choice("none"), Ok(Choice::Mode(NetMode::None)));
        assert_eq!(choice("container:web"), Ok(Choice::Mode(NetMode::Container("web".to_owned()))));
        let join = |text: &str| match choice(text) {
            Ok(Choice::Join(join)) => join,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(choice("default"), Ok(Choice::Mode(NetMode::Unset)));
        assert_eq!(join("mine").network, "mine");
        let long = join("name=mine,alias=db,alias=store,ip=10.1.0.5,ip6=fd01::5,mac-address=02:00:00:00:00:05");
        assert_eq!((long.network.as_str(), long.aliases.len()), ("mine", 2));
        assert_eq!((long.v4, long.v6), ("10.1.0.5".parse().ok(), "fd01::5".parse().ok()));
        assert_eq!(long.mac, Mac::parse("02:00:00:00:00:05"));
        for wrong in ["", "a b", "-x", "container:", "name=", "alias=x", "name=a,ip=x", "name=a,colour=red", "name=a,b"]
        {
            assert!(choice(wrong).is_err(), "{wrong}");
        }
    }
}
