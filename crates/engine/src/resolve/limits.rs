//! Limits: what was asked, and the defaults that no flag is needed for.

use bulkhead_sandbox::spec::{DeviceRate, RateKind, Resources, Rlimit};

use crate::error::EngineError;
use crate::monitor::log::LogLimits;
use crate::request::{ContainerRequest, LogRequest, ProfileName, RateKind as AskedRate};

/// Processes and threads of a container: room for a large service, none for a fork bomb.
const PIDS: u64 = 1024;

/// Bounds of a container's log; nothing when none is to be kept.
pub(crate) fn log(asked: &LogRequest) -> Option<LogLimits> {
    let default = LogLimits::default();
    let limits =
        LogLimits { size: asked.max_size.unwrap_or(default.size), files: asked.max_files.unwrap_or(default.files) };
    (!asked.none).then_some(limits)
}

/// Process limits: no core dumps to the host's handler, and a small soft limit on files that programs may raise.
pub(crate) fn rlimits(request: &ContainerRequest) -> Result<Vec<Rlimit>, EngineError> {
    let default = |name: &str, soft: u64, hard: u64| Rlimit {
        name: name.to_owned(),
        soft: Some(soft),
        hard: Some(hard),
        required: false,
    };
    let mut all = if request.profile == ProfileName::Compat {
        Vec::new()
    } else {
        vec![
            default("core", 0, 0),
            default("nofile", 1024, 65_536),
            default("memlock", 64 << 10, 64 << 10),
            default("rtprio", 0, 0),
        ]
    };
    for (name, soft, hard) in &request.limits.ulimits {
        if bulkhead_sandbox::facts::rlimit_named(name).is_none() {
            return Err(EngineError::invalid("--ulimit", name, "a name like nofile, nproc or core is needed"));
        }
        let value = |v: u64| (v != u64::MAX).then_some(v);
        all.retain(|l| l.name != *name);
        all.push(Rlimit { name: name.clone(), soft: value(*soft), hard: value(*hard), required: true });
    }
    Ok(all)
}

/// Major and minor number of a block device.
fn block_device(flag: &str, device: &std::path::Path) -> Result<(u32, u32), EngineError> {
    let stat = rustix::fs::stat(device).map_err(EngineError::io("look at the device", device))?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_block_device() {
        return Err(EngineError::invalid(flag, device.to_string_lossy(), "a block device is needed"));
    }
    Ok((rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)))
}

pub(crate) fn resources(request: &ContainerRequest) -> Result<Resources, EngineError> {
    let asked = &request.limits;
    if let Some(memory) = asked.memory.filter(|m| *m < 6 << 20) {
        return Err(EngineError::invalid("--memory", memory.to_string(), "at least 6m is needed"));
    }
    let swap = match (asked.memory_swap, asked.memory) {
        (None, _) => Some(0),
        (Some(-1), _) => Some(u64::MAX),
        (Some(total), Some(memory)) => {
            let total = u64::try_from(total).unwrap_or(0);
            Some(total.checked_sub(memory).ok_or_else(|| {
                EngineError::invalid(
                    "--memory-swap",
                    total.to_string(),
                    "it counts memory and swap, so it is at least --memory",
                )
            })?)
        }
        (Some(total), None) => {
            return Err(EngineError::invalid("--memory-swap", total.to_string(), "--memory is needed with it"));
        }
    };
    let (pids, pids_required) = match asked.pids {
        None if request.profile == ProfileName::Compat => (None, false),
        None => (Some(PIDS), false),
        // Docker's way of saying "no limit".
        Some(0 | -1) => (None, false),
        Some(n) => match u64::try_from(n) {
            Ok(n) => (Some(n), true),
            Err(_) => {
                return Err(EngineError::invalid(
                    "--pids-limit",
                    n.to_string(),
                    "a number above 0, or -1 for no limit, is needed",
                ));
            }
        },
    };
    if asked.milli_cpus.is_some() && (asked.cpu_period.is_some() || asked.cpu_quota.is_some()) {
        let quota = asked.cpu_quota.or(asked.cpu_period.and_then(|p| i64::try_from(p).ok())).unwrap_or_default();
        return Err(EngineError::invalid(
            "--cpu-quota or --cpu-period",
            quota.to_string(),
            "they say the same as --cpus; leave out one or the other",
        ));
    }
    let mut blkio_weight_devices = Vec::new();
    for (device, weight) in &asked.blkio_weight_devices {
        blkio_weight_devices.push((block_device("--blkio-weight-device", device)?, *weight));
    }
    let mut device_rates = Vec::new();
    for rate in &asked.device_rates {
        device_rates.push(DeviceRate {
            device: block_device("device rate", &rate.device)?,
            kind: match rate.kind {
                AskedRate::ReadBps => RateKind::ReadBps,
                AskedRate::WriteBps => RateKind::WriteBps,
                AskedRate::ReadIops => RateKind::ReadIops,
                AskedRate::WriteIops => RateKind::WriteIops,
            },
            rate: rate.rate,
        });
    }
    Ok(Resources {
        memory: asked.memory,
        swap,
        memory_reservation: asked.memory_reservation,
        milli_cpus: asked.milli_cpus,
        cpu_shares: asked.cpu_shares,
        cpuset_cpus: asked.cpuset_cpus.clone(),
        cpuset_mems: asked.cpuset_mems.clone(),
        pids,
        pids_required,
        blkio_weight: asked.blkio_weight,
        blkio_weight_devices,
        cpu_period: asked.cpu_period,
        cpu_quota: asked.cpu_quota,
        swappiness: asked.swappiness,
        device_rates,
        hugetlb: Vec::new(),
        unified: asked.unified.clone(),
    })
}
