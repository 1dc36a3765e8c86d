//! `--device`, `--device-read-bps /dev/sda:1m` and its kin.

use std::path::PathBuf;

use bulkhead_engine::request::{DeviceRate, DeviceRequest, RateKind};

use super::{Needed, path, size};

/// `PATH:RATE`; bytes per second may have a unit, operations per second are a number.
///
/// # Errors
///
/// A path outside `/dev`, or a rate that is none.
pub fn parse(text: &str, kind: RateKind) -> Result<DeviceRate, Needed> {
    let bytes = matches!(kind, RateKind::ReadBps | RateKind::WriteBps);
    let form = if bytes {
        "DEVICE:BYTES-PER-SECOND is needed, like /dev/sda:1m"
    } else {
        "DEVICE:OPERATIONS-PER-SECOND is needed, like /dev/sda:1000"
    };
    // The last colon: names below /dev/disk/by-path contain colons.
    let (device, rate) = text.rsplit_once(':').ok_or(form)?;
    let device = path::target(device).map_err(|_| form)?;
    if !device.starts_with("/dev") || device.components().count() < 3 {
        return Err(form.into());
    }
    let rate = if bytes { size::positive(rate).ok() } else { rate.parse().ok().filter(|rate| *rate > 0) };
    Ok(DeviceRate { device, kind, rate: rate.ok_or(form)? })
}

/// `--blkio-weight-device PATH:WEIGHT`.
///
/// # Errors
///
/// A path outside `/dev`, or a weight that is none.
pub fn weight(text: &str) -> Result<(PathBuf, u16), Needed> {
    let form = "DEVICE:WEIGHT is needed, like /dev/sda:200, with a weight from 10 to 1000";
    let (device, weight) = text.rsplit_once(':').ok_or(form)?;
    let weight = weight.parse().ok().filter(|weight| (10..=1000).contains(weight)).ok_or(form)?;
    Ok((below_dev(device).ok_or(form)?, weight))
}

fn below_dev(text: &str) -> Option<PathBuf> {
    let device = path::target(text).ok()?;
    // An argument of a program holds no NUL; a word that came another way might.
    (!text.contains('\0') && device.starts_with("/dev") && device.components().count() > 2).then_some(device)
}

/// `--device HOST[:CONTAINER][:ACCESS]`, where the access is letters of `rwm`. Making nodes (`m`) is never given: a
/// container finds the node there.
///
/// # Errors
///
/// A path outside `/dev`, or an access that is none.
pub fn grant(text: &str) -> Result<DeviceRequest, Needed> {
    let form =
        || Needed::from("HOST[:CONTAINER][:rwm] is needed, both below /dev, like /dev/fuse or /dev/sdb:/dev/data:r");
    let parts: Vec<&str> = text.split(':').collect();
    let is_access = |word: &str| !word.is_empty() && word.bytes().all(|b| matches!(b, b'r' | b'w' | b'm'));
    let (source, target, access) = match parts.as_slice() {
        [source] => (*source, *source, "rwm"),
        [source, second] if is_access(second) => (*source, *source, *second),
        [source, target] => (*source, *target, "rwm"),
        [source, target, access] if is_access(access) => (*source, *target, *access),
        _ => return Err(form()),
    };
    let source = below_dev(source).ok_or_else(form)?;
    // What is not below /dev would not be where programs look, and could lie over anything.
    let target = below_dev(target).ok_or_else(form)?;
    let (read, write) = (access.contains('r'), access.contains('w'));
    if !read && !write {
        return Err("an access with r or w is needed: nodes are never made by a container".into());
    }
    Ok(DeviceRequest { source, target, read, write })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_both_kinds() {
        let rate = |device: &str, kind, rate| Ok(DeviceRate { device: device.into(), kind, rate });
        assert_eq!(parse("/dev/sda:1m", RateKind::ReadBps), rate("/dev/sda", RateKind::ReadBps, 1 << 20));
        assert_eq!(parse("/dev/sda:50", RateKind::WriteIops), rate("/dev/sda", RateKind::WriteIops, 50));
        let by_path = "/dev/disk/by-path/pci-0:1:5";
        assert_eq!(parse(&format!("{by_path}:2k"), RateKind::WriteBps), rate(by_path, RateKind::WriteBps, 2048));
    }

    #[test]
    fn granted_devices() {
        let device = |source: &str, target: &str, read, write| {
            Ok(DeviceRequest { source: source.into(), target: target.into(), read, write })
        };
        assert_eq!(grant("/dev/fuse"), device("/dev/fuse", "/dev/fuse", true, true));
        assert_eq!(grant("/dev/fuse:r"), device("/dev/fuse", "/dev/fuse", true, false));
        assert_eq!(grant("/dev/a:/dev/b"), device("/dev/a", "/dev/b", true, true));
        assert_eq!(grant("/dev/a:/dev/b/c:wm"), device("/dev/a", "/dev/b/c", false, true));
        for text in [
            "",
            ":",
            "fuse",
            "/dev",
            "/dev/",
            "/etc/passwd",
            "/dev/a:/etc/x",
            "/dev/a:/dev",
            "/dev/a:x",
            "/dev/a:rx",
            "/dev/a:/dev/b:",
            "/dev/a:/dev/b:q",
            "/dev/a:/dev/b:r:w",
            "/dev/../etc/x",
            "/dev/a:/dev/../b",
            "/dev/a:m",
            "/dev/a:/dev/b\0",
        ] {
            assert!(grant(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn weights_of_devices() {
        assert_eq!(weight("/dev/sda:200"), Ok(("/dev/sda".into(), 200)));
        for text in ["/dev/sda", "/dev/sda:9", "/dev/sda:1001", "sda:100", ":100", "/dev:100"] {
            assert!(weight(text).is_err(), "{text}");
        }
    }

    #[test]
    fn wrong_rates() {
        for text in
            ["", "/dev/sda", "/dev/sda:", "/dev/sda:0", "sda:1m", "/etc/x:1m", "/dev:1m", "/dev/../x:1m", "/dev/sda:x"]
        {
            assert!(parse(text, RateKind::ReadBps).is_err(), "{text}");
        }
        assert!(parse("/dev/sda:1m", RateKind::ReadIops).is_err());
    }
}
