//! Names: which are allowed, and the ones we make up.

use std::io;

use super::StoreError;

const ADJECTIVES: [&str; 64] = [
    "able", "airy", "amber", "ample", "azure", "bold", "brave", "brisk", "bright", "calm", "clear", "clever", "coral",
    "crisp", "deft", "eager", "early", "even", "fair", "fleet", "fond", "frank", "fresh", "gentle", "glad", "golden",
    "grand", "happy", "hardy", "hazel", "honest", "humble", "ivory", "jolly", "keen", "kind", "lively", "loyal",
    "lucid", "mellow", "merry", "mild", "modest", "neat", "noble", "patient", "plain", "polite", "proud", "quick",
    "quiet", "ready", "sharp", "silver", "sober", "solid", "steady", "sunny", "swift", "tidy", "true", "vivid", "warm",
    "wise",
];

const NOUNS: [&str; 64] = [
    "anchor", "barge", "beacon", "bight", "binnacle", "boom", "bow", "breaker", "buoy", "cable", "canoe", "capstan",
    "clipper", "compass", "cove", "current", "cutter", "davit", "deck", "delta", "dinghy", "dock", "ferry", "fjord",
    "frigate", "galley", "gull", "harbor", "hatch", "helm", "hull", "island", "jetty", "kayak", "keel", "ketch",
    "lagoon", "lantern", "locker", "lugger", "mast", "mooring", "oar", "pilot", "porthole", "prow", "quay", "raft",
    "reef", "rigging", "rudder", "sail", "schooner", "sextant", "shoal", "skiff", "sloop", "spar", "tender", "tide",
    "tiller", "topsail", "wharf", "yawl",
];

/// How many names without a number are tried before one with a number.
const PLAIN_TRIES: usize = 8;

/// Fills `buffer` with random bytes of the kernel.
pub(super) fn fill_random(buffer: &mut [u8]) -> Result<(), StoreError> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(StoreError::Random { source: io::Error::from(error) }),
        }
    }
    Ok(())
}

/// Names to try, the plain ones first; later ones end in a growing number, so that the list does not run out.
pub(super) fn candidates() -> Result<impl Iterator<Item = String>, StoreError> {
    let mut random = [0u8; PLAIN_TRIES * 2];
    fill_random(&mut random)?;
    let pairs: Vec<String> = random
        .chunks_exact(2)
        .filter_map(|pair| match pair {
            [a, b] => Some(format!("{}_{}", pick(&ADJECTIVES, *a), pick(&NOUNS, *b))),
            _ => None,
        })
        .collect();
    let plain = pairs.clone();
    Ok(plain.into_iter().chain((2u32..).flat_map(move |number| {
        let pairs = pairs.clone();
        pairs.into_iter().map(move |pair| format!("{pair}{number}"))
    })))
}

/// The lists have 64 entries, which divides 256: every entry is equally likely.
fn pick(list: &[&'static str; 64], byte: u8) -> &'static str {
    list.get(usize::from(byte % 64)).copied().unwrap_or("calm")
}

/// Docker's rule, `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, and a limit that fits a host name and a file name.
pub(super) fn check(name: &str) -> Result<(), StoreError> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if first && rest && (2..=128).contains(&name.len()) {
        Ok(())
    } else {
        Err(StoreError::InvalidName { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_are_allowed_and_never_run_out() {
        let names: Vec<String> = candidates().unwrap().take(100).collect();
        assert!(names.iter().all(|name| check(name).is_ok()));
        assert!(names[PLAIN_TRIES].ends_with('2'));
        assert!(names[PLAIN_TRIES * 2].ends_with('3'));
    }

    #[test]
    fn no_word_is_in_a_list_twice() {
        for list in [ADJECTIVES, NOUNS] {
            let unique: std::collections::BTreeSet<_> = list.iter().collect();
            assert_eq!(unique.len(), 64);
        }
    }

    #[test]
    fn names_follow_dockers_rule() {
        for good in ["web", "a1", "A.b-c_d", "0x"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "-web", ".web", "we b", "we/b", "wéb", "a\n", &"x".repeat(129)] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
