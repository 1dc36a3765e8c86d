//! Nodes and links of `/dev`.

use bulkhead_sys::clone::NEWUSER;

use super::Builder;
use super::config::DeviceNode;
use super::mounts::{clean, has_foreign_dev};
use super::step::{NodeKind, OciStep};
use crate::plan::{PlanError, path_text, text};
use crate::step::Step;

/// Nodes that every container has (`config-linux.md`, "Default Devices").
const DEFAULT: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Links that programs look for (`config-linux.md`, "Default Filesystems").
const LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

/// Largest numbers of a device: 12 and 20 bits (`makedev(3)`, `MINORBITS` of the kernel).
const MAJORS: i64 = 0xfff;
const MINORS: i64 = 0xf_ffff;

struct Node {
    path: String,
    kind: NodeKind,
    major: u32,
    minor: u32,
    mode: u32,
    uid: u32,
    gid: u32,
}

pub(super) fn devices(b: &mut Builder<'_>) -> Result<(), PlanError> {
    if has_foreign_dev(b) {
        return Ok(());
    }
    let mut nodes: Vec<Node> = DEFAULT
        .into_iter()
        .map(|(name, major, minor)| Node {
            path: format!("/dev/{name}"),
            kind: NodeKind::Character,
            major,
            minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        })
        .collect();
    for (index, device) in b.linux.devices.iter().enumerate() {
        let node = node(&format!("linux.devices[{index}]"), device)?;
        nodes.retain(|n| n.path != node.path);
        nodes.push(node);
    }
    for node in nodes {
        step(b, &node)?;
    }
    for (path, content) in LINKS {
        b.steps.push(OciStep::DeviceLink { content: text("link", content)?, path: text("link", path)? }.into());
    }
    Ok(())
}

fn step(b: &mut Builder<'_>, node: &Node) -> Result<(), PlanError> {
    let path = path_text("linux.devices.path", &node.path)?;
    let &Node { kind, major, minor, mode, uid, gid, .. } = node;
    // Nobody makes a device in a user namespace; the host's is bound, which cannot be given away.
    let bound = kind != NodeKind::Pipe && (b.namespaces.has(NEWUSER) || !b.facts.privileged);
    b.steps.push(Step::from(if bound {
        OciStep::HostNode { path, kind, major, minor }
    } else {
        OciStep::Node { path, kind, major, minor, mode, uid, gid }
    }));
    Ok(())
}

fn node(field: &str, device: &DeviceNode) -> Result<Node, PlanError> {
    let invalid = |name: &str, value: String, accepted: &str| {
        Err(PlanError::invalid(&format!("{field}.{name}"), value, accepted))
    };
    let kind = match device.kind.as_str() {
        "c" | "u" => NodeKind::Character,
        "b" => NodeKind::Block,
        "p" => NodeKind::Pipe,
        other => return invalid("type", other.to_owned(), "c, u, b or p is needed"),
    };
    if !device.path.starts_with('/') || clean(&device.path) == "/" {
        return invalid("path", device.path.clone(), "an absolute path in the container is needed");
    }
    let number = |value: i64, most: i64| u32::try_from(value).ok().filter(|_| value <= most);
    let (major, minor) = if kind == NodeKind::Pipe { (0, 0) } else { (device.major, device.minor) };
    let Some(major) = number(major, MAJORS) else {
        return invalid("major", major.to_string(), "0 to 4095 is needed");
    };
    let Some(minor) = number(minor, MINORS) else {
        return invalid("minor", minor.to_string(), "0 to 1048575 is needed");
    };
    let mode = device.file_mode.unwrap_or(0o666) & 0o7777;
    let (uid, gid) = (device.uid.unwrap_or(0), device.gid.unwrap_or(0));
    Ok(Node { path: clean(&device.path), kind, major, minor, mode, uid, gid })
}
