//! What a table is made of.

use super::expr::Expr;

/// Families of tables that we have one in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// Frames between ports of bridges.
    Bridge,
    /// What one link sends and receives.
    Netdev,
}

impl Family {
    /// `NFPROTO_*`.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Bridge => 7,
            Self::Netdev => 5,
        }
    }

    /// As `nft` says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Bridge => "bridge",
            Self::Netdev => "netdev",
        }
    }
}

/// A table of ours. What is in it never depends on how many containers there are.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) family: Family,
    pub(crate) counters: Vec<&'static str>,
    pub(crate) sets: Vec<Set>,
    pub(crate) chains: Vec<Chain>,
}

/// A chain and its rules.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    pub(crate) base: Option<Base>,
    pub(crate) rules: Vec<Rule>,
}

/// Where packets come into a chain. What falls through is accepted: it may still meet a chain of somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) kind: &'static str,
    pub(crate) hook: u32,
    pub(crate) priority: i32,
}

/// A rule with the words that show it in a listing.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) says: &'static str,
    pub(crate) expressions: Vec<Expr>,
}

/// Parts of keys and values, with the number by which `nft` shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Family,
    V4,
    V6,
    Mac,
    EtherType,
    Protocol,
    Port,
    Link,
}

impl Field {
    fn number(self) -> u32 {
        match self {
            Self::Family => 2,
            Self::V4 => 7,
            Self::V6 => 8,
            Self::Mac => 9,
            Self::EtherType => 10,
            Self::Protocol => 12,
            Self::Port => 13,
            Self::Link => 41,
        }
    }

    /// Bytes of the value.
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Family | Self::Protocol => 1,
            Self::EtherType | Self::Port => 2,
            Self::V4 => 4,
            Self::Mac => 6,
            Self::V6 | Self::Link => 16,
        }
    }
}

impl Field {
    /// A value for people.
    pub(crate) fn show(self, bytes: &[u8]) -> String {
        let v4 = <[u8; 4]>::try_from(bytes).map(|a| std::net::Ipv4Addr::from(a).to_string());
        let v6 = <[u8; 16]>::try_from(bytes).map(|a| std::net::Ipv6Addr::from(a).to_string());
        let port = <[u8; 2]>::try_from(bytes).map(|p| u16::from_be_bytes(p).to_string());
        let hex: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
        match (self, bytes) {
            (Self::Link, _) => crate::wire::text(bytes),
            (Self::V4, _) => v4.unwrap_or_default(),
            (Self::V6, _) => v6.unwrap_or_default(),
            (Self::Port, _) => port.unwrap_or_default(),
            (Self::Protocol, [6]) => "tcp".to_owned(),
            (Self::Protocol, [17]) => "udp".to_owned(),
            (Self::Protocol, [132]) => "sctp".to_owned(),
            (Self::Protocol | Self::Family, [number]) => number.to_string(),
            _ => hex.join(":"),
        }
    }
}

/// How `nft` shows these fields: 6 bits for each.
pub(crate) fn shown_as(fields: &[Field]) -> u32 {
    fields.iter().fold(0, |all, field| all << 6 | field.number())
}

/// Bytes of these fields: each of several takes whole words.
pub(crate) fn length(fields: &[Field]) -> usize {
    match fields {
        [one] => one.len(),
        several => several.iter().map(|f| f.len().next_multiple_of(4)).sum(),
    }
}

/// What a map leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leads {
    Nowhere,
    Values(&'static [Field]),
}

/// Who fills a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filled {
    /// What is declared, one by one.
    Declared,
    /// What is declared, by a range in each field.
    Boxes,
    /// As these, each for a time of its own; no concern of what is declared.
    Pinned,
    /// Ranges from a first to a last-but-one key, always.
    Ranges(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    /// The kernel, when a rule says so, for this long in milliseconds.
    Kernel { size: u32, timeout: u64 },
    /// Facts about the host; no concern of what is declared.
    Host,
}

/// A set or a map.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) key: &'static [Field],
    pub(crate) leads: Leads,
    pub(crate) filled: Filled,
}

impl Set {
    /// `NFT_SET_*`.
    pub(crate) fn flags(&self) -> u32 {
        let map = if self.leads == Leads::Nowhere { 0 } else { 8 };
        map | match self.filled {
            Filled::Ranges(_) => 4,
            // Ranges, of several fields (since Linux 5.6), and with a lifetime.
            Filled::Boxes => 0x4 | 0x80,
            Filled::Pinned => 0x4 | 0x80 | 0x10,
            // With a lifetime, and changed by rules.
            Filled::Kernel { .. } => 0x10 | 0x20,
            _ => 0,
        }
    }
}

impl Filled {
    /// Whether it is of what is declared.
    pub(crate) fn is_declared(&self) -> bool {
        matches!(self, Self::Declared | Self::Boxes)
    }
}

/// What a map's element leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Nothing,
    Bytes(Vec<u8>),
}

/// An element without its set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Element {
    pub(crate) key: Vec<u8>,
    /// The last key, where it is a range in each field.
    pub(crate) end: Option<Vec<u8>>,
    pub(crate) value: Value,
}

impl Element {
    /// One key and where it leads.
    pub(crate) fn new(key: Vec<u8>, value: Value) -> Self {
        Self { key, end: None, value }
    }
}

impl Value {
    pub(crate) fn write(&self, w: &mut crate::wire::Writer) {
        match self {
            Self::Nothing => {}
            Self::Bytes(bytes) => w.nest(2, |w| w.attribute(1, bytes)),
        }
    }
}
