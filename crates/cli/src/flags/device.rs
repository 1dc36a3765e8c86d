//! `--device-read-bps /dev/sda:1m` and its kin.

use bulkhead_engine::request::{DeviceRate, RateKind};

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
    fn wrong_rates() {
        for text in
            ["", "/dev/sda", "/dev/sda:", "/dev/sda:0", "sda:1m", "/etc/x:1m", "/dev:1m", "/dev/../x:1m", "/dev/sda:x"]
        {
            assert!(parse(text, RateKind::ReadBps).is_err(), "{text}");
        }
        assert!(parse("/dev/sda:1m", RateKind::ReadIops).is_err());
    }
}
