//! Capabilities by name (`capabilities(7)`).

use serde::{Deserialize, Serialize};

/// Names in the order of their numbers.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities, a bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Caps(pub u64);

impl Caps {
    /// None.
    pub const EMPTY: Self = Self(0);
    /// All that this program knows by name.
    pub const ALL: Self = Self((1 << 41) - 1);
    /// What a root process of an ordinary image needs to start as shipped: give files away, enter directories it gave
    /// away, drop to a user, signal its children and bind a low port.
    pub const DEFAULT: Self = Self::of(&[0, 1, 3, 4, 5, 6, 7, 10]);
    /// Docker's fourteen.
    pub const DOCKER: Self = Self::of(&[0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31]);

    const fn of(numbers: &[u32]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < numbers.len() {
            bits |= 1 << numbers[i];
            i += 1;
        }
        Self(bits)
    }

    /// One capability by name, with or without `CAP_`, in any case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let number = NAMES.iter().position(|n| *n == bare)?;
        Some(Self(1 << number))
    }

    /// Names without `CAP_`, in the order of their numbers.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        NAMES.iter().enumerate().filter(|(i, _)| self.0 & (1 << i) != 0).map(|(_, n)| *n).collect()
    }

    /// Both together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This without the other.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` are here.
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::Caps;

    #[test]
    fn the_default_set_is_eight() {
        assert_eq!(
            Caps::DEFAULT.names(),
            ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "NET_BIND_SERVICE"]
        );
        assert_eq!(Caps::DOCKER.names().len(), 14);
    }

    #[test]
    fn names_are_read_as_docker_writes_them() {
        assert_eq!(Caps::named("cap_net_raw"), Caps::named("NET_RAW"));
        assert_eq!(Caps::named("NET_ROW"), None);
        assert_eq!(Caps::named("CHECKPOINT_RESTORE"), Some(Caps(1 << 40)));
    }
}
