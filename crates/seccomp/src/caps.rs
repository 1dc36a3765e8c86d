//! Capability names and their bits, as profiles and [`crate::Context`] use them.

const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Every capability name, in the order of the kernel's numbers.
#[must_use]
pub fn names() -> [&'static str; 41] {
    NAMES
}

/// The bit of a capability in a 64-bit set, by its full upper-case name (`CAP_SYS_ADMIN`).
#[must_use]
pub fn bit(name: &str) -> Option<u64> {
    let index = NAMES.iter().position(|known| *known == name)?;
    let shift = u32::try_from(index).ok()?;
    1_u64.checked_shl(shift)
}

/// The set made of these names; unknown names are left out.
#[must_use]
pub fn set(names: &[&str]) -> u64 {
    names.iter().filter_map(|name| bit(name)).fold(0, |set, bit| set | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_the_kernel_numbers() {
        assert_eq!(bit("CAP_CHOWN"), Some(1));
        assert_eq!(bit("CAP_SYS_ADMIN"), Some(1 << 21));
        assert_eq!(bit("CAP_CHECKPOINT_RESTORE"), Some(1 << 40));
        assert_eq!(bit("SYS_ADMIN"), None);
        assert_eq!(set(&["CAP_CHOWN", "CAP_FOWNER", "CAP_NOPE"]), 0b1001);
    }
}
