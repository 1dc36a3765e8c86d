//! The caller's terminal and the caller's keys.

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use bulkhead_tests::probe::{Lab, value};
use bulkhead_tests::{Said, binary, eventually, is_root};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A terminal that the test drives: a program with it as the controlling one, and what stayed in its input.
struct Screen {
    master: OwnedFd,
    slave: OwnedFd,
}

impl Screen {
    fn new() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        rustix::io::ioctl_fionbio(&master, true).unwrap();
        Self { master, slave }
    }

    /// Runs a command with this terminal to its end; what it wrote.
    fn run(&self, program: &std::path::Path, words: &[&str], env: &[(&'static str, std::path::PathBuf)]) -> Said {
        let end = || Stdio::from(self.slave.try_clone().unwrap());
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(program).args(words).envs(env.iter().map(|(k, v)| (*k, v)));
        let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let mut out = Vec::new();
        let mut status = None;
        let ended = eventually(20, || {
            let mut chunk = [0_u8; 4096];
            while let Ok(n @ 1..) = rustix::io::read(&self.master, &mut chunk) {
                out.extend_from_slice(&chunk[..n]);
            }
            if status.is_some() {
                return true;
            }
            status = child.try_wait().unwrap();
            false
        });
        if !ended {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let out = String::from_utf8_lossy(&out).replace('\r', "");
        Said { code: status.and_then(|s| s.code()).unwrap_or(-1), out, err: String::new() }
    }

    /// What a shell on this terminal would read next, without waiting.
    fn pending(&self) -> String {
        rustix::io::ioctl_fionbio(&self.slave, true).unwrap();
        let mut chunk = [0_u8; 4096];
        let mut text = Vec::new();
        while let Ok(n @ 1..) = rustix::io::read(&self.slave, &mut chunk) {
            text.extend_from_slice(&chunk[..n]);
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

const LINE: &str = "# typed-by-a-container\n";

/// Nothing inside can type into the terminal that started the container (CVE-2017-5226, CVE-2023-28100): not by the
/// request with junk in its upper half either (CVE-2019-10063).
#[test]
fn a_container_cannot_type_into_the_callers_terminal() {
    let lab = Lab::new();
    // Control: without a container in between it can, where the kernel still allows it.
    let screen = Screen::new();
    let typed = screen.run(&lab.bench.path("probe"), &["type", LINE], &[]);
    let legacy = std::fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti").unwrap_or_else(|_| "1".to_owned());
    if legacy.trim() == "1" {
        assert!(typed.out.contains("type 0 0 ok"), "{typed:?}");
        assert!(screen.pending().contains("typed-by"), "the probe is blind: {typed:?}");
    }

    lab.start("tt", &[], &["sleep", "60"]);
    let env = lab.bench.env();
    for words in [
        &["run", "--rm", "-it", "probe", "/probe", "type", LINE][..],
        &["run", "--rm", "-i", "probe", "/probe", "type", LINE],
        &["run", "--rm", "-it", "--profile", "compat", "probe", "/probe", "type", LINE],
        &["exec", "-it", "tt", "/probe", "type", LINE],
        &["exec", "tt", "/probe", "type", LINE],
    ] {
        let screen = Screen::new();
        let said = screen.run(&binary(), words, &env);
        assert_eq!(said.code, 0, "{words:?}: {said:?}");
        for line in said.out.lines().filter(|l| l.starts_with("type ") || l.starts_with("tioclinux ")) {
            assert!(line.ends_with(" EPERM") || line.ends_with(" EBADF"), "{words:?}: {line}");
        }
        assert!(said.out.contains("type 0 0 EPERM") && said.out.contains("type 0 1 EPERM"), "{words:?}: {said:?}");
        assert!(!screen.pending().contains("typed-by"), "{words:?}: a container typed");
    }
    // Also without the filter the terminal is another one.
    let screen = Screen::new();
    let words = ["run", "--rm", "-it", "--security-opt", "seccomp=unconfined", "probe", "/probe", "type", LINE];
    let said = screen.run(&binary(), &words, &env);
    assert!(!screen.pending().contains("typed-by"), "{said:?}");
    lab.remove("tt");
}

/// The console is the terminal that was made for the container, a session of its own (CVE-2025-52565).
#[test]
fn the_console_is_the_containers_own() {
    let lab = Lab::new();
    let screen = Screen::new();
    let said = screen.run(&binary(), &["run", "--rm", "-it", "probe", "/probe", "state"], &lab.bench.env());
    assert_eq!(said.code, 0, "{said:?}");
    let console = value(&said.out, "dev /dev/console").unwrap();
    let pts = value(&said.out, "dev /dev/pts/0").unwrap();
    assert_eq!(console.trim(), pts.trim(), "{said:?}");
    assert_eq!(value(&said.out, "session"), Some("1"));
}

/// Keys of the caller's session are out of reach, by name, by number and in `/proc/keys`.
#[test]
fn keys_of_the_caller_are_out_of_reach() {
    let lab = Lab::new();
    let probe = lab.bench.path("probe");
    let name = format!("bulkhead-canary-{}", std::process::id());
    let with_key = |words: &[&str]| -> Said {
        let mut c = Command::new(&probe);
        c.args(["with-key", &name]).args(words).envs(lab.bench.env()).stdin(Stdio::null());
        c.output().unwrap().into()
    };
    // Control: a program started directly finds it in every way.
    let seen = with_key(&[&probe.to_string_lossy(), "keys", &name, "@"]);
    if seen.code == 3 {
        return bulkhead_tests::skip("keys_of_the_caller_are_out_of_reach", "keyrings in this kernel");
    }
    let seen = seen.ok();
    for line in ["request-key ok", "search -3 ok", "read ok", "describe ok"] {
        assert!(seen.contains(line), "the probe is blind to {line}: {seen}");
    }
    assert!(seen.contains("with the canary"), "{seen}");

    let engine = binary();
    let engine = engine.to_string_lossy();
    with_key(&[&engine, "run", "-d", "--name", "kk", "probe", "/probe", "sleep", "60"]).done();
    let cases: [&[&str]; 5] = [
        &["run", "--rm", "probe", "/probe"],
        &["run", "--rm", "--init", "probe", "/probe"],
        &["run", "--rm", "--profile", "compat", "probe", "/probe"],
        &["run", "--rm", "--security-opt", "seccomp=unconfined", "probe", "/probe"],
        &["exec", "kk", "/probe"],
    ];
    for case in cases {
        let seen = with_key(&[&[&*engine], case, &["keys", &name, "@"]].concat()).ok();
        let open = case.contains(&"seccomp=unconfined");
        assert!(!seen.contains("with the canary"), "{case:?}: {seen}");
        for line in seen.lines().filter(|l| !l.starts_with("proc-keys")) {
            // The kernel shows the name of a key to its owner, who an ordinary user's container is. Its content it does not.
            let shown = open && !is_root() && line == "describe ok";
            assert!(shown || !line.ends_with(" ok"), "{case:?}: {line}");
            assert!(open || line.ends_with("EPERM") || line.ends_with("ENOSYS"), "{case:?}: {line}");
        }
    }
    if lab.many_ids() {
        let seen = with_key(&[&engine, "exec", "-u", "1000", "kk", "/probe", "keys", &name, "@"]).ok();
        assert!(!seen.contains(" ok") && !seen.contains("canary\n"), "{seen}");
    }
    lab.remove("kk");
}

/// Names and errors are shown without what drives a terminal: escape sequences of a command line stay text.
#[test]
fn escape_sequences_are_shown_as_text() {
    let lab = Lab::new();
    let evil = "\u{1b}]52;c;ZXZpbA==\u{7}\u{1b}[2J\u{9b}6n";
    lab.start("ee", &["-l", &format!("a={evil}"), "-e", &format!("A={evil}")], &["sleep", "60", evil]);
    let env = lab.bench.env();
    for words in [
        &["ps", "-a", "--no-trunc"][..],
        &["inspect", "ee"],
        &["explain", "ee"],
        &["inspect", evil],
        &["run", "--rm", evil],
        &["run", "--rm", "--name", evil, "probe"],
        &["exec", "ee", evil],
        &["rm", evil],
        &["logs", evil],
        &["run", "--rm", "-w", evil, "probe"],
    ] {
        let screen = Screen::new();
        let shown = screen.run(&binary(), words, &env).out;
        assert!(!shown.contains("\u{1b}]") && !shown.contains("\u{1b}[2J"), "{words:?}: {shown:?}");
        assert!(!shown.contains('\u{7}') && !shown.contains('\u{9b}'), "{words:?}: {shown:?}");
    }
    // Control: the terminal passes them on when a program writes them.
    let screen = Screen::new();
    let shown = screen.run(std::path::Path::new("/bin/echo"), &[evil], &[]).out;
    assert!(shown.contains("\u{1b}]52"), "{shown:?}");
    lab.remove("ee");
}
