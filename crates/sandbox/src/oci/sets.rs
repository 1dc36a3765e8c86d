//! Lists of numbers: `0-3,7` (`cpuset(7)`).

use crate::plan::PlanError;

/// Highest number in a list that is read.
const MOST: usize = 8191;

/// The list as a bit set, lowest first; empty for an empty list.
///
/// # Errors
/// A list that is none, by the name of its field.
pub fn bits(field: &str, list: &str) -> Result<Vec<u64>, PlanError> {
    let refuse = || PlanError::invalid(field, list, "a list like 0-3,7 is needed, up to 8191");
    let mut bits: Vec<u64> = Vec::new();
    for part in list.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |n: &str| n.trim().parse::<usize>().ok().filter(|n| *n <= MOST).ok_or_else(refuse);
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(refuse());
        }
        if bits.len() <= last / 64 {
            bits.resize(last / 64 + 1, 0);
        }
        for n in first..=last {
            if let Some(word) = bits.get_mut(n / 64) {
                *word |= 1 << (n % 64);
            }
        }
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::bits;

    #[test]
    fn lists_become_bits() {
        assert_eq!(bits("f", "0-3,7").unwrap(), [0x8f]);
        assert_eq!(bits("f", "64").unwrap(), [0, 1]);
        assert_eq!(bits("f", "").unwrap(), Vec::<u64>::new());
        for wrong in ["3-1", "x", "-1", "9000", "1--2"] {
            assert!(bits("f", wrong).is_err(), "{wrong}");
        }
    }
}
