//! What the tests of containers' lives share: starting in the background, feeding input, looking for what was left.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::{Bench, Said};

impl Bench {
    /// Starts a shell script in a container of the image `host` in the background; returns the id.
    pub fn start(&self, flags: &[&str], script: &str) -> String {
        let mut words = vec!["run", "-d"];
        words.extend(flags);
        words.extend(["host", "sh", "-c", script]);
        self.say(&words).ok().trim().to_owned()
    }

    /// A value of `inspect`, by JSON pointer below the container.
    #[must_use]
    pub fn look(&self, name: &str, pointer: &str) -> Value {
        let text = self.say(&["inspect", name]).ok();
        let value: Value = serde_json::from_str(&text).expect("JSON");
        value.pointer(&format!("/0{pointer}")).cloned().unwrap_or_default()
    }

    /// State of a container, and its exit code.
    #[must_use]
    pub fn state(&self, name: &str) -> (String, i64) {
        let state = self.look(name, "/State");
        let status = state.get("Status").and_then(Value::as_str).unwrap_or_default().to_owned();
        (status, state.get("ExitCode").and_then(Value::as_i64).unwrap_or(-1))
    }

    /// The program with piped streams.
    #[must_use]
    pub fn spawn(&self, words: &[&str]) -> Child {
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the program starts")
    }

    /// Runs the program with this input to its end; its output as bytes, and as text with its exit code.
    #[must_use]
    pub fn feed(&self, words: &[&str], input: &[u8]) -> (Vec<u8>, Said) {
        let mut child = self.spawn(words);
        let mut stdin = child.stdin.take().expect("piped");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().expect("it ends");
        // A program that does not read its input is no failure here.
        drop(writer.join().expect("the writer does not panic"));
        (output.stdout.clone(), output.into())
    }

    /// No container is listed, and nothing is left of any.
    pub fn assert_empty(&self) {
        assert_eq!(self.say(&["ps", "-aq"]).ok(), "");
        let left = self.left_overs();
        assert!(left.is_empty(), "left behind: {left:#?}");
        let processes = self.processes();
        assert!(processes.is_empty(), "still alive: {processes:#?}");
    }

    /// [`Bench::assert_empty`] where a container removes itself: its record goes first, and the rest a little later.
    pub fn assert_empties(&self) {
        let settled =
            || self.say(&["ps", "-aq"]).ok().is_empty() && self.left_overs().is_empty() && self.processes().is_empty();
        if !crate::eventually(10, settled) {
            self.assert_empty();
        }
    }

    /// Processes that belong to this store: its monitors, and what runs on its layers.
    #[must_use]
    pub fn processes(&self) -> Vec<String> {
        let store = self.dir.path().to_string_lossy().into_owned();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.bytes().all(|b| b.is_ascii_digit()) || name == std::process::id().to_string() {
                continue;
            }
            let read = |file: &str| std::fs::read(entry.path().join(file)).unwrap_or_default();
            let has = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(&store);
            let links = std::fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
            let mut links = links.map(|l| l.path()).chain([entry.path().join("exe")]);
            let linked = links.any(|l| std::fs::read_link(l).is_ok_and(|to| to.to_string_lossy().contains(&store)));
            // Commands that the test itself has running are not meant.
            let parent = String::from_utf8_lossy(&read("stat")).rsplit_once(')').map(|(_, rest)| rest.to_owned());
            let parent = parent.and_then(|rest| rest.split_whitespace().nth(1).map(str::to_owned));
            let ours = parent == Some(std::process::id().to_string());
            if !ours && (linked || ["environ", "cmdline", "mountinfo"].iter().any(|file| has(&read(file)))) {
                let line =
                    read("cmdline").iter().map(|b| if *b == 0 { ' ' } else { char::from(*b) }).collect::<String>();
                // The network of an ordinary user stays for a moment after its last container.
                if !line.contains(" network-keeper ") {
                    found.push(format!("{name}: {line}"));
                }
            }
        }
        found
    }
}

impl Said {
    /// A command that must have succeeded, whatever it printed.
    ///
    /// # Panics
    /// When it failed.
    pub fn done(self) {
        drop(self.ok());
    }

    /// A command that must have failed with this code, and said why.
    ///
    /// # Panics
    /// When it did something else.
    pub fn done_with(self, code: i32) {
        assert!(!self.fails(code).is_empty(), "it failed without a word");
    }
}

/// Sends a signal to a process.
///
/// # Panics
/// When there is no such signal or process.
pub fn signal(pid: i32, number: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    let number = rustix::process::Signal::from_named_raw(number).expect("a signal");
    rustix::process::kill_process(pid, number).expect("the process is there");
}

/// Pid of a child as the kernel has it.
///
/// # Panics
/// Never on Linux.
#[must_use]
pub fn pid_of(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("a pid fits")
}

/// Reads from a pipe until `wanted` has appeared; returns what came so far.
///
/// # Panics
/// When the stream ends before.
pub fn read_until(stream: &mut impl std::io::Read, wanted: &str) -> String {
    let mut text = Vec::new();
    let mut one = [0];
    while !String::from_utf8_lossy(&text).contains(wanted) {
        let got = stream.read(&mut one).expect("readable");
        assert_ne!(got, 0, "ended before {wanted:?}: {:?}", String::from_utf8_lossy(&text));
        text.extend(one);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Packs a directory with `tar`, with these further arguments.
///
/// # Panics
/// When `tar` fails.
pub fn tar(directory: &Path, archive: &Path, further: &[&str]) {
    let done = std::process::Command::new("tar")
        .arg("-C")
        .arg(directory)
        .args(["--sort=name", "--owner=0", "--group=0"])
        .args(further)
        .arg("-cf")
        .arg(archive)
        .arg(".")
        .status();
    assert!(done.expect("tar starts").success());
}

/// Everything that is still in a stream.
///
/// # Panics
/// When it cannot be read.
pub fn rest(stream: &mut impl std::io::Read) -> String {
    let mut text = Vec::new();
    stream.by_ref().read_to_end(&mut text).expect("readable");
    String::from_utf8_lossy(&text).into_owned()
}
