//! The transient unit of a container: its name, its slice, and `linux.resources` as properties
//! (`systemd.resource-control(5)`, `org.freedesktop.systemd1(5)`).
//!
//! The limits are written to the group's own files as well. The properties say the same to systemd, which would else
//! put its own values there the next time it is reloaded.

use std::collections::BTreeMap;

use super::text;
use super::wire::Value;
use crate::cgroup::LimitError;
use crate::cgroup::oci::{DeviceList, io_weight, swap_alone, weight};
use crate::oci::config::LinuxResources;

/// What systemd makes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Unit {
    /// `prefix-name.scope`.
    pub name: String,
    /// The slice that it lies in.
    pub slice: String,
    /// It is the user's manager that makes it.
    pub user: bool,
    /// What was asked for, to be told as properties when the unit is made.
    pub resources: LinuxResources,
    /// `org.systemd.property.*` of the annotations, without that prefix.
    pub extra: BTreeMap<String, String>,
    /// The group is in the unified hierarchy.
    pub unified: bool,
    /// Its path in the hierarchy.
    pub path: String,
}

const PREFIX: &str = "org.systemd.property.";

fn refuse(path: &str, reason: &str) -> LimitError {
    LimitError::new(&format!("linux.cgroupsPath {path:?}"), reason)
}

/// Letters that a unit's name may have (`systemd.unit(5)`).
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() < 256
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'-' | b'_' | b'.' | b'\\' | b'@'))
}

impl Unit {
    /// From `slice:prefix:name`, or from the id where there is no path. `manager` is the path of the manager's own group.
    ///
    /// # Errors
    /// A path of another form, a name that no unit can have.
    pub fn of(
        id: &str,
        path: &str,
        resources: &LinuxResources,
        annotations: &BTreeMap<String, String>,
        (user, unified, manager): (bool, bool, &str),
    ) -> Result<Self, LimitError> {
        let parts: Vec<&str> = path.split(':').collect();
        let (slice, prefix, name) = match parts.as_slice() {
            [""] => ("", "bulkhead", id),
            [slice, prefix, name] => (*slice, *prefix, *name),
            _ => return Err(refuse(path, "with the systemd driver it has the form slice:prefix:name")),
        };
        if name.ends_with(".slice") {
            return Err(refuse(path, "a slice holds no processes; a container needs a name that makes a scope"));
        }
        let slice = match (slice, user) {
            ("", true) => "user.slice",
            ("", false) => "system.slice",
            (slice, _) => slice,
        };
        let name = format!("{prefix}-{name}.scope");
        if !is_plain(&name) {
            return Err(refuse(path, "a unit's name has ASCII letters, digits and :-_.\\@, at most 255 of them"));
        }
        let way = expand(slice).ok_or_else(|| refuse(path, "its first part is no slice like a-b.slice"))?;
        let extra: BTreeMap<String, String> = annotations
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?.to_owned(), value.clone())))
            .collect();
        let unit = Self {
            path: format!("{}{way}/{name}", manager.trim_end_matches('/')),
            name,
            slice: slice.to_owned(),
            user,
            resources: resources.clone(),
            extra,
            unified,
        };
        unit.properties(0)?;
        Ok(unit)
    }

    /// All properties of the new unit, with the process that is in it first.
    ///
    /// # Errors
    /// An annotation that is no property.
    pub(super) fn properties(&self, pid: u32) -> Result<Vec<(String, Value)>, LimitError> {
        let text = |s: &str| Value::Str(s.to_owned());
        let mut all: Vec<(String, Value)> = [
            ("Description", Value::Str(format!("bulkhead container {}", self.name.trim_end_matches(".scope")))),
            ("Slice", text(&self.slice)),
            ("Delegate", Value::Bool(true)),
            ("PIDs", Value::Array("u".into(), vec![Value::U32(pid)])),
            ("MemoryAccounting", Value::Bool(true)),
            ("CPUAccounting", Value::Bool(true)),
            (if self.unified { "IOAccounting" } else { "BlockIOAccounting" }, Value::Bool(true)),
            ("TasksAccounting", Value::Bool(true)),
            ("DefaultDependencies", Value::Bool(false)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        for (name, value) in &self.extra {
            all.push(text::property(name, value).map_err(|reason| {
                LimitError::new(&format!("annotations[{:?}] {value:?}", format!("{PREFIX}{name}")), reason)
            })?);
        }
        if !self.user {
            all.extend(devices(&DeviceList::of(&self.resources.devices)?));
        }
        all.extend(properties(&self.resources, self.unified)?);
        Ok(all)
    }
}

/// `a-b.slice` lies in `a.slice`: the path of a slice below the manager's group, `/a.slice/a-b.slice`; nothing for the
/// top, `-.slice`.
pub(super) fn expand(slice: &str) -> Option<String> {
    let name = slice.strip_suffix(".slice")?;
    if name == "-" {
        return Some(String::new());
    }
    if !is_plain(slice) || name.split('-').any(str::is_empty) {
        return None;
    }
    let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    Some(ends.map(|end| format!("/{}.slice", name.get(..end).unwrap_or_default())).collect())
}

const INFINITY: u64 = u64::MAX;

/// Bytes, or no limit.
fn bytes(value: i64) -> Value {
    Value::U64(u64::try_from(value).unwrap_or(INFINITY))
}

/// Limits as properties. What systemd has no property for is in the group's files alone.
///
/// # Errors
/// A list that is none.
pub(super) fn properties(resources: &LinuxResources, unified: bool) -> Result<Vec<(String, Value)>, LimitError> {
    let mut all: Vec<(&str, Value)> = Vec::new();
    let said = |v: Option<i64>| v.filter(|v| *v != 0);
    if let Some(memory) = &resources.memory {
        if let Some(limit) = said(memory.limit) {
            all.push((if unified { "MemoryMax" } else { "MemoryLimit" }, bytes(limit)));
        }
        if let Some(low) = said(memory.reservation).filter(|_| unified) {
            all.push(("MemoryLow", bytes(low)));
        }
        let swap = if unified && said(memory.limit).is_some() { swap_alone(memory.swap, memory.limit)? } else { None };
        if let Some(swap) = swap {
            all.push(("MemorySwapMax", Value::U64(swap.parse().unwrap_or(INFINITY))));
        }
    }
    if let Some(cpu) = &resources.cpu {
        if let Some(shares) = cpu.shares.filter(|s| *s != 0 && cpu.idle != Some(1)) {
            all.push(if unified {
                ("CPUWeight", Value::U64(weight(shares)))
            } else {
                ("CPUShares", Value::U64(shares))
            });
        }
        let (quota, period) = (said(cpu.quota), cpu.period.filter(|p| *p != 0));
        if let Some(period) = period {
            all.push(("CPUQuotaPeriodUSec", Value::U64(period)));
        }
        if quota.is_some() || period.is_some() {
            all.push(("CPUQuotaPerSecUSec", Value::U64(per_second(quota, period.unwrap_or(100_000)))));
        }
        for (name, field, list) in [("AllowedCPUs", "cpus", &cpu.cpus), ("AllowedMemoryNodes", "mems", &cpu.mems)] {
            if !list.is_empty() {
                let bits = bits(list).ok_or_else(|| {
                    LimitError::new(&format!("linux.resources.cpu.{field}"), format!("{list:?} is no list like 0-2,7"))
                })?;
                all.push((name, Value::Array("y".into(), bits.into_iter().map(Value::Byte).collect())));
            }
        }
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|p| p.limit) {
        all.push(("TasksMax", if limit < 0 { Value::U64(INFINITY) } else { bytes(limit.max(1)) }));
    }
    if let Some(weight) = resources.block_io.as_ref().and_then(|b| b.weight).filter(|w| *w != 0) {
        all.push(if unified {
            ("IOWeight", Value::U64(io_weight(weight)))
        } else {
            ("BlockIOWeight", Value::U64(u64::from(weight)))
        });
    }
    let files = resources.unified.iter().filter(|_| unified);
    all.extend(files.filter_map(|(file, value)| of_file(file, value.trim())));
    Ok(all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// A file of version 2 for which there is a property.
fn of_file(file: &str, value: &str) -> Option<(&'static str, Value)> {
    let name = match file {
        "memory.max" => "MemoryMax",
        "memory.high" => "MemoryHigh",
        "memory.low" => "MemoryLow",
        "memory.min" => "MemoryMin",
        "memory.swap.max" => "MemorySwapMax",
        "pids.max" => "TasksMax",
        "cpu.weight" => "CPUWeight",
        "cpu.max" => {
            let (quota, period) = value.split_once(' ').unwrap_or((value, "100000"));
            let per_second = per_second(quota.parse().ok(), period.trim().parse().ok()?);
            return Some(("CPUQuotaPerSecUSec", Value::U64(per_second)));
        }
        "cpuset.cpus" | "cpuset.mems" => {
            let name = if file == "cpuset.cpus" { "AllowedCPUs" } else { "AllowedMemoryNodes" };
            let bits = bits(value)?.into_iter().map(Value::Byte).collect();
            return Some((name, Value::Array("y".into(), bits)));
        }
        _ => return None,
    };
    Some((name, Value::U64(if value == "max" { INFINITY } else { value.parse().ok()? })))
}

/// Microseconds of CPU time in a second. systemd holds whole percents, so a part of one is rounded up: less than what
/// was asked for it must not be.
fn per_second(quota: Option<i64>, period: u64) -> u64 {
    let Some(quota) = quota.and_then(|q| u64::try_from(q).ok()).filter(|q| *q > 0) else { return INFINITY };
    let exact = u128::from(quota) * 1_000_000 / u128::from(period.max(1));
    u64::try_from(exact.next_multiple_of(10_000)).unwrap_or(INFINITY)
}

/// `0-2,7` as a bit of each number, the lowest first; nothing for an empty list, and for one that is none.
fn bits(list: &str) -> Option<Vec<u8>> {
    let words = crate::oci::bits("list", list).ok()?;
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let used = bytes.iter().rposition(|byte| *byte != 0)? + 1;
    bytes.truncate(used);
    Some(bytes)
}

/// The device rules as far as systemd can say them: it knows a list of what is allowed, and no hole in it. The group's
/// own list is exact and is put in force after this one; this one keeps systemd from opening the group at a reload.
fn devices(list: &DeviceList) -> Vec<(String, Value)> {
    let pair = |(path, access): (String, String)| Value::Struct(vec![Value::Str(path), Value::Str(access)]);
    let policy = |name: &str, allowed: Vec<(String, String)>| {
        vec![
            // An empty list takes away what was there.
            ("DeviceAllow".to_owned(), Value::Array("(ss)".into(), Vec::new())),
            ("DevicePolicy".to_owned(), Value::Str(name.to_owned())),
            ("DeviceAllow".to_owned(), Value::Array("(ss)".into(), allowed.into_iter().map(pair).collect())),
        ]
    };
    match list.allowed() {
        None => policy("auto", Vec::new()),
        Some(allowed) => policy("strict", allowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(path: &str, json: &str, place: (bool, bool, &str)) -> Result<Unit, LimitError> {
        let annotations =
            [("org.systemd.property.TimeoutStopUSec".to_owned(), "uint64 5".to_owned()), ("other".into(), "x".into())];
        Unit::of("box", path, &serde_json::from_str(json).unwrap(), &annotations.into(), place)
    }

    #[test]
    fn a_path_becomes_a_scope_in_its_slices() {
        let table = [
            ("a-b-c.slice:docker:1", (false, true, "/"), "/a.slice/a-b.slice/a-b-c.slice/docker-1.scope"),
            ("", (false, false, "/"), "/system.slice/bulkhead-box.scope"),
            (":runc:x", (true, true, "/user.slice/u"), "/user.slice/u/user.slice/runc-x.scope"),
            ("-.slice:p:n", (false, true, "/"), "/p-n.scope"),
        ];
        for (path, place, wanted) in table {
            assert_eq!(unit(path, "{}", place).unwrap().path, wanted, "{path}");
        }
        for path in [
            "/a/b",
            "a:b",
            "a:b:c:d",
            "a:b:c",
            "a--b.slice:p:n",
            ".slice:p:n",
            "a.slice:p:../n",
            "a.slice:p:n.slice",
            "a/b.slice:p:n",
        ] {
            let error = unit(path, "{}", (false, true, "/")).unwrap_err();
            assert!(error.limit.starts_with("linux.cgroupsPath"), "{path}");
        }
    }

    #[test]
    fn limits_become_properties() {
        let json = r#"{"memory":{"limit":1000,"swap":1500,"reservation":-1},"cpu":{"shares":1024,"quota":15001,
            "period":100000,"cpus":"0-1,9","mems":"0"},"pids":{"limit":0},"blockIO":{"weight":1000},
            "unified":{"memory.high":"max","cpu.max":"max 5"}}"#;
        let resources: LinuxResources = serde_json::from_str(json).unwrap();
        let shown = |unified| properties(&resources, unified).unwrap();
        let octets = |all: &[u8]| Value::Array("y".into(), all.iter().copied().map(Value::Byte).collect());
        let wanted = [
            ("MemoryMax", Value::U64(1000)),
            ("MemoryLow", Value::U64(INFINITY)),
            ("MemorySwapMax", Value::U64(500)),
            ("CPUWeight", Value::U64(100)),
            ("CPUQuotaPeriodUSec", Value::U64(100_000)),
            ("CPUQuotaPerSecUSec", Value::U64(160_000)),
            ("AllowedCPUs", octets(&[3, 2])),
            ("AllowedMemoryNodes", octets(&[1])),
            ("TasksMax", Value::U64(1)),
            ("IOWeight", Value::U64(10_000)),
            ("CPUQuotaPerSecUSec", Value::U64(INFINITY)),
            ("MemoryHigh", Value::U64(INFINITY)),
        ];
        assert_eq!(shown(true), wanted.map(|(n, v)| (n.to_owned(), v)));
        let v1: Vec<String> = shown(false).into_iter().map(|(n, _)| n).collect();
        let names = [
            "MemoryLimit",
            "CPUShares",
            "CPUQuotaPeriodUSec",
            "CPUQuotaPerSecUSec",
            "AllowedCPUs",
            "AllowedMemoryNodes",
            "TasksMax",
            "BlockIOWeight",
        ];
        assert_eq!(v1, names);
    }

    #[test]
    fn devices_and_annotations_are_told() {
        let json = r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"b","major":8,"access":"r"}]}"#;
        let all = unit("", json, (false, true, "/")).unwrap().properties(77).unwrap();
        let find = |name: &str| all.iter().rfind(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap();
        assert_eq!(find("PIDs"), Value::Array("u".into(), vec![Value::U32(77)]));
        assert_eq!(find("TimeoutStopUSec"), Value::U64(5));
        assert_eq!(find("DevicePolicy"), Value::Str("strict".into()));
        let Value::Array(_, allowed) = find("DeviceAllow") else { panic!("no array") };
        let pair = |path: &str, access: &str| Value::Struct(vec![Value::Str(path.into()), Value::Str(access.into())]);
        for wanted in
            [pair("block-8", "r"), pair("block-*", "m"), pair("/dev/char/1:3", "rwm"), pair("char-136", "rwm")]
        {
            assert!(allowed.contains(&wanted), "{wanted:?} in {allowed:?}");
        }
        let open = unit("", r#"{"devices":[{"allow":true,"access":"rwm"}]}"#, (false, true, "/")).unwrap();
        assert!(open.properties(1).unwrap().contains(&("DevicePolicy".into(), Value::Str("auto".into()))));
        let bad = [("org.systemd.property.Bad Name".to_owned(), "1".to_owned())];
        let error = Unit::of("b", "", &LinuxResources::default(), &bad.into(), (false, true, "/")).unwrap_err();
        assert!(error.limit.contains("org.systemd.property.Bad Name"), "{error}");
    }
}
