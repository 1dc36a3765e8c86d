//! Expressions of rules, as the kernel takes them (`linux/netfilter/nf_tables.h`).

use crate::wire::Writer;

/// What a packet is asked for, by the register it goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// The packet's place in the machine: key of `nft_meta_keys`.
    Meta(u32),
    /// Bytes of the packet: header (0 link, 1 network, 2 transport), offset, length.
    Payload(u32, u32, u32),
    /// Its connection: key of `nft_ct_keys`.
    Connection(u32),
    /// What kind of address the destination is.
    DestinationKind,
}

impl Load {
    /// Bytes that it is long.
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Meta(IIFNAME | OIFNAME) => 16,
            Self::Meta(NFPROTO | L4PROTO) => 1,
            Self::Meta(PROTOCOL) => 2,
            Self::Meta(_) | Self::Connection(_) | Self::DestinationKind => 4,
            Self::Payload(_, _, length) => usize::try_from(length).unwrap_or_default(),
        }
    }
}

const PROTOCOL: u32 = 1;
const IIFNAME: u32 = 6;
const OIFNAME: u32 = 7;
const NFPROTO: u32 = 15;
const L4PROTO: u32 = 16;

/// Name of the link it came by.
pub(crate) const IN_NAME: Load = Load::Meta(IIFNAME);
/// Name of the link it leaves by.
pub(crate) const OUT_NAME: Load = Load::Meta(OIFNAME);
/// Group of the link it came by.
pub(crate) const IN_GROUP: Load = Load::Meta(21);
/// Group of the link it leaves by.
pub(crate) const OUT_GROUP: Load = Load::Meta(22);
/// Family of netfilter.
pub(crate) const FAMILY: Load = Load::Meta(NFPROTO);
/// Protocol above IP.
pub(crate) const L4: Load = Load::Meta(L4PROTO);
/// Type of the frame without a VLAN tag.
pub(crate) const ETHER_PROTOCOL: Load = Load::Meta(PROTOCOL);
/// Type of the frame as it came, tags included.
pub(crate) const ETHER_TYPE: Load = Load::Payload(0, 12, 2);
/// Destination of the frame.
pub(crate) const ETHER_DESTINATION: Load = Load::Payload(0, 0, 6);
/// Source of the frame.
pub(crate) const ETHER_SOURCE: Load = Load::Payload(0, 6, 6);
/// Kinds and lengths of addresses in an ARP message.
pub(crate) const ARP_HEADER: Load = Load::Payload(1, 0, 6);
/// Link address of the sender in an ARP message.
pub(crate) const ARP_MAC: Load = Load::Payload(1, 8, 6);
/// Address of the sender in an ARP message.
pub(crate) const ARP_IP: Load = Load::Payload(1, 14, 4);
/// Address that an ARP message asks for.
pub(crate) const ARP_TARGET: Load = Load::Payload(1, 24, 4);
/// Source of IPv4.
pub(crate) const IP4_SOURCE: Load = Load::Payload(1, 12, 4);
/// Destination of IPv4.
pub(crate) const IP4_DESTINATION: Load = Load::Payload(1, 16, 4);
/// Source of IPv6.
pub(crate) const IP6_SOURCE: Load = Load::Payload(1, 8, 16);
/// Destination of IPv6.
pub(crate) const IP6_DESTINATION: Load = Load::Payload(1, 24, 16);
/// Type of an ICMP message.
pub(crate) const ICMP_TYPE: Load = Load::Payload(2, 0, 1);
/// Address that a neighbour advertisement speaks of.
pub(crate) const ND_TARGET: Load = Load::Payload(2, 8, 16);
/// Source port.
pub(crate) const SOURCE_PORT: Load = Load::Payload(2, 0, 2);
/// Destination port.
pub(crate) const PORT: Load = Load::Payload(2, 2, 2);
/// Flags of TCP.
pub(crate) const TCP_FLAGS: Load = Load::Payload(2, 13, 1);
/// Type of the first chunk of SCTP.
pub(crate) const SCTP_CHUNK: Load = Load::Payload(2, 12, 1);
/// Flags and place of a fragment of IPv4.
pub(crate) const FRAGMENT4: Load = Load::Payload(1, 6, 2);
/// What follows the header of IPv6.
pub(crate) const NEXT_HEADER6: Load = Load::Payload(1, 6, 1);
/// Place of a fragment of IPv6, whose header is the first behind that of the packet.
pub(crate) const FRAGMENT6: Load = Load::Payload(1, 42, 2);
/// Source and destination of the packet that an ICMP message is about.
pub(crate) const ABOUT4_SOURCE: Load = Load::Payload(2, 20, 4);
pub(crate) const ABOUT4_DESTINATION: Load = Load::Payload(2, 24, 4);
/// The same of IPv6.
pub(crate) const ABOUT6_SOURCE: Load = Load::Payload(2, 16, 16);
pub(crate) const ABOUT6_DESTINATION: Load = Load::Payload(2, 32, 16);
/// State of the connection.
pub(crate) const STATE: Load = Load::Connection(0);
/// Status of the connection.
pub(crate) const STATUS: Load = Load::Connection(2);

/// Where a rule sends a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(&'static str),
    Goto(&'static str),
}

impl Verdict {
    /// Writes it as data.
    pub(crate) fn write(self, w: &mut Writer) {
        let (code, chain): (i32, _) = match self {
            Self::Accept => (1, None),
            Self::Drop => (0, None),
            Self::Return => (-5, None),
            Self::Jump(chain) => (-3, Some(chain)),
            Self::Goto(chain) => (-4, Some(chain)),
        };
        w.nest(2, |w| {
            w.big(1, code.cast_unsigned());
            if let Some(chain) = chain {
                w.text(2, chain);
            }
        });
    }
}

/// What a lookup finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// That the key is there.
    Key,
    /// That the key is not there.
    NoKey,
    /// A value, from the first register on.
    Value,
}

/// One expression. Registers are counted in words of 4 bytes from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expr {
    Load {
        what: Load,
        to: u32,
    },
    Mask {
        mask: Vec<u8>,
    },
    Compare {
        equal: bool,
        with: Vec<u8>,
    },
    Lookup {
        set: &'static str,
        found: Found,
    },
    Count(&'static str),
    Remember {
        set: &'static str,
    },
    /// As it, without a number, and for so many milliseconds from now.
    Refresh {
        set: &'static str,
        timeout: u64,
    },
    Destination {
        family: u32,
        address_words: u32,
    },
    Masquerade,
    Reject {
        reset: bool,
    },
    Then(Verdict),
}

/// As the kernel says it: whole registers of 16 bytes are 1 to 4, words are from 8 on.
fn register(word: u32) -> u32 {
    if word.is_multiple_of(4) { 1 + word / 4 } else { 8 + word }
}

impl Expr {
    /// Name of the kernel's part that does it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Load { what: Load::Meta(_), .. } => "meta",
            Self::Load { what: Load::Payload(..), .. } => "payload",
            Self::Load { what: Load::Connection(_), .. } => "ct",
            Self::Load { what: Load::DestinationKind, .. } => "fib",
            Self::Mask { .. } => "bitwise",
            Self::Compare { .. } => "cmp",
            Self::Lookup { .. } => "lookup",
            Self::Count(_) => "objref",
            Self::Remember { .. } | Self::Refresh { .. } => "dynset",
            Self::Destination { .. } => "nat",
            Self::Masquerade => "masq",
            Self::Reject { .. } => "reject",
            Self::Then(_) => "immediate",
        }
    }

    /// Writes it as an element of a rule's list.
    pub(crate) fn write(&self, w: &mut Writer) {
        w.nest(1, |w| {
            w.text(1, self.name());
            w.nest(2, |w| self.inside(w));
        });
    }

    fn inside(&self, w: &mut Writer) {
        match self {
            Self::Load { what, to } => load(*what, register(*to), w),
            Self::Mask { mask } => {
                w.big(1, 1);
                w.big(2, 1);
                w.big(3, u32::try_from(mask.len()).unwrap_or_default());
                w.nest(4, |w| w.attribute(1, mask));
                w.nest(5, |w| w.attribute(1, &vec![0; mask.len()]));
            }
            Self::Compare { equal, with } => {
                w.big(1, 1);
                w.big(2, u32::from(!equal));
                w.nest(3, |w| w.attribute(1, with));
            }
            Self::Lookup { set, found } => {
                w.text(1, set);
                w.big(2, 1);
                match found {
                    Found::Key => {}
                    Found::NoKey => w.big(5, 1),
                    Found::Value => w.big(3, 1),
                }
            }
            Self::Count(name) => {
                w.big(1, 1);
                w.text(2, name);
            }
            Self::Remember { set } => {
                w.text(1, set);
                w.big(3, 1);
                w.big(4, 1);
                w.nest(7, |w| {
                    w.text(1, "counter");
                    w.nest(2, |_| {});
                });
            }
            Self::Refresh { set, timeout } => {
                w.text(1, set);
                w.big(3, 1);
                w.big(4, 1);
                w.attribute(6, &timeout.to_be_bytes());
            }
            Self::Destination { family, address_words } => {
                w.big(1, 1);
                w.big(2, *family);
                w.big(3, 1);
                w.big(5, register(*address_words));
            }
            Self::Masquerade => {}
            Self::Reject { reset: true } => w.big(1, 1),
            Self::Reject { reset: false } => {
                w.big(1, 2);
                // Prohibited by an administrator, in either family.
                w.attribute(2, &[3]);
            }
            Self::Then(verdict) => {
                w.big(1, 0);
                w.nest(2, |w| verdict.write(w));
            }
        }
    }
}

fn load(what: Load, to: u32, w: &mut Writer) {
    match what {
        Load::Meta(key) | Load::Connection(key) => {
            w.big(1, to);
            w.big(2, key);
        }
        Load::Payload(base, offset, length) => {
            w.big(1, to);
            w.big(2, base);
            w.big(3, offset);
            w.big(4, length);
        }
        Load::DestinationKind => {
            w.big(1, to);
            w.big(2, 3);
            w.big(3, 2);
        }
    }
}
