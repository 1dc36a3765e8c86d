//! `--ipc`, `--pid`, `--uts` and `--network container:…`: which container is meant, and whether it may be.
//!
//! Whoever enters a namespace needs every right in the user namespace that owns it. So the container that joins lives in
//! the other's user namespace and has the other's ids, whose range belongs to both and is free again when the last of
//! them is gone. Files, limits, filter and capabilities stay its own.

use bulkhead_sandbox::spec::{Grant, Share};

use crate::containers::hostname_of;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::layout::Layout;
use crate::request::{ContainerRequest, Ipc, NetMode};
use crate::store::ContainerRecord;

/// The other container.
#[derive(Debug)]
pub(crate) struct Other {
    pub(crate) share: Share,
    /// First id of its range on the host; `None` for an ordinary user's.
    pub(crate) range: Option<u32>,
    /// Its host name.
    pub(crate) hostname: String,
}

impl Other {
    /// What is granted by sharing with it.
    pub(crate) fn grant(&self) -> Grant {
        Grant::Shared { with: self.share.with.clone(), namespaces: self.share.names() }
    }
}

/// The container whose namespaces a request wants; nothing when it wants none.
///
/// # Errors
/// One that is not there, does not run, or does not let itself be joined; two different ones.
pub(crate) fn wanted(engine: &Engine, request: &ContainerRequest) -> Result<Option<Other>, EngineError> {
    let ipc = match &request.ipc {
        Ipc::Container(name) => Some(name),
        _ => None,
    };
    let network = match &request.net.mode {
        NetMode::Container(name) => Some(name),
        _ => None,
    };
    let asked = [
        ("--ipc", ipc),
        ("--pid", request.pid_of.as_ref()),
        ("--uts", request.uts_of.as_ref()),
        ("--network", network),
    ];
    let mut found: Option<(&str, ContainerRecord)> = None;
    for (flag, name) in asked {
        let Some(name) = name else { continue };
        let record = engine.store()?.find_container(name)?;
        if let Some((before, other)) = &found
            && other.id != record.id
        {
            return Err(EngineError::invalid(
                flag,
                format!("container:{name}"),
                format!("{before} names {}, and a container is in one user namespace; name the same one", other.name),
            ));
        }
        found = found.or(Some((flag, record)));
    }
    let Some((_, record)) = found else { return Ok(None) };
    check(request, &record)?;
    crate::networks::company(engine, request, &record)?;
    if !super::containers::is_running(&Layout::new(&engine.paths, &record.id)) {
        return Err(EngineError::State {
            name: record.name.clone(),
            state: "not running, so nothing of it can be shared".to_owned(),
            hint: format!("start it with 'bulkhead start {}'", record.name),
        });
    }
    Ok(Some(Other {
        share: Share {
            with: record.id.clone(),
            ipc: ipc.is_some(),
            pid: request.pid_of.is_some(),
            uts: request.uts_of.is_some(),
            network: network.is_some(),
        },
        range: record.range.map(|r| r.start),
        hostname: hostname_of(&record),
    }))
}

/// What would change the other container, or what it does not allow.
fn check(request: &ContainerRequest, other: &ContainerRecord) -> Result<(), EngineError> {
    let refuse = |flag: &str, value: &str, why: &str| Err(EngineError::invalid(flag, value, why.to_owned()));
    if let (NetMode::Container(name), NetMode::Host) = (&request.net.mode, &other.request.net.mode) {
        let why = "that container has the host's network, which is given by its own flag only; write --network host";
        return refuse("--network", &format!("container:{name}"), why);
    }
    if let Ipc::Container(name) = &request.ipc {
        if other.request.ipc != Ipc::Shareable {
            return refuse(
                "--ipc",
                &format!("container:{name}"),
                "that container keeps its IPC to itself; start it with --ipc shareable",
            );
        }
        if let Some(size) = request.limits.shm_size {
            return refuse("--shm-size", &size.to_string(), "/dev/shm is the other container's; leave it out");
        }
    }
    if request.uts_of.is_some() {
        for (flag, value) in [("--hostname", &request.hostname), ("--domainname", &request.domainname)] {
            if let Some(value) = value {
                return refuse(flag, value, "conflicting options: hostname and the UTS mode; the name is the other's");
            }
        }
    }
    Ok(())
}
