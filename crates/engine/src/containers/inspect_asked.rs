//! What `inspect` shows of flags: what was asked, in Docker's fields.

use bulkhead_sandbox::spec::SandboxSpec;
use serde_json::{Map, Value, json};

use crate::request::ContainerRequest;

/// Adds the fields to `HostConfig` and `Config` of what is shown.
pub(super) fn add(shown: &mut Value, request: &ContainerRequest, spec: Option<&SandboxSpec>) {
    extend(shown, "/HostConfig", host_config(request, spec));
    extend(shown, "/HostConfig", crate::networks::host_config(request));
    extend(shown, "/Config", config(request));
}

fn extend(shown: &mut Value, pointer: &str, fields: Value) {
    if let (Some(Value::Object(object)), Value::Object(fields)) = (shown.pointer_mut(pointer), fields) {
        object.extend(fields);
    }
}

fn pairs(pairs: &[(String, String)]) -> Map<String, Value> {
    pairs.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect()
}

fn host_config(request: &ContainerRequest, spec: Option<&SandboxSpec>) -> Value {
    let limits = &request.limits;
    let container = |of: &Option<String>| of.as_ref().map_or_else(String::new, |name| format!("container:{name}"));
    let devices: Vec<Value> = spec
        .map(|s| s.devices.as_slice())
        .unwrap_or_default()
        .iter()
        .map(|device| {
            let access = |on, letter| if on { letter } else { "" };
            json!({
                "PathOnHost": device.source,
                "PathInContainer": device.target,
                "CgroupPermissions": format!("{}{}", access(device.rule.read, "r"), access(device.rule.write, "w")),
            })
        })
        .collect();
    let ulimits: Vec<Value> = limits
        .ulimits
        .iter()
        .map(|(name, soft, hard)| {
            let number = |n: u64| i64::try_from(n).unwrap_or(-1);
            json!({ "Name": name, "Soft": number(*soft), "Hard": number(*hard) })
        })
        .collect();
    let weights: Vec<Value> =
        limits.blkio_weight_devices.iter().map(|(path, weight)| json!({ "Path": path, "Weight": weight })).collect();
    json!({
        "Annotations": pairs(&request.annotations),
        "BlkioWeight": limits.blkio_weight.unwrap_or(0),
        "BlkioWeightDevice": weights,
        "ContainerIDFile": request.cid_file,
        "CpuPeriod": limits.cpu_period.unwrap_or(0),
        "CpuQuota": limits.cpu_quota.unwrap_or(0),
        "Devices": devices,
        "Dns": request.dns,
        "DnsOptions": request.dns_options,
        "DnsSearch": request.dns_search,
        "ExtraHosts": request.extra_hosts.iter().map(|(name, at)| format!("{name}:{at}")).collect::<Vec<_>>(),
        "GroupAdd": request.group_add,
        "IpcMode": request.ipc.word(),
        "MemorySwap": memory_swap(spec),
        "MemorySwappiness": limits.swappiness,
        "PidMode": container(&request.pid_of),
        "SecurityOpt": Value::Null,
        "Sysctls": pairs(&request.sysctls),
        "Ulimits": ulimits,
        "UTSMode": container(&request.uts_of),
    })
}

/// Memory plus swap, -1 for no limit, 0 where memory has none.
fn memory_swap(spec: Option<&SandboxSpec>) -> i64 {
    let limits = spec.map(|s| &s.resources);
    match (limits.and_then(|r| r.memory), limits.and_then(|r| r.swap)) {
        (_, Some(u64::MAX)) => -1,
        (Some(memory), swap) => i64::try_from(memory.saturating_add(swap.unwrap_or(0))).unwrap_or(-1),
        (None, _) => 0,
    }
}

fn config(request: &ContainerRequest) -> Value {
    let mut fields = Map::new();
    for (name, value) in [
        ("AttachStdin", request.stdin && !request.detach),
        ("AttachStdout", !request.detach),
        ("AttachStderr", !request.detach),
        ("StdinOnce", request.stdin && !request.detach),
    ] {
        fields.insert(name.to_owned(), json!(value));
    }
    let exposed = request.net.expose.iter().map(|e| (e.to_string(), json!({}))).collect::<Map<_, _>>();
    fields.insert("ExposedPorts".to_owned(), if exposed.is_empty() { Value::Null } else { Value::Object(exposed) });
    fields.insert("Domainname".to_owned(), json!(request.domainname.clone().unwrap_or_default()));
    Value::Object(fields)
}
