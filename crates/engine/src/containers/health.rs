//! Health checks: what is to be asked, one asking of it, and what came of the last ones.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use bulkhead_image::ImageConfig;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use super::spawn::engine_program;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::events::{Event, Kind};
use crate::frame::{self, Decoder, kind};
use crate::images;
use crate::layout::{Layout, now, read_json, write_json};
use crate::monitor::HealthOrder;
use crate::request::{ContainerRequest, ExecRequest, HealthRequest};
use crate::store::ContainerRecord;

const SECOND: u64 = 1_000_000_000;
/// Bytes of a check's output that are kept, as Docker keeps them.
const OUTPUT: usize = 4096;
/// Checks that are remembered, as Docker remembers them.
const REMEMBERED: usize = 5;

/// What is asked of a container, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// `CMD` or `CMD-SHELL` and the words after it, as Docker shows it.
    pub test: Vec<String>,
    /// Nanoseconds between two checks.
    pub interval: u64,
    /// Nanoseconds that one may take.
    pub timeout: u64,
    /// Nanoseconds in which failures do not count.
    pub start_period: u64,
    /// Nanoseconds between two checks in that time.
    pub start_interval: u64,
    /// Failures in a row that make a container unhealthy.
    pub retries: u32,
}

/// One check that was made. Fields are named as Docker names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Checked {
    /// Nanoseconds since 1970.
    pub start: i64,
    /// Nanoseconds since 1970.
    pub end: i64,
    /// Exit code; -1 when it took too long or could not be made.
    pub exit_code: i64,
    /// The beginning of what it wrote.
    pub output: String,
}

/// What the last checks said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// `starting`, `healthy` or `unhealthy`.
    pub status: String,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last checks, the oldest first.
    pub log: Vec<Checked>,
}

impl Default for Health {
    fn default() -> Self {
        Self { status: "starting".to_owned(), failing_streak: 0, log: Vec::new() }
    }
}

impl Health {
    /// Takes in one more check; `grace`: failures do not count yet.
    fn take(&mut self, checked: Checked, retries: u32, grace: bool) {
        if checked.exit_code == 0 {
            self.failing_streak = 0;
            self.status = "healthy".to_owned();
        } else if !(grace && self.status == "starting") {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= retries {
                self.status = "unhealthy".to_owned();
            }
        }
        self.log.push(checked);
        let surplus = self.log.len().saturating_sub(REMEMBERED);
        self.log.drain(..surplus);
    }
}

/// What the request and the image ask for together, as in Docker: each value of the request wins over the image's.
#[must_use]
pub fn check(request: &HealthRequest, image: &ImageConfig) -> Option<Check> {
    if request.none {
        return None;
    }
    let written = image.healthcheck.as_ref();
    let shell = |line: &str| vec!["CMD-SHELL".to_owned(), line.to_owned()];
    let words = |value: &serde_json::Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|w| w.as_str().map(str::to_owned)).collect()
    };
    let test = match &request.command {
        Some(line) => shell(line),
        None => words(written?.get("Test")?),
    };
    let runs = matches!(test.first().map(String::as_str), Some("CMD" | "CMD-SHELL")) && test.len() > 1;
    if !runs {
        return None;
    }
    let number = |name: &str| written.and_then(|w| w.get(name)).and_then(serde_json::Value::as_u64).filter(|n| *n > 0);
    let pick = |asked: Option<u64>, name: &str, default: u64| {
        asked.filter(|n| *n > 0).or_else(|| number(name)).unwrap_or(default)
    };
    let retries = u64::from(request.retries.unwrap_or(0));
    Some(Check {
        test,
        interval: pick(request.interval, "Interval", 30 * SECOND),
        timeout: pick(request.timeout, "Timeout", 30 * SECOND),
        start_period: pick(request.start_period, "StartPeriod", 0),
        start_interval: pick(request.start_interval, "StartInterval", 5 * SECOND),
        retries: u32::try_from(pick(Some(retries), "Retries", 3)).unwrap_or(3),
    })
}

/// What the monitor is told of it.
pub(super) fn order(
    engine: &Engine,
    id: &str,
    request: &ContainerRequest,
    image: &ImageConfig,
) -> Result<Option<HealthOrder>, EngineError> {
    let Some(check) = check(&request.health, image) else { return Ok(None) };
    let (program, env) = engine_program(engine)?;
    Ok(Some(HealthOrder {
        command: (program, vec!["health".to_owned(), id.to_owned()]),
        env,
        interval: check.interval,
        start_interval: check.start_interval,
        start_period: check.start_period,
    }))
}

/// What the last checks of a container said; nothing when it has none, or does not run and never did.
#[must_use]
pub fn health(layout: &Layout, check: Option<&Check>) -> Option<Health> {
    check.map(|_| last(layout))
}

/// What the last checks of this run said.
pub(super) fn last(layout: &Layout) -> Health {
    read_json(&layout.health()).unwrap_or_default()
}

/// Makes one check and writes down what came of it; true when it succeeded. For the monitor, which knows how long the
/// program has run and whether failures count yet (`grace`: they do not).
///
/// # Errors
/// A container that does not run, or has no checks.
pub fn probe(engine: &Engine, id: &str, grace: bool) -> Result<bool, EngineError> {
    let record = engine.store()?.find_container(id)?;
    let layout = Layout::new(&engine.paths, &record.id);
    let image = images::of_container(engine, &record)?;
    let none = || EngineError::refused("a health check", "the container has none");
    let check = check(&record.request.health, &image.config).ok_or_else(none)?;
    let state = layout.read_state().filter(|s| s.restarting.is_none()).ok_or_else(none)?;
    if super::pause::is_paused(&state) {
        // A frozen program cannot answer, and that says nothing about its health.
        return Ok(false);
    }
    let start = now();
    let (exit_code, output) = ask(engine, &record, &check, &image.config);
    let before = last(&layout);
    let mut after = before.clone();
    after.take(Checked { start, end: now(), exit_code, output }, check.retries, grace);
    // The container may have ended or begun anew meanwhile: its health is not this one's then.
    if layout.read_state().is_none_or(|s| s.pid != state.pid) {
        return Ok(exit_code == 0);
    }
    write_json(&layout.health(), &after, false)?;
    if after.status != before.status {
        let event = Event::new(Kind::Container, format!("health_status: {}", after.status), &record.id);
        engine.events().emit(&super::about(event, &record));
    }
    Ok(exit_code == 0)
}

/// Runs the check in the container: its exit code and what it wrote.
fn ask(engine: &Engine, record: &ContainerRecord, check: &Check, image: &ImageConfig) -> (i64, String) {
    let mut words = check.test.iter().skip(1).cloned();
    let args: Vec<String> = match check.test.first().map(String::as_str) {
        Some("CMD-SHELL") => {
            let shell =
                if image.shell.is_empty() { vec!["/bin/sh".to_owned(), "-c".to_owned()] } else { image.shell.clone() };
            shell.into_iter().chain(words.next()).collect()
        }
        _ => words.collect(),
    };
    let request = ExecRequest { container: record.id.clone(), args, ..ExecRequest::default() };
    let deadline = Instant::now() + Duration::from_nanos(check.timeout);
    match super::exec::join(engine, record, &request, None) {
        Ok(Some(socket)) => listen(&socket, deadline, check.timeout),
        Ok(None) => (-1, String::new()),
        Err(e) => (-1, e.chain()),
    }
}

/// Collects what the check writes until it ends, or ends it at the deadline.
fn listen(socket: &OwnedFd, deadline: Instant, timeout: u64) -> (i64, String) {
    let mut decoder = Decoder::default();
    let mut output = Vec::new();
    let mut chunk = vec![0_u8; 16 << 10];
    let text = |output: &[u8]| {
        String::from_utf8_lossy(output.get(..OUTPUT.min(output.len())).unwrap_or_default()).into_owned()
    };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let time = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let ready = poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&time));
        if left.is_zero() || ready == Ok(0) {
            // The joiner passes it on; when it has gone the check has too.
            frame::write_all(std::os::fd::AsFd::as_fd(socket), &frame::encode(kind::SIGNAL, &[9])).unwrap_or_default();
            let seconds = Duration::from_nanos(timeout).as_secs_f64();
            return (-1, format!("Health check exceeded timeout ({seconds}s)"));
        }
        let read = match rustix::io::read(socket, &mut chunk) {
            Ok(n) if n > 0 => n,
            Err(rustix::io::Errno::INTR) => continue,
            Ok(_) | Err(_) => return (-1, text(&output)),
        };
        decoder.push(chunk.get(..read).unwrap_or_default());
        loop {
            match decoder.next_frame() {
                Ok(Some((kind::STDOUT | kind::STDERR, bytes))) if output.len() < OUTPUT => output.extend(bytes),
                Ok(Some((kind::EXITED, code))) => {
                    let code = <[u8; 4]>::try_from(code.as_slice()).map_or(-1, |c| i64::from(u32::from_le_bytes(c)));
                    return (code, text(&output));
                }
                Ok(Some((kind::ERROR, reason))) => {
                    let failure = serde_json::from_slice::<crate::monitor::Failure>(&reason);
                    return (-1, failure.map(|f| f.message).unwrap_or_default());
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return (-1, text(&output)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bulkhead_image::ImageConfig;

    use super::{Checked, Health, SECOND, check};
    use crate::request::HealthRequest;

    fn image(json: serde_json::Value) -> ImageConfig {
        ImageConfig { healthcheck: Some(json), ..ImageConfig::default() }
    }

    #[test]
    fn the_request_wins_value_by_value() {
        let image = image(serde_json::json!({"Test": ["CMD", "ping"], "Interval": 5_000_000_000_u64, "Retries": 7}));
        let asked = HealthRequest { retries: Some(2), ..HealthRequest::default() };
        let made = check(&asked, &image).unwrap();
        assert_eq!(
            (made.test.as_slice(), made.interval, made.retries),
            (&["CMD".to_owned(), "ping".to_owned()][..], 5 * SECOND, 2)
        );
        assert_eq!((made.timeout, made.start_period), (30 * SECOND, 0));
        let asked = HealthRequest { command: Some("true".to_owned()), ..HealthRequest::default() };
        assert_eq!(check(&asked, &image).unwrap().test, ["CMD-SHELL", "true"]);
        assert_eq!(check(&HealthRequest { none: true, ..asked }, &image), None);
    }

    #[test]
    fn an_image_without_a_usable_check_has_none() {
        for json in [
            serde_json::json!({"Test": ["NONE"]}),
            serde_json::json!({"Test": "x"}),
            serde_json::json!(7),
            serde_json::json!({"Test": ["CMD"]}),
        ] {
            assert_eq!(check(&HealthRequest::default(), &image(json)), None);
        }
        assert_eq!(check(&HealthRequest::default(), &ImageConfig::default()), None);
    }

    #[test]
    fn failures_count_after_the_grace_and_only_five_are_remembered() {
        let checked = |exit_code| Checked { start: 0, end: 1, exit_code, output: String::new() };
        let mut health = Health::default();
        health.take(checked(1), 2, true);
        assert_eq!((health.status.as_str(), health.failing_streak), ("starting", 0));
        health.take(checked(1), 2, false);
        assert_eq!((health.status.as_str(), health.failing_streak), ("starting", 1));
        health.take(checked(1), 2, false);
        assert_eq!(health.status, "unhealthy");
        health.take(checked(0), 2, true);
        assert_eq!((health.status.as_str(), health.failing_streak), ("healthy", 0));
        health.take(checked(1), 1, true);
        assert_eq!(health.status, "unhealthy", "one that was healthy has no grace any more");
        for _ in 0..9 {
            health.take(checked(0), 1, false);
        }
        assert_eq!(health.log.len(), 5);
    }
}
