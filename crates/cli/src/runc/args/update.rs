//! What `update` takes: the resources of a config, from a file or from flags.

use std::io::Read;
use std::path::PathBuf;

use bulkhead_sandbox::oci::config::{BlockIo, Cpu, LinuxResources, MAX_CONFIG_BYTES, Memory, Pids};

use super::scan::Scanned;
use super::{id, number, value};
use crate::flags::{Needed, size};
use crate::runc::error::{During, RuncError};

/// What `update` takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateArgs {
    /// Id of the container.
    pub id: String,
    /// Where the resources are written; the flags say nothing then.
    pub source: Option<Source>,
    /// What the flags say. Fields that are `None`, and texts that are empty, stay as they are.
    pub flags: LinuxResources,
}

/// Where resources are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `-`.
    StandardInput,
    /// A file.
    File(PathBuf),
}

impl UpdateArgs {
    /// What is to change, read from where it is written. Standard input is read to its end.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or is no `linux.resources`.
    pub fn resources(&self) -> Result<LinuxResources, RuncError> {
        let (name, bytes) = match &self.source {
            None => return Ok(self.flags.clone()),
            Some(Source::StandardInput) => ("standard input".to_owned(), limited(std::io::stdin().lock())),
            Some(Source::File(path)) => (path.display().to_string(), std::fs::File::open(path).and_then(limited)),
        };
        let bytes = bytes.during(format_args!("read resources from {name}"))?;
        serde_json::from_slice(&bytes).during(format_args!("read resources from {name}"))
    }
}

/// Reads at most as much as a config may have.
///
/// # Errors
///
/// More than that; what the kernel says.
pub fn limited(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(8192);
    let most = u64::try_from(MAX_CONFIG_BYTES).unwrap_or(u64::MAX);
    from.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_CONFIG_BYTES {
        return Err(std::io::Error::other(format!("it has more than {MAX_CONFIG_BYTES} bytes")));
    }
    Ok(bytes)
}

const USEC: &str = "a number of microseconds is needed";
const USEC_OR_NONE: &str = "a number of microseconds is needed, or -1 for no limit";

pub(super) fn read(scanned: &Scanned) -> Result<UpdateArgs, RuncError> {
    let source = scanned.text("resources").filter(|text| !text.is_empty()).map(|text| match text {
        "-" => Source::StandardInput,
        path => Source::File(PathBuf::from(path)),
    });
    if source.is_some()
        && let Some(flag) = scanned.given().find(|flag| *flag != "resources")
    {
        return Err(RuncError::new(format!("--{flag} and --resources cannot be given together")));
    }
    let cpu = Cpu {
        shares: value(scanned, "cpu-share", number("a weight from 2 to 262144 is needed"))?,
        quota: value(scanned, "cpu-quota", number(USEC_OR_NONE))?,
        burst: value(scanned, "cpu-burst", number(USEC))?,
        period: value(scanned, "cpu-period", number(USEC))?,
        realtime_runtime: value(scanned, "cpu-rt-runtime", number(USEC_OR_NONE))?,
        realtime_period: value(scanned, "cpu-rt-period", number(USEC))?,
        cpus: scanned.text("cpuset-cpus").unwrap_or_default().to_owned(),
        mems: scanned.text("cpuset-mems").unwrap_or_default().to_owned(),
        idle: value(scanned, "cpu-idle", idle)?,
    };
    let memory = Memory {
        limit: value(scanned, "memory", bytes)?,
        reservation: value(scanned, "memory-reservation", bytes)?,
        swap: value(scanned, "memory-swap", bytes)?,
        ..Memory::default()
    };
    let pids = value(scanned, "pids-limit", number("a number of processes is needed, or -1 for no limit"))?;
    let weight = value(scanned, "blkio-weight", number("a weight from 10 to 1000 is needed"))?;
    let flags = LinuxResources {
        cpu: (cpu != Cpu::default()).then_some(cpu),
        memory: (memory != Memory::default()).then_some(memory),
        pids: pids.map(|limit| Pids { limit: Some(limit) }),
        block_io: weight.map(|weight| BlockIo { weight: Some(weight), ..BlockIo::default() }),
        ..LinuxResources::default()
    };
    Ok(UpdateArgs { id: id(scanned)?, source, flags })
}

fn idle(text: &str) -> Result<i64, Needed> {
    match text {
        "0" => Ok(0),
        "1" => Ok(1),
        _ => Err("0 or 1 is needed".into()),
    }
}

/// Bytes with an optional unit, or -1.
fn bytes(text: &str) -> Result<i64, Needed> {
    if text == "-1" {
        return Ok(-1);
    }
    let needed = || Needed::from("a size like 512m or 2g is needed, or -1 for no limit");
    i64::try_from(size::parse(text).map_err(|_| needed())?).map_err(|_| needed())
}
