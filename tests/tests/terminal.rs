//! `-t` with a real terminal on our side: size, keys, detaching, and what is left of the terminal afterwards.

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use bulkhead_tests::life::{pid_of, signal, tar};
use bulkhead_tests::{Bench, binary, eventually};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

const ROWS: u16 = 33;
const COLUMNS: u16 = 97;

/// A terminal with the program in front of it.
struct Screen {
    keyboard: OwnedFd,
    terminal: OwnedFd,
    child: Child,
    seen: Vec<u8>,
}

fn winsize(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Screen {
    fn start(bench: &Bench, words: &[&str]) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let terminal = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
        tcsetwinsize(&terminal, winsize(ROWS, COLUMNS)).unwrap();
        // It makes the terminal the program's own, as a login does, and becomes the program.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(binary()).args(words).envs(bench.env());
        let stream = || terminal.try_clone().unwrap();
        let child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        Self { keyboard, terminal, child, seen: Vec::new() }
    }

    fn type_in(&self, mut keys: &[u8]) {
        while !keys.is_empty() {
            let written = rustix::io::write(&self.keyboard, keys).unwrap();
            keys = &keys[written..];
        }
    }

    /// Reads what is on the screen for at most this long; false when there was nothing.
    fn read(&mut self, patience: Duration) -> bool {
        let mut polled = [PollFd::from_borrowed_fd(self.keyboard.as_fd(), PollFlags::IN)];
        let wait = Timespec { tv_sec: 0, tv_nsec: i64::try_from(patience.as_nanos()).unwrap() };
        if poll(&mut polled, Some(&wait)).unwrap() == 0 {
            return false;
        }
        let mut chunk = [0; 65_536];
        let got = rustix::io::read(&self.keyboard, &mut chunk).unwrap();
        self.seen.extend(&chunk[..got]);
        true
    }

    /// Waits until `wanted` is on the screen, and forgets everything up to it.
    fn expect(&mut self, wanted: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(at) = self.seen.windows(wanted.len()).position(|w| w == wanted.as_bytes()) {
                self.seen.drain(..at + wanted.len());
                return;
            }
            assert!(Instant::now() < deadline, "no {wanted:?}: {:?}", String::from_utf8_lossy(&self.seen));
            self.read(Duration::from_millis(100));
        }
    }

    fn end(&mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            self.read(Duration::from_millis(20));
            if let Some(status) = self.child.try_wait().unwrap() {
                while self.read(Duration::from_millis(20)) {}
                return status.code();
            }
        }
        panic!("it did not end: {:?}", String::from_utf8_lossy(&self.seen));
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.terminal).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It has ended, unless the test failed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn tables_fit_the_terminal_and_no_trunc_cuts_nothing() {
    let bench = Bench::new();
    let (comment, name) = ("c".repeat(120), "n".repeat(120));
    let (dir, archive) = (bench.path("rootfs"), bench.path("rootfs.tar"));
    std::fs::create_dir_all(dir.join("etc")).unwrap();
    tar(&dir, &archive, &[]);
    bench.say(&["import", "-m", &comment, archive.to_str().unwrap(), &format!("x/{name}")]).ok();
    bench.start(&["--name", &name], "sleep 100");
    let shows = |words: &[&str], wanted: &str| {
        let mut screen = Screen::start(&bench, words);
        assert_eq!(screen.end(), Some(0), "{words:?}");
        String::from_utf8_lossy(&screen.seen).contains(wanted)
    };
    let image = format!("x/{name}");
    // The first column, by which things are found again, is never cut: nothing of `images` is.
    for (words, wanted) in [(&["ps"][..], &name), (&["history", &image], &comment), (&["stats", "--no-stream"], &name)]
    {
        let whole = [words, &["--no-trunc"]].concat();
        assert!(!shows(words, wanted), "{words:?} is cut");
        assert!(shows(&whole, wanted), "{whole:?} is not cut");
    }
}

#[test]
fn the_program_has_a_terminal_of_our_size() {
    let bench = Bench::new();
    let script = "test -t 0 && test -t 1 && test -t 2 && echo all; echo $TERM; stty size; tty";
    let mut screen = Screen::start(&bench, &["run", "--rm", "-it", "host", "sh", "-c", script]);
    screen.expect("all\r\nxterm\r\n33 97\r\n/dev/");
    assert_eq!(screen.end(), Some(0));
    assert!(!screen.is_raw());
    bench.assert_empty();
}

#[test]
fn a_new_size_reaches_the_program() {
    let bench = Bench::new();
    let script = "trap 'stty size' WINCH; echo on; while :; do sleep 0.05; done";
    let mut screen = Screen::start(&bench, &["run", "--rm", "-it", "--name", "one", "host", "sh", "-c", script]);
    screen.expect("on\r\n");
    for (rows, columns) in [(50, 120), (10, 20)] {
        tcsetwinsize(&screen.keyboard, winsize(rows, columns)).unwrap();
        screen.expect(&format!("{rows} {columns}\r\n"));
    }
    bench.say(&["kill", "one"]).done();
    assert_eq!(screen.end(), Some(137));
}

#[test]
fn control_c_interrupts_inside() {
    let bench = Bench::new();
    for init in [&[][..], &["--init"]] {
        let script = "trap 'echo int; exit 9' INT; echo on; while :; do sleep 0.05; done";
        let words = [&["run", "--rm", "-it"], init, &["host", "sh", "-c", script]].concat();
        let mut screen = Screen::start(&bench, &words);
        screen.expect("on\r\n");
        assert!(screen.is_raw());
        screen.type_in(b"\x03");
        screen.expect("int\r\n");
        assert_eq!(screen.end(), Some(9));
        assert!(!screen.is_raw());
    }
    bench.assert_empty();
}

#[test]
fn a_shell_has_job_control_and_ends_with_control_d() {
    let bench = Bench::new();
    let mut screen =
        Screen::start(&bench, &["run", "--rm", "-it", "-e", "PS1=ready> ", "host", "bash", "--norc", "-i"]);
    screen.expect("ready> ");
    screen.type_in(b"sleep 100\r");
    screen.expect("sleep 100");
    std::thread::sleep(Duration::from_millis(200));
    screen.type_in(b"\x1a");
    screen.expect("Stopped");
    screen.type_in(b"jobs -l; kill %1; echo no job control | grep -c access\r");
    screen.expect("Stopped");
    screen.expect("ready> ");
    screen.type_in(b"\x04");
    assert!(screen.end().is_some());
    assert!(!String::from_utf8_lossy(&screen.seen).contains("cannot set terminal"));
    bench.assert_empty();
}

#[test]
fn the_detach_keys_leave_it_running() {
    let bench = Bench::new();
    let script = "echo on; while read line; do echo \"got $line\"; done";
    let mut screen = Screen::start(&bench, &["run", "-it", "--name", "one", "host", "sh", "-c", script]);
    screen.expect("on\r\n");
    // The first key alone, and what follows, are the program's.
    screen.type_in(b"a\x10b\r");
    screen.expect("got a\x10b\r\n");
    screen.type_in(b"\x10\x11");
    assert!(screen.end().is_some());
    assert!(!screen.is_raw());
    assert_eq!(bench.state("one").0, "running");
    assert!(bench.say(&["logs", "one"]).ok().contains("got a"));
    bench.say(&["rm", "-f", "one"]).done();
    bench.assert_empty();
}

#[test]
fn exec_has_a_terminal_of_its_own() {
    let bench = Bench::new();
    bench.start(&["--name", "one"], "sleep 100");
    let script = "stty size; tty; echo on; read line; echo \"got $line\"; exit 6";
    let mut screen = Screen::start(&bench, &["exec", "-it", "one", "sh", "-c", script]);
    screen.expect("33 97\r\n/dev/pts/");
    screen.expect("on\r\n");
    screen.type_in(b"word\r");
    screen.expect("got word\r\n");
    assert_eq!(screen.end(), Some(6));
    assert!(!screen.is_raw());
    // Detaching from an exec leaves its program running.
    let mut screen = Screen::start(&bench, &["exec", "-it", "one", "sh", "-c", "echo on; sleep 0.5; touch /opt/lived"]);
    screen.expect("on\r\n");
    screen.type_in(b"\x10\x11");
    assert!(screen.end().is_some());
    assert!(eventually(5, || bench.say(&["exec", "one", "test", "-e", "/opt/lived"]).code == 0));
}

#[test]
fn every_byte_that_goes_in_or_out_arrives() {
    const IN: usize = 300_000;
    const OUT: usize = 2_000_000;
    let bench = Bench::new();
    let script =
        format!("stty raw -echo; printf ready; head -c {IN} | cksum; head -c {OUT} /dev/zero | tr '\\0' y; printf end");
    let mut screen = Screen::start(&bench, &["run", "--rm", "-it", "host", "sh", "-c", &script]);
    screen.expect("ready");
    // Every byte but those of the detach keys.
    let input: Vec<u8> = (0..=255_u8).filter(|b| !matches!(b, 0x10 | 0x11)).cycle().take(IN).collect();
    let file = bench.path("input");
    std::fs::write(&file, &input).unwrap();
    for part in input.chunks(1000) {
        screen.type_in(part);
    }
    let sum = Command::new("cksum").stdin(std::fs::File::open(&file).unwrap()).output().unwrap();
    screen.expect(String::from_utf8(sum.stdout).unwrap().trim());
    assert_eq!(screen.end(), Some(0));
    let out = screen.seen.iter().filter(|b| **b == b'y').count();
    assert_eq!(out, OUT);
    assert!(screen.seen.ends_with(b"end"));
    assert!(!screen.is_raw());
}

#[test]
fn the_terminal_is_restored_however_it_ends() {
    let bench = Bench::new();
    // It never started.
    let mut screen = Screen::start(&bench, &["run", "--rm", "-it", "host", "/no/such/program"]);
    assert_eq!(screen.end(), Some(127));
    assert!(!screen.is_raw());
    // Its monitor was killed.
    let mut screen = Screen::start(&bench, &["run", "-it", "--name", "one", "host", "sh", "-c", "echo on; sleep 100"]);
    screen.expect("on\r\n");
    assert!(screen.is_raw());
    let id = bench.look("one", "/Id");
    let state = std::fs::read(bench.path("run/containers").join(id.as_str().unwrap()).join("state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    signal(i32::try_from(state["monitor"].as_i64().unwrap()).unwrap(), 9);
    assert_eq!(screen.end(), Some(125));
    assert!(!screen.is_raw(), "{:?}", String::from_utf8_lossy(&screen.seen));
    assert!(eventually(5, || bench.state("one").0 == "exited"));
    // The window is closed: the container gets the hang-up and what it does is its business.
    let script = "trap 'echo hup; exit 3' HUP; echo on; while :; do sleep 0.05; done";
    let mut screen = Screen::start(&bench, &["run", "-it", "--name", "two", "host", "sh", "-c", script]);
    screen.expect("on\r\n");
    signal(pid_of(&screen.child), 1);
    assert_eq!(screen.end(), Some(3));
    assert!(!screen.is_raw());
}

#[test]
fn a_terminal_is_asked_for_and_there_is_none() {
    let bench = Bench::new();
    let (_, said) = bench.feed(&["run", "--rm", "-it", "host", "true"], b"");
    // As Docker: 1.
    let error = said.fails(1);
    assert!(error.contains("terminal") && error.lines().count() <= 2, "{error}");
    bench.assert_empty();
    // Without -i only the output is a terminal inside, and ours may be a file.
    let out = bench.say(&["run", "--rm", "-t", "host", "sh", "-c", "test -t 1 && echo yes"]).ok();
    assert_eq!(out, "yes\r\n");
    // Detached it has one too, which nobody watches.
    bench.start(&["-t", "--name", "one"], "test -t 0 && echo yes; sleep 100");
    assert!(eventually(5, || bench.say(&["logs", "one"]).out == "yes\r\n"));
}
