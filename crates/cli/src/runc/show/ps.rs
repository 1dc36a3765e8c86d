//! `ps`.

use std::process::{Command, Stdio};

use bulkhead_sandbox::cgroup::oci;

use super::compact;
use crate::output;
use crate::runc::args::Global;
use crate::runc::error::{During, RuncError};
use crate::runc::state::{Record, is_alive};

/// Prints the processes of a container: host pids as JSON, or those lines of the host's `ps` that have them.
///
/// # Errors
///
/// `container does not exist`; a `ps` that fails or has no column `PID`.
pub fn execute(global: &Global, id: &str, json: bool, options: &[String]) -> Result<u8, RuncError> {
    let record = Record::load(global, id)?;
    let pids = pids(&record)?;
    if json {
        compact(&(!pids.is_empty()).then_some(&pids))?;
        return Ok(0);
    }
    let options = if options.is_empty() { &["-ef".to_owned()][..] } else { options };
    let output = Command::new("ps").args(options).stdin(Stdio::null()).output().during("run ps")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(RuncError::new(format!("ps failed with {}: {}", output.status, said.trim())));
    }
    let kept = kept(&String::from_utf8_lossy(&output.stdout), &pids)?;
    // Names of processes are what the container wants them to be.
    output::text(&kept)?;
    Ok(0)
}

/// Processes of the container's group; without a group, the first process.
fn pids(record: &Record) -> Result<Vec<i32>, RuncError> {
    let members = oci::processes(&record.cgroups);
    match record.pid {
        Some(pid) if members.is_empty() && is_alive(pid, record.start_time)? => Ok(vec![pid]),
        _ => Ok(members),
    }
}

/// The header, and the lines whose column `PID` is one of `pids`.
fn kept(table: &str, pids: &[i32]) -> Result<String, RuncError> {
    let mut lines = table.lines();
    let header = lines.next().unwrap_or_default();
    let column = header.split_whitespace().position(|title| title == "PID");
    let column =
        column.ok_or_else(|| RuncError::new("the output of ps has no column PID: its options must ask for it"))?;
    let mut text = format!("{header}\n");
    for line in lines {
        let pid = line.split_whitespace().nth(column).and_then(|field| field.parse::<i32>().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_container_are_kept() {
        let table =
            "UID    PID  PPID CMD\nroot     1     0 init\nroot    12     1 12 x\nroot   112     1 y\n\nbroken\n";
        assert_eq!(kept(table, &[12, 5]).unwrap(), "UID    PID  PPID CMD\nroot    12     1 12 x\n");
        assert!(kept("CMD\nx\n", &[1]).unwrap_err().message.contains("PID"));
        assert!(kept("", &[1]).is_err());
    }
}
