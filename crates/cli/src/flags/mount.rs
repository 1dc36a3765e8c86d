//! `--mount type=bind,source=/a,target=/b,readonly`: Docker's long form.

use std::path::PathBuf;

use bulkhead_engine::request::MountRequest;

use super::volume::octal_mode;
use super::{Needed, boolean, path, size};

/// What relative paths of the host are relative to.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// The working directory.
    pub cwd: PathBuf,
    /// The home of the user.
    pub home: Option<PathBuf>,
}

impl Place {
    /// The caller's own; a working directory that was removed counts as `/`.
    pub fn current() -> Place {
        Place {
            cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            home: std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute()),
        }
    }
}

const FORM: &str = "comma-separated KEY=VALUE is needed, like type=bind,source=/data,target=/data,readonly";

/// The fields as they were written.
#[derive(Default)]
struct Fields {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    exec: bool,
    size: Option<u64>,
    mode: Option<u32>,
    create_source: bool,
    not_recursive: bool,
    /// The keys that only volumes have, as they were written.
    of_volume: Vec<String>,
    no_copy: bool,
    subpath: Option<String>,
    labels: Vec<(String, String)>,
    options: Vec<(String, String)>,
}

/// One `--mount`. Without `type` it is a volume, as for Docker.
///
/// # Errors
///
/// What is wrong, and what would be accepted.
pub fn parse(text: &str, place: &Place) -> Result<MountRequest, Needed> {
    let mut fields = Fields::default();
    for field in split_csv(text)? {
        set(&mut fields, &field)?;
    }
    let target = fields.target.as_deref().ok_or("target=PATH is needed")?;
    let target = path::target(target)?;
    let (read_only, exec) = (fields.read_only, fields.exec);
    let kind = fields.kind.as_deref().unwrap_or("volume");
    if kind != "tmpfs" && (fields.size.is_some() || fields.mode.is_some()) {
        return Err(format!("tmpfs-size and tmpfs-mode go with type=tmpfs, not with type={kind}").into());
    }
    if kind != "bind" && fields.create_source {
        return Err(format!("bind-create-src goes with type=bind, not with type={kind}").into());
    }
    if kind != "bind" && fields.not_recursive {
        return Err(format!("bind-recursive goes with type=bind, not with type={kind}").into());
    }
    if let Some(key) = fields.of_volume.first().filter(|_| kind != "volume") {
        return Err(format!("{key} goes with type=volume, not with type={kind}").into());
    }
    match (kind, fields.source.as_deref()) {
        ("bind", Some(source)) if !source.is_empty() => {
            let source = path::source(source, &place.cwd, place.home.as_deref())?;
            let (create_source, recursive) = (fields.create_source, !fields.not_recursive);
            Ok(MountRequest::Bind { source, target, read_only, exec, create_source, recursive })
        }
        ("bind", _) => Err("source=PATH is needed for type=bind".into()),
        ("volume", source) => {
            let name = source.filter(|name| !name.is_empty()).map(path::volume_name).transpose()?;
            let Fields { no_copy, subpath, labels, options, .. } = fields;
            Ok(MountRequest::Volume {
                name,
                target,
                read_only,
                exec,
                no_copy,
                subpath,
                labels,
                options,
                anonymous: false,
            })
        }
        ("tmpfs", None) => Ok(MountRequest::Tmpfs {
            target,
            size: fields.size,
            mode: fields.mode,
            exec,
            read_only,
            uid: 0,
            gid: 0,
            inodes: None,
        }),
        ("tmpfs", Some(_)) => Err("type=tmpfs has no source".into()),
        (other, _) => Err(format!("the type {other:?} is unknown; bind, volume and tmpfs are known").into()),
    }
}

fn set(fields: &mut Fields, field: &str) -> Result<(), Needed> {
    let (key, value) = match field.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (field, None),
    };
    let text = || value.map(str::to_owned).ok_or_else(|| Needed::from(format!("{key}=VALUE is needed")));
    let switch = || match value {
        None => Ok(true),
        Some(word) => boolean(word).ok_or_else(|| Needed::from(format!("{key} must be true or false"))),
    };
    match key {
        "type" => fields.kind = Some(text()?),
        "source" | "src" => fields.source = Some(text()?),
        "target" | "dst" | "destination" => fields.target = Some(text()?),
        "readonly" | "ro" => fields.read_only = switch()?,
        "exec" => fields.exec = switch()?,
        "noexec" => fields.exec = !switch()?,
        "tmpfs-size" => fields.size = Some(size::positive(&text()?)?),
        "tmpfs-mode" => fields.mode = Some(octal_mode(&text()?)?),
        "bind-create-src" => fields.create_source = switch()?,
        "bind-propagation" => match value {
            Some("private" | "rprivate") => {}
            _ => return Err("bind-propagation can only be rprivate: mounts of the host stay out of containers".into()),
        },
        "bind-recursive" => match value {
            Some("enabled" | "readonly") => {}
            Some("disabled") => fields.not_recursive = true,
            // With "writable", what is mounted below a read-only bind could be written to.
            _ => return Err("bind-recursive can be enabled, disabled or readonly".into()),
        },
        "bind-nonrecursive" => fields.not_recursive = switch()?,
        // A hint for macOS; without a meaning here, as for Docker on Linux.
        "consistency" => {}
        "" => return Err(FORM.into()),
        key if key.starts_with("volume-") => of_volume(fields, key, text, switch)?,
        other => {
            return Err(format!(
                "the key {other:?} is unknown; type, source, target, readonly, exec, tmpfs-size, tmpfs-mode, bind-create-src, bind-recursive, bind-propagation, volume-nocopy, volume-subpath, volume-opt and volume-label are known"
            )
            .into());
        }
    }
    Ok(())
}

/// The keys of volumes only.
fn of_volume(
    fields: &mut Fields,
    key: &str,
    text: impl Fn() -> Result<String, Needed>,
    switch: impl Fn() -> Result<bool, Needed>,
) -> Result<(), Needed> {
    fields.of_volume.push(key.to_owned());
    let pair = || -> Result<(String, String), Needed> {
        let text = text()?;
        let (name, value) = text.split_once('=').unwrap_or((&text, ""));
        if name.is_empty() {
            return Err(format!("{key}=NAME=VALUE is needed").into());
        }
        Ok((name.to_owned(), value.to_owned()))
    };
    match key {
        "volume-nocopy" => fields.no_copy = switch()?,
        "volume-opt" => fields.options.push(pair()?),
        "volume-label" => fields.labels.push(pair()?),
        "volume-subpath" => fields.subpath = Some(subpath(&text()?)?),
        "volume-driver" if matches!(text()?.as_str(), "" | "local") => {}
        "volume-driver" => return Err("volume-driver can only be local".into()),
        other => {
            return Err(format!(
                "the key {other:?} is unknown; volume-nocopy, volume-subpath, volume-opt, volume-label and volume-driver are known"
            )
            .into());
        }
    }
    Ok(())
}

/// A path inside a volume, in one form.
fn subpath(text: &str) -> Result<String, Needed> {
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if text.starts_with('/') || parts.is_empty() || parts.contains(&"..") || text.contains('\0') {
        return Err("volume-subpath must be a relative path without \"..\"".into());
    }
    Ok(parts.join("/"))
}

/// One line of CSV: a field may stand in double quotes (`"source=/a,b"`), and `""` inside is one quote.
fn split_csv(text: &str) -> Result<Vec<String>, Needed> {
    let mut fields = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        let mut field = String::new();
        if chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next() {
                    Some('"') if chars.next_if_eq(&'"').is_some() => field.push('"'),
                    Some('"') => break,
                    Some(other) => field.push(other),
                    None => return Err("a double quote is not closed".into()),
                }
            }
        } else {
            while let Some(next) = chars.next_if(|next| *next != ',') {
                field.push(next);
            }
        }
        fields.push(field);
        match chars.next() {
            None => return Ok(fields),
            Some(',') => {}
            Some(_) => return Err(FORM.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { cwd: "/work".into(), home: None }
    }

    #[test]
    fn the_three_types() {
        let parse = |text| parse(text, &place()).unwrap();
        let bind = |source: &str, read_only, exec, create_source| MountRequest::Bind {
            source: source.into(),
            target: "/b".into(),
            read_only,
            exec,
            create_source,
            recursive: true,
        };
        assert_eq!(parse("type=bind,source=/a,target=/b"), bind("/a", false, false, false));
        assert_eq!(parse("type=bind,src=x,dst=/b,ro,exec"), bind("/work/x", true, true, false));
        assert_eq!(parse("type=bind,src=/a,dst=/b,readonly=false,bind-create-src"), bind("/a", false, false, true));
        assert_eq!(parse("type=bind,\"src=/a,\"\"b\"\"\",dst=/b"), bind("/a,\"b\"", false, false, false));
        let volume = MountRequest::volume(Some("v".into()), "/b".into());
        assert_eq!(parse("source=v,destination=/b"), volume);
        let tmpfs = MountRequest::Tmpfs {
            target: "/b".into(),
            size: Some(1 << 20),
            mode: Some(0o700),
            exec: false,
            read_only: false,
            uid: 0,
            gid: 0,
            inodes: None,
        };
        assert_eq!(parse("type=tmpfs,target=/b,tmpfs-size=1m,tmpfs-mode=0700"), tmpfs);
    }

    #[test]
    fn the_keys_of_volumes_and_binds() {
        let parse = |text| parse(text, &place()).unwrap();
        let full = MountRequest::Volume {
            name: None,
            target: "/b".into(),
            read_only: true,
            exec: false,
            no_copy: true,
            subpath: Some("a/c".into()),
            labels: vec![("k".into(), "v".into())],
            options: vec![("type".into(), "tmpfs".into()), ("o".into(), "size=1m".into())],
            anonymous: false,
        };
        let text = "type=volume,dst=/b,ro,volume-nocopy,volume-subpath=a//./c,volume-label=k=v,volume-opt=type=tmpfs,\"volume-opt=o=size=1m\",volume-driver=local";
        assert_eq!(parse(text), full);
        let recursive = |text| matches!(parse(text), MountRequest::Bind { recursive: true, .. });
        assert!(recursive("type=bind,src=/a,dst=/b,bind-recursive=enabled,bind-propagation=rprivate"));
        assert!(!recursive("type=bind,src=/a,dst=/b,bind-recursive=disabled"));
        assert!(!recursive("type=bind,src=/a,dst=/b,bind-nonrecursive"));
    }

    #[test]
    fn wrong_mounts() {
        for text in [
            "",
            "type=bind",
            "type=bind,target=/b",
            "type=bind,source=,target=/b",
            "type=nfs,target=/b",
            "type=tmpfs,source=a,target=/b",
            "source=v,target=b",
            "source=v,target=/b,colour=red",
            "source=v,target=/b,ro=maybe",
            "source=v,target=/b,tmpfs-size=1m",
            "source=a/b,target=/b",
            "source=v,target=/b,",
            "source=v,\"target=/b",
            "\"source=v\"x,target=/b",
            "type=bind,source=/a,target=/b,bind-propagation=shared",
            "type=bind,source=/a,target=/b,bind-recursive=writable",
            "type=bind,source=/a,target=/b,volume-nocopy",
            "type=tmpfs,target=/b,volume-subpath=x",
            "source=v,target=/b,bind-recursive=disabled",
            "source=v,target=/b,volume-subpath=../x",
            "source=v,target=/b,volume-subpath=/x",
            "source=v,target=/b,volume-driver=nfs",
            "source=v,target=/b,volume-colour=red",
            "type,target=/b",
        ] {
            assert!(parse(text, &place()).is_err(), "{text}");
        }
    }
}
