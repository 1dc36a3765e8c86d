//! Classes of cache and memory bandwidth (`linux.intelRdt`): a directory of a mounted resctrl file system, with what its
//! processes get in `schemata`, and who they are in `tasks` (`resctrl.rst` of the kernel's documentation).

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bulkhead_sys::Errno;
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use crate::cgroup::CgroupError;
use crate::oci::config::IntelRdt;
use crate::plan::PlanError;

/// What a bundle asks of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RdtPlan {
    /// Its directory: one of its own, a named one, or the whole file system.
    pub class: PathBuf,
    /// The config names it: others may use it too, and it is not removed.
    pub named: bool,
    /// Lines for `schemata`.
    pub schemata: Vec<String>,
    /// A group of its own to be measured by.
    pub monitor: Option<PathBuf>,
}

/// Where resctrl is mounted, by the text of `/proc/self/mountinfo`.
#[must_use]
pub fn mounted(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let point = left.split(' ').nth(4)?;
        (right.split(' ').next()? == "resctrl").then(|| PathBuf::from(crate::cgroup::oci::unescape(point)))
    })
}

impl RdtPlan {
    /// Plans it for container `id`; `mount` is where the file system is.
    ///
    /// # Errors
    /// A field that cannot be had, by its name.
    pub fn of(wanted: &IntelRdt, id: &str, mount: Option<&Path>) -> Result<Self, PlanError> {
        let Some(mount) = mount else {
            return Err(PlanError::Unsupported {
                what: "linux.intelRdt".to_owned(),
                reason: "no resctrl file system is mounted: this CPU or kernel has none, or 'mount -t resctrl resctrl \
                         /sys/fs/resctrl' is missing"
                    .to_owned(),
            });
        };
        let named = !wanted.clos_id.is_empty();
        let name = if named { wanted.clos_id.as_str() } else { id };
        let reserved = ["info", "mon_groups", "mon_data", ".", ".."].contains(&name);
        if name != "/" && (reserved || name.contains(['/', '\n'])) {
            return Err(PlanError::invalid("linux.intelRdt.closID", name, "one name of a directory, or /, is needed"));
        }
        let class = if name == "/" { mount.to_path_buf() } else { mount.join(name) };
        let mut schemata = Vec::new();
        // Lines of the other kind have a field of their own.
        for line in wanted.l3_cache_schema.lines().filter(|line| !line.starts_with("MB:")) {
            schemata.push(checked("linux.intelRdt.l3CacheSchema", line)?);
        }
        for line in wanted.mem_bw_schema.lines() {
            if !line.trim().starts_with("MB:") {
                return Err(PlanError::invalid("linux.intelRdt.memBwSchema", line, "MB:ID=VALUE;… is needed"));
            }
            schemata.push(checked("linux.intelRdt.memBwSchema", line)?);
        }
        // What is said twice, the last one says.
        for line in &wanted.schemata {
            schemata.push(checked("linux.intelRdt.schemata", line)?);
        }
        let measured = wanted.enable_monitoring || wanted.enable_cmt || wanted.enable_mbm;
        let monitor = measured.then(|| class.join("mon_groups").join(id));
        Ok(Self { class, named, schemata, monitor })
    }
}

/// A line `RESOURCE:ID=VALUE;…`.
fn checked(field: &str, line: &str) -> Result<String, PlanError> {
    if domains(line).is_none() || line.contains('\n') {
        return Err(PlanError::invalid(field, line, "a line like L3:0=ff;1=f is needed"));
    }
    Ok(line.trim().to_owned())
}

/// Values of a line by resource and number, as they compare.
fn domains(line: &str) -> Option<BTreeMap<(String, String), String>> {
    let (resource, list) = line.trim().split_once(':')?;
    let one = |text: &str| {
        let (id, value) = text.split_once('=')?;
        let number = |text: &str| Some(text.trim().trim_start_matches('0').to_ascii_lowercase());
        id.trim().parse::<u32>().ok()?;
        (!value.trim().is_empty()).then(|| ((resource.trim().to_owned(), id.trim().to_owned()), number(value)))
    };
    list.split(';').filter(|text| !text.is_empty()).map(|text| one(text).and_then(|(key, v)| Some((key, v?)))).collect()
}

/// Directories that were made. Dropped before [`Class::keep`], they are removed.
#[derive(Debug, Default)]
pub(crate) struct Class {
    made: Vec<PathBuf>,
}

impl Class {
    /// They stay.
    pub(crate) fn keep(mut self) {
        self.made.clear();
    }

    fn make(&mut self, directory: &Path) -> Result<bool, CgroupError> {
        match rustix::fs::mkdir(directory, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                self.made.push(directory.to_path_buf());
                Ok(true)
            }
            Err(Errno::EXIST) => Ok(false),
            Err(e) => Err(CgroupError::new("make the class of linux.intelRdt", directory, e)),
        }
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        remove(&self.made);
    }
}

/// Makes the class as planned and puts process `pid` into it.
///
/// # Errors
/// A class that must be there and is not, or is another than asked for; what the kernel does not take.
pub(crate) fn enter(plan: &RdtPlan, pid: i32) -> Result<Class, CgroupError> {
    let mut class = Class::default();
    let refuse = |why: &str| {
        CgroupError::new("use the class of linux.intelRdt", &plan.class, std::io::Error::other(why.to_owned()))
    };
    if plan.named && plan.schemata.is_empty() && !plan.class.is_dir() {
        return Err(refuse("without a schema the class of linux.intelRdt.closID must be there before"));
    }
    let new = class.make(&plan.class)?;
    if !plan.schemata.is_empty() {
        let file = plan.class.join("schemata");
        if plan.named && !new {
            let has = bulkhead_sys::fd::text(&file).map_err(|e| CgroupError::new("read", &file, e))?;
            let has: BTreeMap<_, _> = has.lines().filter_map(domains).flatten().collect();
            let mut wanted = BTreeMap::new();
            wanted.extend(plan.schemata.iter().filter_map(|line| domains(line)).flatten());
            if wanted.iter().any(|(key, value)| has.get(key) != Some(value)) {
                return Err(refuse("it is there with another schema, and others may use it"));
            }
        } else {
            write(&file, &format!("{}\n", plan.schemata.join("\n")))?;
        }
    }
    write(&plan.class.join("tasks"), &pid.to_string())?;
    if let Some(monitor) = &plan.monitor {
        class.make(monitor)?;
        write(&monitor.join("tasks"), &pid.to_string())?;
    }
    Ok(class)
}

/// What `delete` removes: of a class that the config names, only what measures the container.
#[must_use]
pub fn own_directories(plan: &RdtPlan) -> Vec<PathBuf> {
    let own = (!plan.named).then(|| plan.class.clone());
    own.into_iter().chain(plan.monitor.clone()).collect()
}

/// Directories whose `tasks` take one more process of the container.
#[must_use]
pub fn joined(plan: &RdtPlan) -> Vec<PathBuf> {
    std::iter::once(plan.class.clone()).chain(plan.monitor.clone()).collect()
}

/// Puts the calling process, and what it is going to make, into them.
///
/// # Errors
/// What the kernel does not take.
pub fn join(directories: &[PathBuf]) -> Result<(), CgroupError> {
    directories.iter().try_for_each(|directory| write(&directory.join("tasks"), "0"))
}

/// Removes them, the last one first; what is gone is gone.
pub fn remove(directories: &[PathBuf]) {
    for directory in directories.iter().rev() {
        rustix::fs::rmdir(directory).unwrap_or_default();
    }
}

/// One write, whole: the kernel takes all lines of it or none.
fn write(file: &Path, value: &str) -> Result<(), CgroupError> {
    let attempt = |e: std::io::Error| CgroupError::new(format!("write {:?} to", value.trim()), file, e);
    // The kernel has these files by the time their directory is made, and lets nobody make any.
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(file).map_err(attempt)?;
    file.write_all(value.as_bytes()).map_err(attempt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rdt(json: &str) -> IntelRdt {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_class_is_made_filled_shared_and_removed() {
        let top = std::env::temp_dir().join(format!("bulkhead-rdt-{}", std::process::id()));
        std::fs::create_dir_all(top.join("gold/mon_groups")).unwrap();
        std::fs::write(top.join("gold/schemata"), "    MB:0=100;1=100\n    L3:0=0000f;1=00ff0\n").unwrap();
        let of = |json: &str| RdtPlan::of(&rdt(json), "box", Some(&top)).unwrap();
        let text = |file: &str| std::fs::read_to_string(top.join(file)).unwrap();
        // One of its own.
        let own = of(r#"{"l3CacheSchema":"MB:0=1\nL3:0=f;1=f0","memBwSchema":"MB:0=20;1=70","schemata":["L2:0=1"]}"#);
        let class = enter(&own, 42).unwrap();
        assert_eq!(text("box/schemata"), "L3:0=f;1=f0\nMB:0=20;1=70\nL2:0=1\n");
        assert_eq!(text("box/tasks"), "42");
        class.keep();
        assert_eq!(own_directories(&own), [top.join("box")]);
        // A named one that is there: as it is, or as it is asked for.
        for json in [r#"{"closID":"gold"}"#, r#"{"closID":"gold","l3CacheSchema":"L3:1=FF0;0=f"}"#] {
            drop(enter(&of(json), 7).unwrap());
            assert_eq!(text("gold/tasks"), "7");
        }
        let measured = of(r#"{"closID":"gold","enableMonitoring":true}"#);
        enter(&measured, 8).unwrap().keep();
        assert_eq!(text("gold/mon_groups/box/tasks"), "8");
        assert_eq!(own_directories(&measured), [top.join("gold/mon_groups/box")]);
        join(&joined(&measured)).unwrap();
        let error = enter(&of(r#"{"closID":"gold","schemata":["L3:0=f0"]}"#), 9).unwrap_err().to_string();
        assert!(error.contains("gold"), "{error}");
        assert!(enter(&of(r#"{"closID":"none"}"#), 9).is_err());
        // What was made by a start that fails is removed; of this file system it would be with its files.
        let failing = of(r#"{"closID":"new","schemata":["L3:0=f"]}"#);
        std::fs::create_dir_all(top.join("new/tasks")).unwrap();
        assert!(enter(&failing, 9).is_err());
        assert_eq!(of(r#"{"closID":"/"}"#).class, top);
        std::fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        let top = Path::new("/sys/fs/resctrl");
        for (json, field) in [
            (r#"{"closID":"a/b"}"#, "closID"),
            (r#"{"closID":".."}"#, "closID"),
            (r#"{"closID":"info"}"#, "closID"),
            (r#"{"l3CacheSchema":"L3"}"#, "l3CacheSchema"),
            (r#"{"memBwSchema":"L3:0=f"}"#, "memBwSchema"),
            (r#"{"schemata":["MB:0=1\nL3:0=1"]}"#, "schemata"),
        ] {
            let error = RdtPlan::of(&rdt(json), "box", Some(top)).unwrap_err().to_string();
            assert!(error.contains(field), "{json}: {error}");
        }
        let error = RdtPlan::of(&rdt("{}"), "box", None).unwrap_err().to_string();
        assert!(error.contains("linux.intelRdt") && error.contains("resctrl"), "{error}");
        let info = "30 23 0:27 / /sys/fs/res\\040ctrl rw - resctrl resctrl rw\n";
        assert_eq!(mounted(info), Some(PathBuf::from("/sys/fs/res ctrl")));
    }
}
