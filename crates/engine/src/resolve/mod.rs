//! Request, image and defaults become what must hold.

mod defaults;
mod devices;
mod limits;
pub(crate) mod mounts;
mod user;

use std::path::PathBuf;

use bulkhead_image::ImageConfig;
use bulkhead_sandbox::facts::HostFacts;
use bulkhead_sandbox::spec::{Caps, Grant, IdMaps, Identity, Process, Rootfs, SandboxSpec, Seccomp};
use bulkhead_seccomp::Profile;

use crate::error::EngineError;
use crate::filters::{self, Builtin};
use crate::images::ImageRef;
use crate::images::Platform;
use crate::layout::Layout;
use crate::request::{ContainerRequest, ExecRequest, Ipc, NetMode, ProfileName, SeccompChoice};
use crate::sharing::Other;
use crate::volumes::Attachment;

pub(crate) use self::defaults::{masked, read_only};
pub(crate) use self::limits::{log, resources, rlimits};

/// Bytes of `/dev/shm` that nothing was asked for.
pub(crate) const SHM_SIZE: u64 = 64 << 20;

/// Everything that `resolve` looks at.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) id: &'a str,
    pub(crate) request: &'a ContainerRequest,
    pub(crate) image: &'a ImageRef,
    pub(crate) ids: IdMaps,
    pub(crate) layout: &'a Layout,
    pub(crate) facts: &'a HostFacts,
    /// Directories of the engine, which no container is given.
    pub(crate) own_places: Vec<PathBuf>,
    /// Make missing sources of `-v`; a dry run does not.
    pub(crate) make_sources: bool,
    /// The container whose namespaces are shared.
    pub(crate) other: Option<&'a Other>,
    /// The volumes of the request, which all have names.
    pub(crate) volumes: &'a Attachment,
}

/// Makes the spec of a container.
///
/// # Errors
/// What cannot be, with the flag and the value.
pub(crate) fn resolve(context: &Context<'_>) -> Result<SandboxSpec, EngineError> {
    let Context { id, request, image, ids, layout, facts, .. } = context;
    platform(request, image)?;
    let config = &image.config;
    let user =
        user::resolve(request.user.as_deref().unwrap_or(&config.user), &request.group_add, &image.lookup_dirs(layout))?;
    if request.profile == ProfileName::Strict && user.identity.uid == 0 {
        return Err(EngineError::invalid(
            "--user",
            request.user.clone().unwrap_or_else(|| config.user.clone()),
            "the strict profile needs a user other than root",
        ));
    }
    let mut grants = Vec::new();
    if request.profile == ProfileName::Compat {
        grants.push(Grant::Compat);
    }
    let (caps, bounding) = capabilities(request, user.identity.uid, &mut grants)?;
    let no_new_privileges = match (request.security.no_new_privileges, request.profile) {
        (Some(wanted), _) => wanted,
        (None, profile) => profile != ProfileName::Compat,
    };
    if !no_new_privileges {
        grants.push(Grant::NewPrivileges);
    }
    if request.security.unmask_kernel_paths {
        grants.push(Grant::KernelPaths);
    }
    if bounding.has(Caps(1 << 21)) && !request.privileged {
        grants.push(Grant::Mounts);
    }
    let seccomp = seccomp(request, bounding, facts, &mut grants)?;
    let devices = devices::granted(request, facts, &mut grants)?;
    grants.extend(context.other.map(Other::grant));
    let hosts_network = request.net.mode == NetMode::Host;
    if hosts_network {
        grants.push(Grant::Host(vec!["network".to_owned()]));
    }
    let args = command(request, config)?;
    let strict = request.profile == ProfileName::Strict;
    let mounts = mounts::all(context)?;
    Ok(SandboxSpec {
        id: (*id).to_owned(),
        hostname: hostname(context),
        devices,
        share: context.other.map(|o| o.share.clone()),
        ids: ids.clone(),
        rootfs: Rootfs::Overlay {
            lowers: image.layers.clone(),
            writable: layout.writable(),
            volatile: request.auto_remove,
        },
        read_only_root: request.read_only || strict,
        mounts,
        shm_size: if request.ipc == Ipc::None { 0 } else { request.limits.shm_size.unwrap_or(SHM_SIZE) },
        proc_pid_only: strict,
        masked_paths: masked(facts),
        read_only_paths: read_only(),
        sysctls: sysctls(request, ids, hosts_network || context.other.is_some_and(|o| o.share.network))?,
        process: Process {
            args,
            env: environment(request, config, &user.home),
            cwd: workdir(request, config)?,
            identity: user.identity,
            umask: 0o022,
            terminal: request.tty,
            caps,
            bounding,
            no_new_privileges,
            rlimits: rlimits(request)?,
            // An ordinary user can only raise what he has.
            oom_score_adj: request.limits.oom_score_adj.unwrap_or(facts.oom_score_adj.max(0)),
            init: request.init,
            apparmor: request.security.apparmor.clone().filter(|a| a != "unconfined"),
            selinux: selinux(request)?,
        },
        seccomp,
        resources: resources(request)?,
        grants,
    })
}

/// Makes the process of an `exec`. It never has more than the container's first process could have.
///
/// # Errors
/// What cannot be, with the flag and the value.
pub(crate) fn resolve_exec(
    request: &ExecRequest,
    spec: &SandboxSpec,
    container_user: &str,
    lookup: &[PathBuf],
) -> Result<Process, EngineError> {
    let user = user::resolve(request.user.as_deref().unwrap_or(container_user), &[], lookup)?;
    let mut process = spec.process.clone();
    let root_caps = spec.process.bounding;
    // Another user than root holds none and can get none, as at the start of a container.
    let caps = if user.identity.uid == 0 { root_caps } else { Caps::EMPTY };
    (process.caps, process.bounding) = (caps, caps);
    let keeps = |e: &String| !e.starts_with("HOME=") && !e.starts_with("TERM=");
    process.env = spec.process.env.iter().filter(|e| keeps(e)).cloned().collect();
    process.env.push(format!("HOME={}", user.home));
    if request.tty {
        process.env.push("TERM=xterm".to_owned());
    }
    merge_env(&mut process.env, &request.env);
    process.identity = user.identity;
    process.args.clone_from(&request.args);
    process.terminal = request.tty;
    process.init = false;
    if let Some(cwd) = &request.workdir {
        process.cwd = absolute("--workdir", cwd)?;
    }
    if request.privileged {
        return Err(EngineError::refused(
            "exec --privileged",
            "a program that joins gets no more than the container was given; start the container with --privileged or --cap-add",
        ));
    }
    Ok(process)
}

/// The image must be for the platform that was asked for, and that must be this machine's.
fn platform(request: &ContainerRequest, image: &ImageRef) -> Result<(), EngineError> {
    let Some(asked) = &request.platform else { return Ok(()) };
    let parsed = Platform::parse(asked);
    let needed = || format!("OS/ARCHITECTURE is needed, like {}", Platform::host());
    let asked_for = parsed.ok_or_else(|| EngineError::invalid("--platform", asked, needed()))?;
    let has = image.platform.clone().unwrap_or_else(Platform::host);
    if !asked_for.fits(&has) {
        return Err(EngineError::invalid("--platform", asked, format!("the image {:?} is for {has}", image.reference)));
    }
    let host = Platform::host();
    if !host.fits(&asked_for) {
        return Err(EngineError::invalid("--platform", asked, format!("this machine runs {host} only")));
    }
    Ok(())
}

fn hostname(context: &Context<'_>) -> String {
    match (context.other.filter(|o| o.share.uts), &context.request.hostname) {
        (Some(other), _) => other.hostname.clone(),
        (None, Some(name)) => name.clone(),
        (None, None) => context.id.chars().take(12).collect(),
    }
}

/// Capabilities at the start, and those that can ever be had.
pub(crate) fn capabilities(
    request: &ContainerRequest,
    uid: u32,
    grants: &mut Vec<Grant>,
) -> Result<(Caps, Caps), EngineError> {
    let mut base = match request.profile {
        ProfileName::Strict => Caps::EMPTY,
        ProfileName::Default => Caps::DEFAULT,
        ProfileName::Compat => Caps::DOCKER,
    };
    let mut added = Caps::EMPTY;
    for (flag, names, add) in [("--cap-drop", &request.cap_drop, false), ("--cap-add", &request.cap_add, true)] {
        for name in names {
            let caps = if name.eq_ignore_ascii_case("all") { Some(Caps::ALL) } else { Caps::named(name) };
            let caps = caps.ok_or_else(|| {
                EngineError::invalid(flag, name, "a capability like NET_RAW, or ALL, is needed; see capabilities(7)")
            })?;
            if add {
                added = added.with(caps);
            } else {
                base = base.without(caps);
            }
        }
    }
    if request.privileged {
        grants.push(Grant::Privileged);
        base = Caps::ALL;
    } else {
        let beyond = added.without(Caps::DEFAULT);
        if !beyond.is_empty() {
            grants.push(Grant::Capabilities(beyond.names().into_iter().map(str::to_owned).collect()));
        }
    }
    let all = base.with(added);
    if uid == 0 {
        return Ok((all, all));
    }
    // Another user holds none, and can get none: what a program file could give back is what was asked for by name.
    Ok((Caps::EMPTY, if request.privileged { all } else { added }))
}

pub(crate) fn seccomp(
    request: &ContainerRequest,
    bounding: Caps,
    facts: &HostFacts,
    grants: &mut Vec<Grant>,
) -> Result<Seccomp, EngineError> {
    if let SeccompChoice::Json(text) = &request.security.seccomp {
        grants.push(Grant::SeccompCustom);
        let profile = Profile::from_json(text)
            .map_err(|e| EngineError::invalid("--security-opt seccomp", "the given file", e.to_string()))?;
        let context =
            bulkhead_seccomp::Context { arch: filters::native_arch()?, caps: bounding.0, kernel: facts.kernel };
        let program = filters::program(&profile, &context, "the given file")?;
        return Ok(Seccomp::Filter { name: "custom".to_owned(), program });
    }
    if request.security.seccomp == SeccompChoice::Unconfined {
        grants.push(Grant::SeccompUnconfined);
        return Ok(Seccomp::Unconfined);
    }
    let builtin = match request.profile {
        ProfileName::Strict => Builtin::Strict,
        ProfileName::Default => Builtin::Default,
        ProfileName::Compat => Builtin::Compat,
    };
    let program = filters::builtin(builtin, bounding.0, facts.kernel)?;
    Ok(Seccomp::Filter { name: builtin.name().to_owned(), program })
}

/// Entry point and command as Docker puts them together.
fn command(request: &ContainerRequest, config: &ImageConfig) -> Result<Vec<String>, EngineError> {
    let (entrypoint, own_cmd) = match &request.entrypoint {
        // A new entry point makes the image's own command meaningless.
        Some(entrypoint) => (entrypoint.clone(), false),
        None => (config.entrypoint.clone(), true),
    };
    let mut args = entrypoint;
    if request.args.is_empty() && own_cmd {
        args.extend(config.cmd.iter().cloned());
    } else {
        args.extend(request.args.iter().cloned());
    }
    if args.first().is_none_or(String::is_empty) {
        return Err(EngineError::invalid("command", "", "the image has none; name a program after the image"));
    }
    Ok(args)
}

pub(crate) fn merge_env(env: &mut Vec<String>, more: &[String]) {
    for pair in more {
        let name = pair.split('=').next().unwrap_or_default();
        env.retain(|e| e.split('=').next() != Some(name));
        env.push(pair.clone());
    }
}

/// The image's environment, then what was asked. Nothing of the host's.
fn environment(request: &ContainerRequest, config: &ImageConfig, home: &str) -> Vec<String> {
    let mut env = vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
    if request.tty {
        env.push("TERM=xterm".to_owned());
    }
    env.push(format!("HOME={home}"));
    if let Some(name) = &request.hostname {
        env.push(format!("HOSTNAME={name}"));
    }
    let image: Vec<String> = config.env_pairs().map(|(k, v)| format!("{k}={v}")).collect();
    merge_env(&mut env, &image);
    merge_env(&mut env, &request.env);
    env
}

fn absolute(field: &str, path: &str) -> Result<String, EngineError> {
    if path.starts_with('/') && !path.split('/').any(|c| c == "..") && !path.contains('\0') {
        return Ok(path.to_owned());
    }
    Err(EngineError::invalid(field, path, "an absolute path without \"..\" is needed"))
}

fn workdir(request: &ContainerRequest, config: &ImageConfig) -> Result<String, EngineError> {
    match request.workdir.as_deref() {
        Some(path) => absolute("--workdir", path),
        None if config.workdir.is_empty() => Ok("/".to_owned()),
        None => absolute("the image's working directory", &config.workdir),
    }
}

/// Low ports and ping work for every user inside: both are the network namespace's own business.
/// A network that is another container's, or the host's, has its settings already.
pub(crate) fn sysctls(
    request: &ContainerRequest,
    ids: &IdMaps,
    shared_network: bool,
) -> Result<Vec<(String, String)>, EngineError> {
    let last_gid = ids.gids.iter().map(|r| r.inside + (r.count - 1)).max().unwrap_or(0);
    let mut all = vec![
        ("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned()),
        ("net.ipv4.ping_group_range".to_owned(), format!("0 {last_gid}")),
    ];
    if shared_network {
        all.clear();
    }
    all.extend(request.domainname.iter().map(|name| ("kernel.domainname".to_owned(), name.clone())));
    for (name, value) in &request.sysctls {
        all.retain(|(n, _)| n != name);
        all.push((name.clone(), value.clone()));
    }
    Ok(all)
}

fn selinux(request: &ContainerRequest) -> Result<Option<String>, EngineError> {
    match request.security.selinux.as_slice() {
        [] => Ok(None),
        [one] if one == "disable" => Ok(None),
        [one] if one.matches(':').count() >= 3 => Ok(Some(one.clone())),
        words => Err(EngineError::invalid(
            "--security-opt label",
            words.join(","),
            "a whole context (user:role:type:level) or disable is needed",
        )),
    }
}

/// Name of a user by number, as the files of a container in these directories have it.
pub(crate) fn user_name(uid: u32, dirs: &[PathBuf]) -> Option<String> {
    user::name_of(uid, dirs)
}

/// An identity in words that `explain` and `inspect` show.
pub(crate) fn show_identity(identity: &Identity) -> String {
    format!("{}:{}", identity.uid, identity.gid)
}
