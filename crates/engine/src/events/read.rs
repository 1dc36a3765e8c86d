//! Reading events back, and following them.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt;

use super::{Event, EventLog};

/// Goes through the events in the order in which they were written.
#[derive(Debug)]
pub struct Reader {
    log: EventLog,
    /// The file that is being read, and whether it is the older one.
    file: Option<(BufReader<File>, bool)>,
    partial: Vec<u8>,
}

impl EventLog {
    /// A reader that begins with the oldest event that is kept.
    #[must_use]
    pub fn reader(&self) -> Reader {
        let older = File::open(self.older()).ok().map(|f| (BufReader::new(f), true));
        let file = older.or_else(|| File::open(&self.path).ok().map(|f| (BufReader::new(f), false)));
        Reader { log: self.clone(), file, partial: Vec::new() }
    }

    /// A reader that begins with what is written from now on.
    #[must_use]
    pub fn reader_at_end(&self) -> Reader {
        use std::io::Seek as _;
        let file = self.open().ok().and_then(|mut file| {
            file.seek(std::io::SeekFrom::End(0)).ok()?;
            let readable = File::open(&self.path).ok()?;
            let mut readable = BufReader::new(readable);
            readable.seek(std::io::SeekFrom::End(0)).ok()?;
            Some((readable, false))
        });
        Reader { log: self.clone(), file, partial: Vec::new() }
    }
}

impl Reader {
    /// The next event; `None` when there is none for now: a later call may find one.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            let Some((file, older)) = self.file.as_mut() else {
                self.file = File::open(&self.log.path).ok().map(|f| (BufReader::new(f), false));
                self.file.as_ref()?;
                continue;
            };
            let read = file.read_until(b'\n', &mut self.partial).unwrap_or(0);
            if read > 0 && self.partial.ends_with(b"\n") {
                let event = serde_json::from_slice(&self.partial).ok();
                self.partial.clear();
                // A line that was damaged is passed over; the rest is worth reading.
                if event.is_some() {
                    return event;
                }
                continue;
            }
            let moved = *older || {
                let here = file.get_ref().metadata().ok().map(|m| (m.dev(), m.ino()));
                let there = std::fs::metadata(&self.log.path).ok().map(|m| (m.dev(), m.ino()));
                there.is_some() && here != there
            };
            if !moved {
                return None;
            }
            // What was written between the last read and the move is in the file still.
            if file.read_until(b'\n', &mut self.partial).unwrap_or(0) > 0 && self.partial.ends_with(b"\n") {
                let event = serde_json::from_slice(&self.partial).ok();
                self.partial.clear();
                if event.is_some() {
                    return event;
                }
                continue;
            }
            self.partial.clear();
            self.file = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Event, EventLog, Kind, LIMIT};

    #[test]
    fn events_come_back_in_order_and_across_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let log = EventLog::new(dir.path());
        let mut follower = log.reader_at_end();
        assert_eq!(follower.next_event(), None);
        let long = "x".repeat(100);
        let each =
            u64::try_from(serde_json::to_vec(&Event::new(Kind::Container, "start", &long)).unwrap().len()).unwrap();
        let count = LIMIT / each + 10;
        for n in 0..count {
            log.emit(&Event::new(Kind::Container, "start", &long).with("n", n.to_string()));
        }
        let mut reader = log.reader();
        let mut seen = 0;
        while let Some(event) = reader.next_event() {
            assert_eq!(event.actor.attributes["n"], seen.to_string());
            seen += 1;
        }
        assert_eq!(seen, count);
        let followed = std::iter::from_fn(|| follower.next_event()).count();
        assert_eq!(u64::try_from(followed).unwrap(), count);
        assert!(log.older().exists());
    }

    #[test]
    fn an_event_too_long_for_a_line_loses_its_long_attributes_only() {
        let dir = tempfile::tempdir().unwrap();
        let log = EventLog::new(dir.path());
        log.emit(&Event::new(Kind::Image, "tag", "a").with("big", "y".repeat(1 << 20)).with("name", "web"));
        let event = log.reader().next_event().unwrap();
        assert_eq!(event.actor.attributes.keys().collect::<Vec<_>>(), ["name"]);
    }
}
