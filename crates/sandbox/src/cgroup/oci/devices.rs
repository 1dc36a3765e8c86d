//! Device rules of a bundle: an ordered list of which the later rule wins, letter by letter.
//!
//! Version 2 carries the list out as it is, in a program. Version 1 has a default and exceptions, in which no hole can be
//! cut: what it cannot say is refused, for the kernel passes over such a rule and says nothing.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use bulkhead_sys::bpf::Instruction;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::LimitError;
use super::setting::field;
use crate::cgroup::devices as filter;
use crate::cgroup::handle::CgroupError;
use crate::oci::config::DeviceCgroup;

/// What a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Block devices.
    Block,
    /// Character devices.
    Char,
}

/// A rule. Without a number it is about all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// It allows, else it forbids.
    pub allow: bool,
    /// `None` is both.
    pub kind: Option<Kind>,
    /// Major number.
    pub major: Option<u32>,
    /// Minor number.
    pub minor: Option<u32>,
    /// [`MKNOD`], [`READ`] and [`WRITE`].
    pub bits: u8,
}

/// A node can be made.
const MKNOD: u8 = 1;
/// It can be read.
const READ: u8 = 2;
/// It can be written.
const WRITE: u8 = 4;
const ALL: u8 = MKNOD | READ | WRITE;

/// The rules in order. Where none is about a device, it is forbidden.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceList {
    /// The rules.
    pub rules: Vec<Access>,
}

/// The default devices of the specification, by number; a minor of `None` is any. With them every node may be made,
/// which lets nobody use it.
const USUAL: [(u32, Option<u32>); 8] =
    [(1, Some(3)), (1, Some(5)), (1, Some(7)), (1, Some(8)), (1, Some(9)), (5, Some(0)), (5, Some(2)), (136, None)];

/// Most rules of a bundle: a program of the kernel's has at most a million instructions, and no device list is as long.
const MOST: usize = 4096;

impl DeviceList {
    /// Reads `linux.resources.devices`, and adds what every bundle may use.
    ///
    /// # Errors
    /// The field that is not acceptable.
    pub fn of(asked: &[DeviceCgroup]) -> Result<Self, LimitError> {
        if asked.len() > MOST {
            return Err(LimitError::new(&field("devices"), format!("{} rules; at most {MOST} are taken", asked.len())));
        }
        let mut rules = Vec::with_capacity(asked.len() + USUAL.len() + 1);
        for (index, rule) in asked.iter().enumerate() {
            rules.push(rule_of(index, rule)?);
        }
        let usual = |(major, minor): (u32, Option<u32>)| Access {
            allow: true,
            kind: Some(Kind::Char),
            major: Some(major),
            minor,
            bits: ALL,
        };
        rules.push(Access { allow: true, kind: None, major: None, minor: None, bits: MKNOD });
        rules.extend(USUAL.map(usual));
        Ok(Self { rules })
    }

    /// What is allowed, as `DeviceAllow=` of systemd names it; `None` is everything. A list that cannot be said so is
    /// shorter than it should be.
    pub(crate) fn allowed(&self) -> Option<Vec<(String, String)>> {
        let Ok(list) = V1List::of(self) else { return Some(Vec::new()) };
        if list.allow {
            return if list.exceptions.is_empty() { None } else { Some(Vec::new()) };
        }
        let name = |(kind, major, minor): Key| {
            let kind = if kind == Kind::Block { "block" } else { "char" };
            match (major, minor) {
                (Some(major), Some(minor)) => Some(format!("/dev/{kind}/{major}:{minor}")),
                (Some(major), None) => Some(format!("{kind}-{major}")),
                (None, None) => Some(format!("{kind}-*")),
                (None, Some(_)) => None,
            }
        };
        Some(list.exceptions.iter().filter_map(|(key, bits)| Some((name(*key)?, letters(*bits)))).collect())
    }
}

fn rule_of(index: usize, rule: &DeviceCgroup) -> Result<Access, LimitError> {
    let refuse = |name: &str, reason: String| Err(LimitError::new(&field(&format!("devices[{index}].{name}")), reason));
    let kind = match rule.kind.as_str() {
        "" | "a" => None,
        "b" => Some(Kind::Block),
        "c" => Some(Kind::Char),
        other => return refuse("type", format!("{other:?} is none of a, b and c")),
    };
    let number = |name: &str, value: Option<i64>, most: u32| match value {
        None | Some(-1) => Ok(None),
        Some(n) => match u32::try_from(n) {
            Ok(n) if n <= most => Ok(Some(n)),
            _ => refuse(name, format!("{n} is no device number; -1 is all, {most} the largest")).map(|_: Access| None),
        },
    };
    let (major, minor) = (number("major", rule.major, 0xfff)?, number("minor", rule.minor, 0xf_ffff)?);
    let mut bits = 0;
    for letter in rule.access.chars() {
        bits |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            // As in `type`: all of them. Nothing is ever allowed by it.
            'a' if !rule.allow => ALL,
            other => return refuse("access", format!("{other:?} is none of r, w and m")),
        };
    }
    if bits == 0 {
        return refuse("access", "it is empty; letters of r, w and m are needed".to_owned());
    }
    Ok(Access { allow: rule.allow, kind, major, minor, bits })
}

impl std::fmt::Display for Access {
    /// As the files of version 1 have it, the verdict first.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.allow { "allow" } else { "deny" };
        let text = line((self.kind.unwrap_or(Kind::Char), self.major, self.minor), self.bits);
        match self.kind {
            Some(_) => write!(f, "{verdict} {text}"),
            None => write!(f, "{verdict} a{}", text.get(1..).unwrap_or_default()),
        }
    }
}

type Key = (Kind, Option<u32>, Option<u32>);

/// What version 1 holds: a default, and exceptions from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct V1List {
    allow: bool,
    exceptions: BTreeMap<Key, u8>,
}

fn covers(wide: Option<u32>, narrow: Option<u32>) -> bool {
    wide.is_none() || wide == narrow
}

fn meets(a: Option<u32>, b: Option<u32>) -> bool {
    a.is_none() || b.is_none() || a == b
}

fn letters(bits: u8) -> String {
    [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')].iter().filter(|(bit, _)| bits & bit != 0).map(|(_, c)| *c).collect()
}

fn line(key: Key, bits: u8) -> String {
    let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
    let kind = if key.0 == Kind::Block { 'b' } else { 'c' };
    format!("{kind} {}:{} {}", number(key.1), number(key.2), letters(bits))
}

impl V1List {
    /// # Errors
    /// A rule that cuts a hole into a wider one.
    pub(super) fn of(list: &DeviceList) -> Result<Self, LimitError> {
        let mut this = Self::default();
        // The last ones are every bundle's.
        let own = list.rules.len().saturating_sub(USUAL.len() + 1);
        for (index, rule) in list.rules.iter().enumerate() {
            let name =
                || if index < own { format!("devices[{index}]") } else { "devices, and the usual ones".to_owned() };
            if rule.kind.is_none() && rule.major.is_none() && rule.minor.is_none() && rule.bits == ALL {
                this = Self { allow: rule.allow, exceptions: BTreeMap::new() };
                continue;
            }
            let kinds = rule.kind.map_or(vec![Kind::Block, Kind::Char], |k| vec![k]);
            for kind in kinds {
                this.apply(name, (kind, rule.major, rule.minor), rule)?;
            }
        }
        Ok(this)
    }

    fn apply(&mut self, name: impl Fn() -> String, key: Key, rule: &Access) -> Result<(), LimitError> {
        if rule.allow != self.allow {
            *self.exceptions.entry(key).or_default() |= rule.bits;
            return Ok(());
        }
        for (other, bits) in &mut self.exceptions {
            let same = other.0 == key.0 && meets(other.1, key.1) && meets(other.2, key.2);
            if !same || *bits & rule.bits == 0 {
                continue;
            }
            if !(covers(key.1, other.1) && covers(key.2, other.2)) {
                return Err(LimitError::new(
                    &field(&name()),
                    format!(
                        "{:?} is a part of the earlier rule {:?}, and cgroup v1 takes none out of a rule",
                        line(key, rule.bits),
                        line(*other, *bits)
                    ),
                ));
            }
            *bits &= !rule.bits;
        }
        self.exceptions.retain(|_, bits| *bits != 0);
        Ok(())
    }

    /// From `devices.list`, which shows no exceptions where the default is to allow.
    fn read(text: &str) -> Option<Self> {
        let mut this = Self::default();
        for entry in text.lines() {
            let mut words = entry.split_whitespace();
            let (kind, numbers, access) = (words.next()?, words.next()?, words.next()?);
            let kind = match kind {
                "a" => return Some(Self { allow: true, exceptions: BTreeMap::new() }),
                "b" => Kind::Block,
                "c" => Kind::Char,
                _ => return None,
            };
            let (major, minor) = numbers.split_once(':')?;
            let number = |n: &str| if n == "*" { Some(None) } else { n.parse().ok().map(Some) };
            let key = (kind, number(major)?, number(minor)?);
            let bit = |(c, bit): (char, u8)| if access.contains(c) { bit } else { 0 };
            *this.exceptions.entry(key).or_default() |=
                [('r', READ), ('w', WRITE), ('m', MKNOD)].map(bit).iter().sum::<u8>();
        }
        Some(this)
    }

    /// The writes that lead here from what a group has; `true` is to `devices.allow`. A group that runs loses nothing on
    /// the way that it has before and after.
    fn writes_from(&self, current: &Self) -> Vec<(bool, String)> {
        let mut writes = Vec::new();
        let nothing = BTreeMap::new();
        let before = if current.allow || self.allow {
            writes.push((self.allow, "a".to_owned()));
            &nothing
        } else {
            &current.exceptions
        };
        for (key, bits) in &self.exceptions {
            let more = bits & !before.get(key).copied().unwrap_or(0);
            if more != 0 {
                writes.push((!self.allow, line(*key, more)));
            }
        }
        for (key, bits) in before {
            let less = bits & !self.exceptions.get(key).copied().unwrap_or(0);
            if less != 0 {
                writes.push((self.allow, line(*key, less)));
            }
        }
        writes
    }
}

/// Makes the list of a v1 group what the rules say.
pub(in crate::cgroup) fn narrow(directory: &Path, list: &DeviceList) -> Result<(), CgroupError> {
    let file = directory.join("devices.list");
    let fail = |path: &Path, e: std::io::Error| CgroupError::new(format!("set {} in", field("devices")), path, e);
    let text = bulkhead_sys::fd::text(&file).map_err(|e| fail(&file, e.into()))?;
    let target = V1List::of(list).map_err(|e| fail(&file, std::io::Error::other(e)))?;
    let current = V1List::read(&text).unwrap_or(V1List { allow: true, exceptions: BTreeMap::new() });
    let mut open: Option<(bool, OwnedFd)> = None;
    for (allow, value) in target.writes_from(&current) {
        let path = || directory.join(if allow { "devices.allow" } else { "devices.deny" });
        let what = || format!("set {} by writing {value:?} to", field("devices"));
        // Each write is a rule; one file takes many.
        let file = match open.take() {
            Some((for_allow, file)) if for_allow == allow => file,
            _ => rustix::fs::open(path(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|e| CgroupError::new(what(), &path(), e))?,
        };
        let written = rustix::io::write(&file, value.as_bytes()).map_err(|e| CgroupError::new(what(), &path(), e))?;
        if written != value.len() {
            return Err(CgroupError::new(what(), &path(), std::io::Error::from(std::io::ErrorKind::WriteZero)));
        }
        open = Some((allow, file));
    }
    Ok(())
}

/// The rules as a program for version 2: from the last to the first, each takes away what it decides of what is wanted.
pub(in crate::cgroup) fn program(list: &DeviceList) -> Vec<Instruction> {
    use filter::{AND, EXIT, JUMP_EQUAL, JUMP_NOT_EQUAL, MOVE, MOVE_REGISTER, insn};
    let mut program = filter::prologue();
    for rule in list.rules.iter().rev() {
        let bits = i32::from(rule.bits);
        // Taken when a rule is about the device.
        let decide: Vec<Instruction> = if rule.allow {
            vec![
                insn(AND, 0x05, 0, !bits),
                insn(JUMP_NOT_EQUAL, 0x05, 2, 0),
                insn(MOVE, 0x00, 0, 1),
                insn(EXIT, 0, 0, 0),
            ]
        } else {
            vec![
                insn(MOVE_REGISTER, 0x50, 0, 0),
                insn(AND, 0x00, 0, bits),
                insn(JUMP_EQUAL, 0x00, 2, 0),
                insn(MOVE, 0x00, 0, 0),
                insn(EXIT, 0, 0, 0),
            ]
        };
        // Numbers of devices have 12 and 20 bits, so the comparison with a signed operand is exact.
        let number = |n: u32| i32::try_from(n).unwrap_or(-1);
        let kind = rule.kind.map(|k| if k == Kind::Block { filter::BLOCK } else { filter::CHAR });
        let tests = [(0x02, kind), (0x03, rule.major.map(number)), (0x04, rule.minor.map(number))];
        let tests: Vec<(u8, i32)> = tests.into_iter().filter_map(|(r, n)| Some((r, n?))).collect();
        let mut over = i16::try_from(tests.len() + decide.len()).unwrap_or(i16::MAX);
        for (register, value) in tests {
            over -= 1;
            program.push(insn(JUMP_NOT_EQUAL, register, over, value));
        }
        program.extend(decide);
        if rule.kind.is_none() && rule.major.is_none() && rule.minor.is_none() && rule.bits == ALL {
            // It decides everything; the kernel takes no program with a part that is never reached.
            program.truncate(program.len() - if rule.allow { 4 } else { 5 });
            program.extend([insn(MOVE, 0x00, 0, i32::from(rule.allow)), insn(EXIT, 0, 0, 0)]);
            return program;
        }
    }
    program.extend([insn(MOVE, 0x00, 0, 0), insn(EXIT, 0, 0, 0)]);
    program
}

#[cfg(test)]
mod tests;
