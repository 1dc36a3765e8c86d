//! What a monitor looks after beside the streams: memory that ran out, processes that were refused, health checks.
//!
//! All times are those of the monotonic clock: a suspended machine and a changed clock make no check late or twice.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bulkhead_sandbox::cgroup::Refusals;
use bulkhead_sys::Errno;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::history::History;

/// How health checks are made: by a command of ours that joins the container, so that the monitor stays small.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthOrder {
    /// Program and arguments.
    pub command: (PathBuf, Vec<String>),
    /// Environment of it.
    pub env: Vec<(String, String)>,
    /// Nanoseconds between the end of one and the start of the next.
    pub interval: u64,
    /// The same before the first success within `start_period`.
    pub start_interval: u64,
    /// Nanoseconds in which failures do not count.
    pub start_period: u64,
}

/// What became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    OutOfMemory,
    MemoryEvents,
    PidsEvents,
    Check,
}

/// A file of a control group that polls as changed, and the counter in it.
#[derive(Debug)]
struct Counter {
    file: File,
    key: &'static str,
    last: u64,
}

impl Counter {
    fn open(path: &Path, key: &'static str) -> Option<Self> {
        let mut counter = Self { file: File::open(path).ok()?, key, last: 0 };
        counter.last = counter.read().unwrap_or(0);
        Some(counter)
    }

    /// Reading is also what makes the kernel tell the next change.
    fn read(&mut self) -> Option<u64> {
        let mut text = String::new();
        self.file.seek(SeekFrom::Start(0)).ok()?;
        self.file.read_to_string(&mut text).ok()?;
        text.lines().find_map(|l| l.strip_prefix(self.key)?.trim().parse().ok())
    }

    /// How much it has grown since it was last looked at.
    fn grown(&mut self) -> u64 {
        let now = self.read().unwrap_or(self.last);
        let grown = now.saturating_sub(self.last);
        self.last = now;
        grown
    }
}

/// The checks of one run of a container.
#[derive(Debug)]
struct Health {
    order: HealthOrder,
    since: Instant,
    next: Instant,
    passed: bool,
    running: Option<(Child, OwnedFd)>,
}

/// One run of a container, looked after.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    history: Option<History>,
    out_of_memory: Option<OwnedFd>,
    memory: Option<Counter>,
    pids: Option<Counter>,
    pids_told: Option<Instant>,
    memory_told: bool,
    health: Option<Health>,
}

/// Last word of a check's command as long as failures do not count.
pub const GRACE: &str = "grace";

/// Seconds between two words about refused processes: a fork bomb makes thousands of them.
const PIDS_PAUSE: Duration = Duration::from_secs(10);

impl Watch {
    /// For a run that has just begun, with the directories of its control groups.
    pub(crate) fn new(history: History, groups: &[PathBuf], health: Option<&HealthOrder>) -> Self {
        let now = Instant::now();
        let find = |name: &str, key| groups.iter().find_map(|d| Counter::open(&d.join(name), key));
        let out_of_memory = groups.iter().find_map(|d| listen_v1(d).ok());
        Self {
            history: Some(history),
            // What version 1 tells in its own way it has no such file for.
            memory: if out_of_memory.is_some() { None } else { find("memory.events", "oom_kill ") },
            out_of_memory,
            pids: find("pids.events", "max "),
            pids_told: None,
            memory_told: false,
            health: health.map(|order| Health {
                next: now + first(order),
                order: order.clone(),
                since: now,
                passed: false,
                running: None,
            }),
        }
    }

    pub(crate) fn polls<'a>(&'a self, add: &mut dyn FnMut(Key, PollFd<'a>)) {
        if let Some(fd) = &self.out_of_memory {
            add(Key::OutOfMemory, PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
        }
        for (key, counter) in [(Key::MemoryEvents, &self.memory), (Key::PidsEvents, &self.pids)] {
            if let Some(counter) = counter {
                add(key, PollFd::from_borrowed_fd(counter.file.as_fd(), PollFlags::PRI));
            }
        }
        if let Some((_, fd)) = self.health.as_ref().and_then(|h| h.running.as_ref()) {
            add(Key::Check, PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
        }
    }

    /// Until something is due; nothing when nothing ever is.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        let health = self.health.as_ref().filter(|h| h.running.is_none())?;
        // A little later than due, so that it is due then.
        Some(health.next.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
    }

    pub(crate) fn ready(&mut self, key: Key) {
        match key {
            Key::OutOfMemory => {
                let drained = self.out_of_memory.as_ref().map(|fd| rustix::io::read(fd, &mut [0_u8; 8]));
                // One that cannot be read would wake us for ever.
                if !matches!(drained, Some(Ok(_) | Err(Errno::AGAIN))) {
                    self.out_of_memory = None;
                }
                self.memory_told = true;
                self.tell("oom", &[]);
            }
            Key::MemoryEvents => {
                if self.memory.as_mut().is_some_and(|c| c.grown() > 0) {
                    self.memory_told = true;
                    self.tell("oom", &[]);
                }
            }
            Key::PidsEvents => {
                let grown = self.pids.as_mut().map_or(0, Counter::grown);
                if grown > 0 && self.pids_told.is_none_or(|t| t.elapsed() > PIDS_PAUSE) {
                    self.pids_told = Some(Instant::now());
                    let refused = self.pids.as_ref().map_or(0, |c| c.last).to_string();
                    self.tell("pids-limit", &[("refused", &refused)]);
                }
            }
            Key::Check => {
                if let Some(health) = &mut self.health {
                    health.collect();
                }
            }
        }
    }

    /// Tells what the figures of a run that has ended say and nothing has told: the last moments of a program go by
    /// faster than they can be watched.
    pub(crate) fn finish(&self, refusals: Refusals) {
        if !self.memory_told && refusals.oom_kills > 0 {
            self.tell("oom", &[]);
        }
        if self.pids_told.is_none() && refusals.pids > 0 {
            self.tell("pids-limit", &[("refused", &refusals.pids.to_string())]);
        }
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self) {
        if let Some(health) = &mut self.health {
            health.start_when_due();
        }
    }

    fn tell(&self, action: &str, attributes: &[(&str, &str)]) {
        if let Some(history) = &self.history {
            history.tell(action, attributes);
        }
    }
}

impl Drop for Watch {
    /// A check that still runs has nothing left to look at: its program ended with the container.
    fn drop(&mut self) {
        if let Some((mut child, _)) = self.health.take().and_then(|h| h.running) {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn first(order: &HealthOrder) -> Duration {
    Duration::from_nanos(if order.start_period > 0 { order.start_interval } else { order.interval })
}

impl Health {
    fn start_when_due(&mut self) {
        if self.running.is_some() || Instant::now() < self.next {
            return;
        }
        let (program, args) = &self.order.command;
        let mut command = Command::new(program);
        if self.since.elapsed() < Duration::from_nanos(self.order.start_period) {
            command.args(args.iter().map(String::as_str).chain([GRACE]))
        } else {
            command.args(args)
        }
        .env_clear()
        .envs(self.order.env.iter().map(|(k, v)| (k, v)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
        let started = command.spawn().ok().and_then(|child| {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw)?;
            Some((child, pidfd_open(pid, PidfdFlags::empty()).ok()?))
        });
        match started {
            Some(running) => self.running = Some(running),
            // No process to be had now; the next time is another chance.
            None => self.plan_next(),
        }
    }

    fn collect(&mut self) {
        if let Some((mut child, _)) = self.running.take() {
            self.passed |= child.wait().is_ok_and(|s| s.success());
        }
        self.plan_next();
    }

    fn plan_next(&mut self) {
        let starting = !self.passed && self.since.elapsed() < Duration::from_nanos(self.order.start_period);
        let pause = if starting { self.order.start_interval } else { self.order.interval };
        self.next = Instant::now() + Duration::from_nanos(pause);
    }
}

/// Version 1 tells that memory ran out by a counter of its own (memory.txt of the kernel, "OOM Control").
fn listen_v1(directory: &Path) -> Result<OwnedFd, std::io::Error> {
    use std::os::fd::AsRawFd;
    let control = File::open(directory.join("memory.oom_control"))?;
    let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let words = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
    std::fs::write(directory.join("cgroup.event_control"), words)?;
    Ok(fd)
}
