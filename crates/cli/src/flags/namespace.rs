//! `--ipc`, `--pid`, `--uts`.

use bulkhead_engine::request::Ipc;

use super::Needed;

/// The container of `container:NAME`.
pub(super) fn container(text: &str) -> Option<Result<String, Needed>> {
    let name = text.strip_prefix("container:")?;
    let good = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    Some(if good { Ok(name.to_owned()) } else { Err("a name or id is needed after container:".into()) })
}

/// `--ipc`.
///
/// # Errors
///
/// The host's, and anything unknown.
pub fn ipc(text: &str) -> Result<Ipc, Needed> {
    match text {
        "" | "private" => Ok(Ipc::Private),
        "none" => Ok(Ipc::None),
        "shareable" => Ok(Ipc::Shareable),
        "host" => Err("the host's shared memory is not shown to a container; private, none, shareable or container:NAME is needed".into()),
        other => container(other)
            .unwrap_or_else(|| Err("private, none, shareable or container:NAME is needed".into()))
            .map(Ipc::Container),
    }
}

/// `--pid` and `--uts`: nothing for a namespace of its own, or a container's name.
///
/// # Errors
///
/// The host's, and anything unknown.
pub fn other(text: &str) -> Result<Option<String>, Needed> {
    match text {
        "" | "private" => Ok(None),
        "host" => Err("what is the host's is not shown to a container; private or container:NAME is needed".into()),
        other => container(other).unwrap_or_else(|| Err("private or container:NAME is needed".into())).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        assert_eq!((ipc(""), ipc("none"), ipc("shareable")), (Ok(Ipc::Private), Ok(Ipc::None), Ok(Ipc::Shareable)));
        assert_eq!(ipc("container:web"), Ok(Ipc::Container("web".to_owned())));
        assert_eq!((other("private"), other("container:1f")), (Ok(None), Ok(Some("1f".to_owned()))));
        for text in ["host", "container:", "container:a b", "container", "ns:/proc/1/ns/ipc", "container:../x"] {
            assert!(ipc(text).is_err() && other(text).is_err(), "{text}");
        }
        assert!(other("shareable").is_err() && other("none").is_err());
    }
}
