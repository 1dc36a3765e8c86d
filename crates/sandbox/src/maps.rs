//! Id maps of a user namespace that is new, written by its maker (`user_namespaces(7)`).

use std::process::{Command, Stdio as CommandStdio};

use bulkhead_sys::proc::Proc;

use crate::error::StartError;
use crate::spec::{IdMaps, IdRange, MapWriter};

pub(crate) fn map_text(ranges: &[IdRange]) -> String {
    ranges.iter().map(|r| format!("{} {} {}\n", r.inside, r.outside, r.count)).collect()
}

/// Writes the id maps of a process in a user namespace that is new.
///
/// # Errors
/// What the kernel or a helper says.
pub fn map_ids(ids: &IdMaps, pid: i32) -> Result<(), StartError> {
    write(ids, &Proc::host().map_err(StartError::parent("open /proc as a procfs"))?, pid)
}

/// Writes them as the plan says who does.
pub(crate) fn write(ids: &IdMaps, proc: &Proc, pid: i32) -> Result<(), StartError> {
    let file = |file: &str, value: &str| {
        let path = std::ffi::CString::new(format!("{pid}/{file}")).unwrap_or_default();
        let shown: String = value.trim_end().chars().take(80).collect();
        proc.write(&path, value.as_bytes())
            .map_err(StartError::parent(format!("write {shown:?} to /proc/{pid}/{file}")))
    };
    match ids.writer {
        MapWriter::Direct => {
            file("uid_map", &map_text(&ids.uids))?;
            file("gid_map", &map_text(&ids.gids))
        }
        MapWriter::Single => {
            // Without this the kernel takes no gid map from an ordinary user (CVE-2014-8989).
            file("setgroups", "deny")?;
            file("uid_map", &map_text(&ids.uids))?;
            file("gid_map", &map_text(&ids.gids))
        }
        MapWriter::Helpers => {
            helper("newuidmap", pid, &ids.uids)?;
            helper("newgidmap", pid, &ids.gids)
        }
    }
}

fn helper(name: &'static str, pid: i32, ranges: &[IdRange]) -> Result<(), StartError> {
    let mut command = Command::new(format!("/usr/bin/{name}"));
    command.arg(pid.to_string()).env_clear().stdin(CommandStdio::null()).stdout(CommandStdio::null());
    for r in ranges {
        command.args([r.inside, r.outside, r.count].map(|n| n.to_string()));
    }
    let failed = |message: String| StartError::Helper { helper: name, message };
    let output = command.output().map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
