//! A flow of a policy and an entry of an egress list, as they are written and kept.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_net::Reach;
use serde::{Deserialize, Serialize};

use super::net::Net;
use super::traffic::Carried;

/// What a flow looks like.
const FLOW: &str = "FROM -> TO[:PORT[-PORT]][/tcp|udp|sctp|icmp|any] is needed, like 'web -> db:5432/tcp'; FROM and TO are \
                    names of containers or aliases, or * for every member";
/// What an entry looks like.
const EGRESS: &str = "ADDRESS[/PREFIX] or a name, then [:PORT[-PORT]][/tcp|udp|sctp|icmp|any], is needed, like \
                      203.0.113.7:443, 10.0.0.0/8, '[2001:db8::]/32:53/udp' or api.example.org:443; or none";

/// What members of a network with a policy may send: `web -> db:5432/tcp`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct FlowRule {
    /// Who begins: the name or an alias of a container, or `*`.
    pub from: String,
    /// Who answers.
    pub to: String,
    /// What is sent.
    pub what: Carried,
}

impl fmt::Display for FlowRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}{}", self.from, self.to, self.what)
    }
}

impl From<FlowRule> for String {
    fn from(rule: FlowRule) -> Self {
        rule.to_string()
    }
}

impl TryFrom<String> for FlowRule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).map_err(|needed| format!("{text:?} is no flow: {needed}"))
    }
}

impl FlowRule {
    /// Reads one; the arrow may be `->` or `→`.
    ///
    /// # Errors
    /// What would be accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = || FLOW.to_owned();
        let (from, to) = text.split_once("->").or_else(|| text.split_once('→')).ok_or_else(form)?;
        let (from, (to, what)) = (from.trim(), Carried::split(to.trim()).ok_or_else(form)?);
        if !(end(from) && end(to)) {
            return Err(form());
        }
        if from == to && from != "*" {
            return Err(format!("{from} reaches itself without a policy; two names are needed"));
        }
        Ok(Self { from: from.to_owned(), to: to.to_owned(), what })
    }

    /// Whether it is about what the first of these calls itself, and the second.
    pub(super) fn fits(&self, from: &[String], to: &[String]) -> bool {
        let is = |end: &str, names: &[String]| end == "*" || names.iter().any(|name| name == end);
        is(&self.from, from) && is(&self.to, to)
    }

    /// The names in it.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        [self.from.as_str(), self.to.as_str()].into_iter().filter(|name| *name != "*")
    }
}

/// A name that a container or an alias can have, or the sign for every one.
fn end(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    name == "*" || first && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// Where a container reaches to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// These addresses.
    Block(Net),
    /// Whatever this name means, in small letters.
    Name(String),
}

/// One entry of what a container reaches outside: `203.0.113.7:443/tcp`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct EgressRule {
    /// Where to.
    pub to: Place,
    /// What is sent.
    pub what: Carried,
}

impl fmt::Display for EgressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.to {
            Place::Name(name) => f.write_str(name)?,
            Place::Block(net) => {
                let single = if net.address().is_ipv4() { 32 } else { 128 };
                match net.address() {
                    IpAddr::V4(a) => write!(f, "{a}")?,
                    IpAddr::V6(a) => write!(f, "[{a}]")?,
                }
                if net.prefix() != single {
                    write!(f, "/{}", net.prefix())?;
                }
            }
        }
        self.what.fmt(f)
    }
}

impl From<EgressRule> for String {
    fn from(rule: EgressRule) -> Self {
        rule.to_string()
    }
}

impl TryFrom<String> for EgressRule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).map_err(|needed| format!("{text:?} is no entry of an egress list: {needed}"))
    }
}

/// What no container may send to, whatever its list: link-local, metadata and the like.
const NEVER: [&str; 10] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/3",
    "100.100.100.200/32",
    "192.0.0.192/32",
    "::/80",
    "fe80::/10",
    "ff00::/8",
    "fd00:ec2::254/128",
];

impl EgressRule {
    /// Reads one.
    ///
    /// # Errors
    /// What would be accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = || EGRESS.to_owned();
        if text.parse::<Ipv6Addr>().is_ok() || Net::parse(text).is_some_and(|net| net.address().is_ipv6()) {
            return Err(format!("an address of version 6 stands in brackets: {}", bracketed(text)));
        }
        let (head, what) = Carried::split(text).ok_or_else(form)?;
        let to = match head.strip_prefix('[') {
            Some(rest) => {
                let (address, prefix) = rest.split_once(']').ok_or_else(form)?;
                let address: Ipv6Addr = address.parse().map_err(|_| form())?;
                block(IpAddr::V6(address), prefix)?
            }
            None => {
                let (address, prefix) = head.split_at(head.find('/').unwrap_or(head.len()));
                match address.parse::<Ipv4Addr>() {
                    Ok(address) => block(IpAddr::V4(address), prefix)?,
                    Err(_) => Place::Name(name(head).ok_or_else(form)?),
                }
            }
        };
        if let Place::Block(net) = &to {
            let never = NEVER.iter().filter_map(|text| Net::parse(text)).find(|never| never.holds(net));
            if let Some(never) = never {
                return Err(format!(
                    "{never} is reached from no container (link-local, metadata, loopback, multicast)"
                ));
            }
        }
        Ok(Self { to, what })
    }

    /// What the kernel is to let pass; nothing for a name.
    pub(super) fn reach(&self) -> Vec<Reach> {
        let Place::Block(net) = &self.to else { return Vec::new() };
        let of = |traffic| Reach { address: net.address(), prefix: net.prefix(), traffic };
        self.what.traffic().into_iter().map(of).collect()
    }
}

fn bracketed(text: &str) -> String {
    match text.split_once('/') {
        Some((address, prefix)) => format!("[{address}]/{prefix}"),
        None => format!("[{text}]"),
    }
}

/// An address and what follows it: nothing, or a slash and a prefix.
fn block(address: IpAddr, prefix: &str) -> Result<Place, String> {
    let single = if address.is_ipv4() { 32 } else { 128 };
    let length = match prefix.strip_prefix('/') {
        None if prefix.is_empty() => single,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().map_err(|_| EGRESS.to_owned())?,
        _ => return Err(EGRESS.to_owned()),
    };
    let net = Net::around(address, length).ok_or_else(|| format!("a prefix of 0 to {single} is needed"))?;
    if net.address() != address {
        return Err(format!("it should be {}", EgressRule { to: Place::Block(net), what: Carried::Any }));
    }
    Ok(Place::Block(net))
}

/// A name as DNS has them, in small letters (RFC 1123, section 2.1): one that could be a number is none.
fn name(text: &str) -> Option<String> {
    let label = |label: &str| {
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(known) && !label.starts_with('-') && !label.ends_with('-')
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    let last = text.rsplit('.').next()?;
    // All names below one.
    let below = text.strip_prefix("*.").unwrap_or(text);
    let good = (1..=253).contains(&text.len()) && below.split('.').all(label);
    (good && text != "none" && last.bytes().any(|b| b.is_ascii_alphabetic())).then(|| text.to_ascii_lowercase())
}

/// An egress list as it is written: `none`, or entries.
///
/// # Errors
/// The first word that is no entry, and what would be accepted; `none` beside others.
pub fn egress_list(words: &[String]) -> Result<Option<Vec<EgressRule>>, (String, String)> {
    list(words, EgressRule::parse)
}

/// The flows of a policy as they are written: `none`, or flows.
///
/// # Errors
/// As [`egress_list`].
pub fn flow_list(words: &[String]) -> Result<Option<Vec<FlowRule>>, (String, String)> {
    list(words, FlowRule::parse)
}

fn list<T: Ord>(
    words: &[String],
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<Vec<T>>, (String, String)> {
    if words.is_empty() {
        return Ok(None);
    }
    if let [only] = words
        && only == "none"
    {
        return Ok(Some(Vec::new()));
    }
    let mut all = Vec::with_capacity(words.len());
    for word in words {
        if word == "none" {
            return Err((word.clone(), "it says that there is nothing else; leave it or the others out".to_owned()));
        }
        all.push(parse(word).map_err(|needed| (word.clone(), needed))?);
    }
    all.sort();
    all.dedup();
    Ok(Some(all))
}

#[cfg(test)]
mod tests {
    use bulkhead_net::{Protocol, Traffic};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn flows_in_all_forms() {
        for (text, shown) in [
            ("web -> db:5432/tcp", "web -> db:5432/tcp"),
            ("web → db:5432", "web -> db:5432/tcp"),
            ("web->db", "web -> db"),
            ("web -> db/any", "web -> db"),
            ("web -> db/icmp", "web -> db/icmp"),
            ("* -> db:8000-8010/UDP", "* -> db:8000-8010/udp"),
            ("a.b_c-1 -> *:53/any", "a.b_c-1 -> *:53/any"),
            ("web -> db/sctp", "web -> db/sctp"),
        ] {
            let rule = FlowRule::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(rule.to_string(), shown, "{text}");
            assert_eq!(FlowRule::parse(shown), Ok(rule));
        }
        for wrong in [
            "",
            "web",
            "web db",
            "web -> ",
            "-> db",
            "web -> db:",
            "web -> db:0",
            "web -> db:80/icmp",
            "web -> db:x",
            "web -> db:9-8",
            "web -> db/80",
            "web -> db/http",
            "w b -> db",
            "web -> db -> cache",
            "web -> web:80",
            "web -> db:65536",
            "-web -> db",
        ] {
            assert!(FlowRule::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn egress_in_all_forms() {
        for (text, shown) in [
            ("203.0.113.7:443", "203.0.113.7:443/tcp"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.0/8:53/udp", "10.0.0.0/8:53/udp"),
            ("203.0.113.7/32/icmp", "203.0.113.7/icmp"),
            ("0.0.0.0/0:443", "0.0.0.0/0:443/tcp"),
            ("[2001:DB8::]/32:53-54/any", "[2001:db8::]/32:53-54/any"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("API.example.org.:443", "api.example.org:443/tcp"),
            ("*.example.org", "*.example.org"),
            ("localhost/udp", "localhost/udp"),
        ] {
            let rule = EgressRule::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(rule.to_string(), shown, "{text}");
            assert_eq!(EgressRule::parse(shown), Ok(rule));
        }
        for wrong in [
            "",
            ":443",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0",
            "256.1.1.1",
            "2001:db8::1",
            "2001:db8::/32",
            "[2001:db8::1/64",
            "[10.0.0.1]:80",
            "a..b",
            "-a.org",
            "x:80:90",
            "a.org/80",
            "169.254.169.254:80",
            "169.254.0.0/16",
            "127.0.0.1",
            "[::1]:80",
            "[fe80::1]",
            "[ff02::1]",
            "*",
            "*.",
            "a.*.org",
            "*example.org",
            "a.org:0",
            "http://a.org",
        ] {
            assert!(EgressRule::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(EgressRule::parse("2001:db8::/32").unwrap_err().contains("[2001:db8::]/32"));
        assert!(EgressRule::parse("10.0.0.1/8").unwrap_err().contains("10.0.0.0/8"));
    }

    #[test]
    fn none_stands_alone() {
        let words = |all: &[&str]| all.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        assert_eq!(egress_list(&[]), Ok(None));
        assert_eq!(egress_list(&words(&["none"])), Ok(Some(Vec::new())));
        assert_eq!(egress_list(&words(&["10.0.0.1", "none"])).unwrap_err().0, "none");
        assert_eq!(flow_list(&words(&["a -> b", "a → b", "b -> a"])).unwrap().map(|all| all.len()), Some(2));
    }

    #[test]
    fn a_port_of_every_protocol_is_one_of_each() {
        let rule = EgressRule::parse("10.0.0.1:53/any").unwrap();
        let ports = |protocol| Traffic::Ports { protocol, first: 53, last: 53 };
        let all: Vec<Traffic> = rule.reach().into_iter().map(|r| r.traffic).collect();
        assert_eq!(all, [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].map(ports));
        assert!(EgressRule::parse("a.org:53").unwrap().reach().is_empty());
    }

    proptest! {
        #[test]
        fn no_text_is_too_much(text in ".{0,60}") {
            if let Ok(rule) = FlowRule::parse(&text) {
                prop_assert_eq!(FlowRule::parse(&rule.to_string()).unwrap(), rule);
            }
            if let Ok(rule) = EgressRule::parse(&text) {
                prop_assert_eq!(EgressRule::parse(&rule.to_string()).unwrap(), rule);
            }
        }
    }
}
