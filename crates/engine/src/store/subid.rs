//! `/etc/subuid` and `/etc/subgid`: ids that belong to somebody already.

use std::io;
use std::path::Path;

use super::{IdRange, StoreError};

/// The files that hand out subordinate ids.
const FILES: [&str; 2] = ["/etc/subuid", "/etc/subgid"];

/// Every interval that `/etc/subuid` and `/etc/subgid` hand out; a file that is missing hands out none.
///
/// # Errors
///
/// A file that is there and cannot be read: its ranges would be given out twice.
pub fn read_intervals() -> Result<Vec<IdRange>, StoreError> {
    read_from(FILES.iter().map(Path::new))
}

/// [`read_intervals`] for other files.
///
/// # Errors
///
/// As [`read_intervals`].
pub fn read_from<'a>(files: impl IntoIterator<Item = &'a Path>) -> Result<Vec<IdRange>, StoreError> {
    let mut found = Vec::new();
    for path in files {
        match std::fs::read(path) {
            Ok(bytes) => found.extend(parse(&String::from_utf8_lossy(&bytes)).into_iter().map(|(_, range)| range)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(StoreError::Io { what: "read", path: path.to_owned(), source }),
        }
    }
    found.sort_by_key(|range| (range.start, range.count));
    found.dedup();
    Ok(found)
}

/// The lines `NAME:START:COUNT` of such a file, in order, with the user's name or number.
///
/// A line that `newuidmap` would not understand either hands out nothing and is passed over. A range that goes past the
/// last id is cut there.
pub fn parse(text: &str) -> Vec<(String, IdRange)> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<(String, IdRange)> {
    let mut fields = line.trim().split(':');
    let (name, start, count) = (fields.next()?, fields.next()?, fields.next()?);
    if name.is_empty() || name.starts_with('#') || fields.next().is_some() {
        return None;
    }
    let start: u32 = start.trim().parse().ok()?;
    let count: u64 = count.trim().parse().ok()?;
    let count = u32::try_from(count).unwrap_or(u32::MAX).min(u32::MAX - start);
    (count > 0).then(|| (name.to_owned(), IdRange { start, count }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_ranges() {
        let text = "alice:100000:65536\n# comment\nbob:165536:65536\n\nbad\nx:1\ny:a:b\nz:1:0\n:5:5\nw:1:2:3\n";
        let ranges = parse(text);
        assert_eq!(ranges.len(), 2);
        assert_eq!(ranges[1], ("bob".to_owned(), IdRange { start: 165_536, count: 65_536 }));
    }

    #[test]
    fn a_range_past_the_last_id_is_cut() {
        let ranges = parse("a:4294967290:100\nb:0:99999999999");
        assert_eq!(ranges[0].1, IdRange { start: 4_294_967_290, count: 5 });
        assert_eq!(ranges[1].1, IdRange { start: 0, count: u32::MAX });
    }

    #[test]
    fn a_missing_file_is_empty_and_an_unreadable_one_is_an_error() {
        assert_eq!(read_from([Path::new("/nonexistent/subuid")]).unwrap(), Vec::new());
        assert!(matches!(read_from([Path::new("/")]), Err(StoreError::Io { .. })));
    }
}
