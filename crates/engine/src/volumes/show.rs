//! Volumes and mounts in the form that Docker's clients know.

use bulkhead_sandbox::spec::Mount;
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::request::{ContainerRequest, MountRequest};
use crate::store::VolumeRecord;

/// A volume as `volume inspect` shows it.
pub(super) fn volume(engine: &Engine, record: &VolumeRecord) -> Value {
    let or_null = |map: &std::collections::BTreeMap<String, String>| match map.is_empty() {
        true => Value::Null,
        false => json!(map),
    };
    let created = crate::containers::time(record.created);
    let created = created.split_once('.').map_or(created.clone(), |(seconds, _)| format!("{seconds}Z"));
    json!({
        "CreatedAt": created,
        "Driver": record.driver,
        "Labels": or_null(&record.labels),
        "Mountpoint": engine.paths.volume_data(&record.name),
        "Name": record.name,
        "Options": or_null(&record.options),
        "Scope": "local",
    })
}

/// One entry of a container's `Mounts`; nothing for what nobody asked for: the engine's own files and places.
pub(crate) fn mount(mount: &Mount, request: &ContainerRequest) -> Option<Value> {
    let asked = request.mounts.iter().find(|m| m.target() == std::path::Path::new(mount.target()))?;
    let flags = mount.flags();
    let mode = [if flags.read_only { "ro" } else { "" }, if flags.exec { "exec" } else { "noexec" }];
    let mode = mode.into_iter().filter(|w| !w.is_empty()).collect::<Vec<_>>().join(",");
    let mut entry = match mount {
        Mount::Bind { source, below, target, .. } => {
            let source = below.as_ref().map_or_else(|| source.clone(), |b| source.join(b));
            json!({ "Type": "bind", "Source": source, "Destination": target, "Mode": mode,
                    "RW": !flags.read_only, "Propagation": "rprivate" })
        }
        Mount::Tmpfs { target, size, .. } => json!({ "Type": "tmpfs", "Source": "", "Destination": target,
                    "Mode": mode, "RW": !flags.read_only, "Propagation": "", "Size": size }),
    };
    if let (MountRequest::Volume { name, .. }, Some(map)) = (asked, entry.as_object_mut()) {
        map.insert("Type".to_owned(), json!("volume"));
        map.insert("Name".to_owned(), json!(name));
        map.insert("Driver".to_owned(), json!("local"));
        // As Docker: the private propagation of volumes goes without saying.
        map.insert("Propagation".to_owned(), json!(""));
    }
    Some(entry)
}
