//! The names of one network: a file that those who start and end containers write, and those who answer read.
//!
//! It is written in place, because a reader has it open and may open nothing. What is half written is told by its length
//! and sum, and the reader goes on with what it had.

use std::fmt::Write as _;
use std::fs::File;
use std::net::IpAddr;
use std::os::unix::fs::FileExt as _;

/// First word of the file.
const MARK: &str = "names1";
/// Bytes of the first line, its end included.
const HEAD: usize = 64;
/// A longer file is none of ours. Names of some 50,000 containers have room.
const LONGEST: usize = 8 << 20;
/// Times that a file is read again that somebody is writing.
const ATTEMPTS: u32 = 4;

/// A container on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub container: String,
    /// Its names, in small letters; the first is what its addresses are called.
    pub names: Vec<String>,
    /// Its addresses on this network.
    pub addresses: Vec<IpAddr>,
}

/// FNV-1a: tells what is half written, not what is forged.
fn sum(generation: u64, body: &[u8]) -> u64 {
    generation
        .to_be_bytes()
        .iter()
        .chain(body)
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The file with these entries. `generation` is another one each time.
#[must_use]
pub fn render(generation: u64, entries: &[Entry]) -> Vec<u8> {
    let mut body = String::new();
    for entry in entries {
        let addresses: Vec<String> = entry.addresses.iter().map(ToString::to_string).collect();
        // Writing to a text cannot fail.
        writeln!(body, "{} {} {}", entry.container, entry.names.join(","), addresses.join(",")).unwrap_or_default();
    }
    let head = format!("{MARK} {generation:016x} {:08x} {:016x}", body.len(), sum(generation, body.as_bytes()));
    let width = HEAD - 1;
    format!("{head:<width$}\n{body}").into_bytes()
}

/// Generation, length and sum of the body.
fn head(bytes: &[u8]) -> Option<(u64, usize, u64)> {
    let line = std::str::from_utf8(bytes.get(..HEAD)?).ok()?;
    let mut words = line.split_whitespace();
    let mut number = |mark: bool| match (mark, words.next()?) {
        (true, MARK) => Some(0),
        (true, _) => None,
        (false, word) => u64::from_str_radix(word, 16).ok(),
    };
    number(true)?;
    let (generation, length, sum) = (number(false)?, number(false)?, number(false)?);
    Some((generation, usize::try_from(length).ok().filter(|l| *l <= LONGEST)?, sum))
}

/// What [`render`] wrote; nothing when it is not whole.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<(u64, Vec<Entry>)> {
    let (generation, length, expected) = head(bytes)?;
    let body = bytes.get(HEAD..HEAD + length)?;
    if sum(generation, body) != expected {
        return None;
    }
    let entries = std::str::from_utf8(body).ok()?.lines().map(entry).collect::<Option<Vec<_>>>()?;
    Some((generation, entries))
}

fn entry(line: &str) -> Option<Entry> {
    let mut words = line.split(' ');
    let (container, names, addresses) = (words.next()?, words.next()?, words.next()?);
    let list = |text: &str| text.split(',').filter(|t| !t.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let addresses = list(addresses).iter().map(|a| a.parse().ok()).collect::<Option<_>>()?;
    Some(Entry { container: container.to_owned(), names: list(names), addresses })
}

/// The file as somebody has it who answers.
#[derive(Debug)]
pub(super) struct Table {
    file: File,
    generation: Option<u64>,
    entries: Vec<Entry>,
}

impl Table {
    pub(super) fn new(file: File) -> Self {
        Self { file, generation: None, entries: Vec::new() }
    }

    /// What it has now. One read when nothing has changed.
    pub(super) fn entries(&mut self) -> &[Entry] {
        let mut first = [0; HEAD];
        for _ in 0..ATTEMPTS {
            let known = match self.file.read_at(&mut first, 0) {
                Ok(HEAD) => head(&first),
                _ => None,
            };
            let Some((generation, length, _)) = known else { continue };
            if self.generation == Some(generation) {
                break;
            }
            let mut bytes = vec![0; HEAD + length];
            if self.file.read_exact_at(&mut bytes, 0).is_ok()
                && let Some((generation, entries)) = parse(&bytes)
            {
                (self.generation, self.entries) = (Some(generation), entries);
                break;
            }
        }
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Entry> {
        let entry = |container: &str, names: &[&str], addresses: &[&str]| Entry {
            container: container.into(),
            names: names.iter().map(|n| (*n).to_owned()).collect(),
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        };
        vec![
            entry("a1", &["web", "www"], &["10.1.0.2", "fd00::2"]),
            entry("b2", &["db"], &[]),
            entry("c3", &[], &["10.1.0.4"]),
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        for entries in [Vec::new(), sample()] {
            assert_eq!(parse(&render(7, &entries)), Some((7, entries)));
        }
        assert_eq!(render(u64::MAX, &[]).len(), HEAD);
    }

    #[test]
    fn what_is_half_written_is_told() {
        let whole = render(7, &sample());
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), None, "{cut}");
        }
        // The head of one and the body of another.
        let mut other = sample();
        other.swap(0, 1);
        let mixed = [&whole[..HEAD], &render(8, &other)[HEAD..]].concat();
        assert_eq!(parse(&mixed), None);
    }

    #[test]
    fn a_reader_follows_and_keeps_what_it_had_meanwhile() {
        let file = tempfile::tempfile().unwrap();
        let mut table = Table::new(file.try_clone().unwrap());
        assert!(table.entries().is_empty());
        file.write_all_at(&render(1, &sample()), 0).unwrap();
        assert_eq!(table.entries(), sample());
        file.write_all_at(&render(2, &[])[..30], 0).unwrap();
        assert_eq!(table.entries(), sample());
        file.write_all_at(&render(2, &sample()[..1]), 0).unwrap();
        assert_eq!(table.entries(), &sample()[..1]);
    }
}
