//! What can go wrong.

use std::net::IpAddr;

use bulkhead_sys::Errno;

use crate::Protocol;
use crate::socket::Refusal;

/// A network that could not be made, changed or read.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// What was asked for makes no sense.
    #[error("{field} {value:?}: {accepted}")]
    Invalid {
        /// Which part.
        field: &'static str,
        /// What was given.
        value: String,
        /// What would be accepted.
        accepted: String,
    },
    /// The kernel said no.
    #[error("cannot {what}{}", in_brackets(.said))]
    Kernel {
        /// What was attempted, with its object.
        what: String,
        /// The kernel's own words, where it has any.
        said: Option<String>,
        /// The kernel's answer.
        source: Errno,
    },
    /// The kernel has not what the walls between containers are made of.
    #[error("this kernel cannot {what}; without that a container has no network here")]
    Missing {
        /// What is missing, and what for.
        what: String,
        /// The kernel's answer.
        source: Errno,
    },
    /// The port leads to another container.
    #[error("port {port}/{protocol} of {address} already leads to another container")]
    PortTaken {
        /// The address of the host.
        address: IpAddr,
        /// The port.
        port: u16,
        /// The protocol.
        protocol: Protocol,
    },
    /// There is a link with this name that is none of ours.
    #[error("the host has a link {link:?} that is not a network of ours; rename or remove it")]
    Foreign {
        /// Its name.
        link: String,
    },
    /// The host has addresses of the network elsewhere: another store's network, or what it is connected to.
    #[error(
        "the subnet {subnet} has addresses in common with {address} of the host's link {link:?}; choose another subnet \
         ('network.pools', '--subnet'), or stop what has that link"
    )]
    Overlap {
        /// The subnet that was asked for, with its prefix.
        subnet: String,
        /// The host's address, with its prefix.
        address: String,
        /// The link that has it.
        link: String,
    },
    /// A link cannot have others of this kind on it.
    #[error(
        "the link {parent:?} takes no {driver} link {link:?} now: it has links of another kind, one for itself (passthru), is \
         a port of a bridge, or takes smaller packets only; choose another parent, mode or MTU"
    )]
    ParentTaken {
        /// `macvlan` or `ipvlan`.
        driver: &'static str,
        /// The link of the host.
        parent: String,
        /// The link inside.
        link: String,
        /// The kernel's answer.
        source: Errno,
    },
    /// There are containers on the network.
    #[error("the network of {link:?} has {count} link(s) left, one is {first:?}; stop the containers first")]
    InUse {
        /// The bridge.
        link: String,
        /// How many ports it has.
        count: usize,
        /// Name of one.
        first: String,
    },
    /// The host does not forward, and turning it on is not ours to do.
    #[error(
        "the host does not forward IPv6; set net.ipv6.conf.all.forwarding to 1, and accept_ra to 2 on links that take \
         router advertisements, or make the network internal or without IPv6"
    )]
    Forwarding,
    /// The calling thread is in the namespace of a container and cannot leave it. The process should end.
    #[error("cannot go back to the host's network namespace")]
    NoWayBack(#[source] Errno),
}

fn in_brackets(words: &Option<String>) -> String {
    words.as_ref().map(|w| format!(" ({w})")).unwrap_or_default()
}

impl NetError {
    pub(crate) fn kernel(what: impl Into<String>) -> impl FnOnce(Errno) -> Self {
        let what = what.into();
        move |source| Self::Kernel { what, said: None, source }
    }

    pub(crate) fn refused(what: impl Into<String>) -> impl FnOnce(Refusal) -> Self {
        let what = what.into();
        move |no| Self::Kernel { what, said: no.said, source: no.errno }
    }

    pub(crate) fn invalid(field: &'static str, value: impl ToString, accepted: impl Into<String>) -> Self {
        Self::Invalid { field, value: value.to_string(), accepted: accepted.into() }
    }
}
