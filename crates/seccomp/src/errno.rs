//! The error numbers that profiles use, by name. They are equal on x86 and Arm.

pub(crate) const EPERM: u16 = 1;
pub(crate) const ENOSYS: u16 = 38;
pub(crate) const ENOPROTOOPT: u16 = 92;
pub(crate) const EPROTONOSUPPORT: u16 = 93;
pub(crate) const EOPNOTSUPP: u16 = 95;
pub(crate) const EAFNOSUPPORT: u16 = 97;

const NAMES: &[(u16, &str)] = &[
    (EPERM, "EPERM"),
    (2, "ENOENT"),
    (3, "ESRCH"),
    (5, "EIO"),
    (9, "EBADF"),
    (11, "EAGAIN"),
    (12, "ENOMEM"),
    (13, "EACCES"),
    (14, "EFAULT"),
    (16, "EBUSY"),
    (19, "ENODEV"),
    (22, "EINVAL"),
    (25, "ENOTTY"),
    (30, "EROFS"),
    (ENOSYS, "ENOSYS"),
    (ENOPROTOOPT, "ENOPROTOOPT"),
    (EPROTONOSUPPORT, "EPROTONOSUPPORT"),
    (94, "ESOCKTNOSUPPORT"),
    (EOPNOTSUPP, "EOPNOTSUPP"),
    (EAFNOSUPPORT, "EAFNOSUPPORT"),
];

/// The name of an error number, where it is a usual one in profiles.
pub(crate) fn name(number: u16) -> Option<&'static str> {
    NAMES.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}
