//! How the kernel's state can differ from what is declared.

use std::fmt;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drift {
    /// A table of the firewall is gone.
    TableMissing {
        /// `inet` or `bridge`.
        family: &'static str,
    },
    /// A chain is gone, is new, or its rules are others.
    Chain {
        /// `inet` or `bridge`.
        family: &'static str,
        /// Its name.
        chain: String,
    },
    /// A set, a map or a counter is gone or of another kind.
    Set {
        /// `inet` or `bridge`.
        family: &'static str,
        /// Its name.
        set: String,
    },
    /// What is declared is not in a set.
    ElementMissing {
        /// Name of the set.
        set: &'static str,
        /// The element, readable.
        element: String,
    },
    /// What is in a set is not declared.
    ElementForeign {
        /// Name of the set.
        set: &'static str,
        /// The element, readable.
        element: String,
    },
    /// What a set allows a member or a network that is declared beyond what is declared for it.
    ElementWrong {
        /// Name of the set.
        set: &'static str,
        /// The element, readable.
        element: String,
    },
    /// The host does not forward what containers send. IPv4 is turned on again; IPv6 is for the administrator to turn on.
    NotForwarding {
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// The bridge of a network is gone.
    BridgeMissing {
        /// Its name.
        link: String,
    },
    /// A bridge, or the host's end of a container's link, is not as it was made.
    Changed {
        /// Name of the link.
        link: String,
        /// What is different.
        what: String,
    },
    /// The link of a container is gone. Only a new start of the container makes it again.
    MemberMissing {
        /// The host's end.
        link: String,
    },
    /// A link of ours that belongs to nothing that is declared.
    LinkForeign {
        /// Its name.
        link: String,
    },
}

impl Drift {
    /// Whether the rules themselves are concerned, and not just what is in their sets.
    pub(crate) fn is_structure(&self) -> bool {
        matches!(self, Self::TableMissing { .. } | Self::Chain { .. } | Self::Set { .. })
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TableMissing { family } => write!(f, "the firewall's table {family} bulkhead is gone"),
            Self::Chain { family, chain } => {
                write!(f, "the chain {chain:?} of {family} bulkhead has other rules than it should")
            }
            Self::Set { family, set } => write!(f, "{set:?} of {family} bulkhead is gone or of another kind"),
            Self::ElementMissing { set, element } => write!(f, "{element} is missing in the firewall's set {set}"),
            Self::ElementForeign { set, element } => write!(f, "{element} is in the firewall's set {set} undeclared"),
            Self::ElementWrong { set, element } => {
                write!(f, "{element} is in the firewall's set {set}, and more than its member should have")
            }
            Self::NotForwarding { family } => write!(f, "the host does not forward {family}"),
            Self::BridgeMissing { link } => write!(f, "the bridge {link:?} is gone"),
            Self::Changed { link, what } => write!(f, "the link {link:?} was changed: {what}"),
            Self::MemberMissing { link } => write!(f, "the container's link {link:?} is gone; restart the container"),
            Self::LinkForeign { link } => write!(f, "the link {link:?} belongs to no container"),
        }
    }
}
