//! `--log`, `--log-format` and `--debug`: what callers read when a command failed.
//!
//! containerd takes the `msg` of the last JSON line of the log file as the error; others read standard error. So an
//! error goes to both. Without a file the line itself goes to standard error.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::OnceLock;

use super::error::{During, RuncError};
use crate::output::{escape, human};

/// Where lines go, and in which form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    file: Option<PathBuf>,
    json: bool,
    debug: bool,
    held: Held,
}

/// The file, once it is held open; it says nothing about what was asked for.
#[derive(Debug, Clone, Default)]
struct Held(Arc<OnceLock<File>>);

impl PartialEq for Held {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Held {}

impl Log {
    /// A log into `file`, or to standard error. The file is made now, so that a wrong path stops the command before it
    /// did anything; it is not kept open, for its descriptor could be taken for one of `--preserve-fds`.
    ///
    /// # Errors
    ///
    /// A file that cannot be opened; a format other than `text` and `json`.
    pub fn new(file: Option<&Path>, format: Option<&str>, debug: bool) -> Result<Self, RuncError> {
        let json = match format {
            None | Some("" | "text") => false,
            Some("json") => true,
            Some(other) => {
                return Err(RuncError::new(format!(
                    "invalid value {other:?} for --log-format: text or json is needed"
                )));
            }
        };
        let file = match file.filter(|path| !path.as_os_str().is_empty()) {
            None => None,
            Some(path) => {
                let path = std::path::absolute(path).during("find the working directory")?;
                open(&path).during(format_args!("open the log {}", path.display()))?;
                Some(path)
            }
        };
        Ok(Self { file, json, debug, held: Held::default() })
    }

    /// Keeps the file open from now on: this process is about to enter the file system of a container, where the path
    /// is another file or none. Descriptors that the program is to get must have been counted before.
    ///
    /// # Errors
    ///
    /// A file that cannot be opened any more.
    pub fn hold(&self) -> Result<(), RuncError> {
        let Some(path) = &self.file else { return Ok(()) };
        let file = open(path).during(format_args!("open the log {}", path.display()))?;
        // A second time there is one already.
        self.held.0.set(file).unwrap_or_default();
        Ok(())
    }

    /// Reports an error: a line in the log, and one on standard error. Nothing for an empty message.
    pub fn error(&self, error: &RuncError) {
        if error.message.is_empty() {
            return;
        }
        if self.file.is_some() {
            self.line("error", &error.message);
            // Paths and names come from configs; they must not drive a terminal, nor make two lines of one.
            standard_error(&format!("{}\n", escape::cell(&error.message)));
        } else if error.plain {
            standard_error(&format!("{}\n", escape::cell(&error.message)));
        } else {
            self.line("error", &error.message);
        }
    }

    /// Reports what was done all the same, though not as it was asked.
    pub fn warn(&self, message: &str) {
        self.line("warning", message);
    }

    /// A line of what is being done, with `--debug` only; the text is made only then.
    pub fn debug(&self, message: impl FnOnce() -> String) {
        if self.debug {
            self.line("debug", &message());
        }
    }

    fn line(&self, level: &str, message: &str) {
        let line = format_line(self.json, level, message, &now());
        match &self.file {
            // One write for each line: several processes append to one file. A log that is gone stops no container.
            Some(path) => {
                let written = match self.held.0.get() {
                    Some(mut file) => file.write_all(line.as_bytes()),
                    None => open(path).and_then(|mut file| file.write_all(line.as_bytes())),
                };
                if let Err(error) = written {
                    standard_error(&format!("cannot write the log {}: {error}\n", path.display()));
                }
            }
            None => standard_error(&line),
        }
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o644).open(path)
}

fn standard_error(text: &str) {
    // When it is gone there is nobody left to tell.
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}

/// `2026-01-02T15:04:05Z`.
fn now() -> String {
    let mut time = human::rfc3339(human::now());
    time.truncate("2026-01-02T15:04:05".len());
    time.push('Z');
    time
}

fn format_line(json: bool, level: &str, message: &str, time: &str) -> String {
    if json {
        // Keys in the order in which other runtimes write them: sorted.
        let value = serde_json::json!({"level": level, "msg": message, "time": time});
        return format!("{value}\n");
    }
    format!("time=\"{time}\" level={level} msg={}\n", quoted(message))
}

/// In quotes, on one line, with nothing in it that drives a terminal.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in escape::cell(text).chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            c if c.is_control() => write!(quoted, "\\u{{{:x}}}", u32::from(c)).unwrap_or_default(),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_shape_that_callers_read() {
        let time = "2026-01-02T15:04:05Z";
        let json = format_line(true, "error", "no \"x\"\nhere", time);
        assert_eq!(json, format!("{{\"level\":\"error\",\"msg\":\"no \\\"x\\\"\\nhere\",\"time\":\"{time}\"}}\n"));
        let text = format_line(false, "debug", "no \"x\"\nhere \x1b[2J", time);
        assert!(text.starts_with("time=\"2026-01-02T15:04:05Z\" level=debug msg=\"no \\\"x\\\""), "{text}");
        assert_eq!(text.lines().count(), 1);
        assert!(!text.contains('\x1b'));
        assert_eq!(now().len(), time.len());
    }

    #[test]
    fn errors_are_appended_to_the_file() {
        let dir = std::env::temp_dir().join(format!("bulkhead-runc-log-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("log.json");
        let log = Log::new(Some(&path), Some("json"), true).unwrap();
        log.error(&RuncError::new("first"));
        log.debug(|| "second".to_owned());
        log.error(&RuncError::new(""));
        Log::new(Some(&path), Some("json"), false).unwrap().debug(|| unreachable!());
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.iter().map(|l| l["msg"].as_str().unwrap()).collect::<Vec<_>>(), ["first", "second"]);
        // One that is held is the file that it was, whatever the path leads to later.
        log.hold().unwrap();
        std::fs::rename(&path, dir.join("moved")).unwrap();
        log.error(&RuncError::new("third"));
        assert!(std::fs::read_to_string(dir.join("moved")).unwrap().contains("\"third\"") && !path.exists());
        assert!(Log::new(Some(&dir.join("no/log")), None, false).unwrap_err().message.contains("no/log"));
        assert!(Log::new(None, Some("xml"), false).unwrap_err().message.contains("\"xml\""));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
