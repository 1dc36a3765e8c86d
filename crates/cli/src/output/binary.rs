//! Sizes in units of 1024, as Docker shows memory.

/// `1.953MiB`: four digits, units of 1024.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let bytes = u128::from(bytes);
    let mut unit = 1_u128;
    let mut names = UNITS.iter().peekable();
    while let Some(name) = names.next() {
        if bytes >= unit * 1024 && names.peek().is_some() {
            unit *= 1024;
            continue;
        }
        // Four digits that count: as many decimals as the whole part leaves.
        for (decimals, scale) in [(3, 1000_u128), (2, 100), (1, 10), (0, 1)] {
            let digits = (bytes * scale + unit / 2) / unit;
            if digits < 10_000 {
                let (whole, rest) = (digits / scale, digits % scale);
                let fraction = if decimals == 0 { String::new() } else { format!(".{rest:0decimals$}") };
                return format!("{whole}{}{name}", fraction.trim_end_matches('0').trim_end_matches('.'));
            }
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_four_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (1000, "1000B"),
            (1024, "1KiB"),
            (1536, "1.5KiB"),
            (2_048_000, "1.953MiB"),
            (25_282_000_000, "23.55GiB"),
            (1_073_700_000, "1024MiB"),
            (1 << 30, "1GiB"),
            (u64::MAX, "16EiB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }
}
