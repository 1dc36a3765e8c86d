use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::*;

/// A pump in a thread of its own, and the other ends of everything it holds.
struct Bench {
    monitor: UnixStream,
    stdin: Option<File>,
    stdout: File,
    stderr: File,
    pump: JoinHandle<Result<PumpEnd, AttachError>>,
}

fn pipe() -> (File, File) {
    let (read, write) = rustix::pipe::pipe().unwrap();
    (File::from(read), File::from(write))
}

fn options(stdin: bool, tty: bool) -> PumpOptions {
    PumpOptions {
        stdin,
        tty,
        forward_signals: true,
        detach_keys: PumpOptions::DETACH_KEYS.to_vec(),
        hidden: (false, false),
    }
}

fn start_on(stdin_read: OwnedFd, stdin: Option<File>, options: PumpOptions) -> Bench {
    let (client, monitor) = UnixStream::pair().unwrap();
    monitor.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let ((stdout, stdout_write), (stderr, stderr_write)) = (pipe(), pipe());
    let pump = thread::spawn(move || {
        let streams = Streams { stdin: stdin_read.as_fd(), stdout: stdout_write.as_fd(), stderr: stderr_write.as_fd() };
        pump_on(client.as_fd(), &streams, None, &options)
    });
    Bench { monitor, stdin, stdout, stderr, pump }
}

fn start(options: PumpOptions) -> Bench {
    let (read, write) = pipe();
    start_on(read.into(), Some(write), options)
}

impl Bench {
    fn say(&mut self, kind: Kind, payload: &[u8]) {
        let mut bytes = Vec::new();
        encode(kind, payload, &mut bytes);
        self.monitor.write_all(&bytes).unwrap();
    }

    fn hear(&mut self) -> (u8, Vec<u8>) {
        let mut header = [0; 5];
        self.monitor.read_exact(&mut header).unwrap();
        let length = u32::from_le_bytes(header[1..].try_into().unwrap());
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.monitor.read_exact(&mut payload).unwrap();
        (header[0], payload)
    }

    fn end(self) -> PumpEnd {
        self.pump.join().unwrap().unwrap()
    }
}

#[test]
fn output_and_exit_code_arrive_in_order() {
    let mut bench = start(options(false, false));
    bench.say(Kind::Started, &5u32.to_le_bytes());
    bench.say(Kind::Stdout, b"out");
    bench.say(Kind::Stderr, b"err");
    bench.say(Kind::Stdout, b"put");
    bench.say(Kind::Exited, &300u32.to_le_bytes());
    let (mut out, mut err) = (String::new(), String::new());
    bench.stdout.read_to_string(&mut out).unwrap();
    bench.stderr.read_to_string(&mut err).unwrap();
    assert_eq!((out.as_str(), err.as_str()), ("output", "err"));
    assert_eq!(bench.end(), PumpEnd::Exited(300));
}

#[test]
fn large_output_to_a_slow_reader_is_whole() {
    let mut bench = start(options(true, false));
    let data: Vec<u8> = (0..(1u32 << 20)).flat_map(|n| n.to_le_bytes()).collect();
    let mut monitor = bench.monitor.try_clone().unwrap();
    let sent = data.clone();
    let writer = thread::spawn(move || {
        for part in sent.chunks(1 << 20) {
            let mut frame = Vec::new();
            encode(Kind::Stdout, part, &mut frame);
            monitor.write_all(&frame).unwrap();
        }
        let mut frame = Vec::new();
        encode(Kind::Exited, &0u32.to_le_bytes(), &mut frame);
        monitor.write_all(&frame).unwrap();
    });
    // While the output stands still, input still flows.
    thread::sleep(Duration::from_millis(50));
    bench.stdin.as_mut().unwrap().write_all(b"hi").unwrap();
    assert_eq!(bench.hear(), (0, b"hi".to_vec()));
    let mut received = Vec::new();
    bench.stdout.read_to_end(&mut received).unwrap();
    assert!(received == data);
    writer.join().unwrap();
    assert_eq!(bench.end(), PumpEnd::Exited(0));
}

#[test]
fn large_input_to_a_slow_monitor_is_whole_and_its_end_is_said() {
    let mut bench = start(options(true, false));
    let data: Vec<u8> = (0..300_000u32).flat_map(|n| n.to_le_bytes()).collect();
    let (mut stdin, sent) = (bench.stdin.take().unwrap(), data.clone());
    let writer = thread::spawn(move || stdin.write_all(&sent).unwrap());
    thread::sleep(Duration::from_millis(50));
    // The monitor has not read yet; its output passes nevertheless.
    bench.say(Kind::Stdout, b"x");
    let mut one = [0];
    bench.stdout.read_exact(&mut one).unwrap();
    let mut received = Vec::new();
    loop {
        match bench.hear() {
            (0, mut part) => received.append(&mut part),
            (3, _) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(received == data);
    writer.join().unwrap();
    bench.say(Kind::Exited, &1u32.to_le_bytes());
    assert_eq!(bench.end(), PumpEnd::Exited(1));
}

#[test]
fn without_i_the_input_is_left_alone() {
    let mut bench = start(options(false, false));
    bench.stdin.as_mut().unwrap().write_all(b"hi").unwrap();
    thread::sleep(Duration::from_millis(30));
    bench.monitor.set_nonblocking(true).unwrap();
    assert_eq!(bench.monitor.read(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(bench.monitor);
    assert_eq!(bench.pump.join().unwrap().unwrap(), PumpEnd::Lost);
}

#[test]
fn a_failure_carries_its_words() {
    let mut bench = start(options(false, false));
    bench.say(Kind::Error, br#"{"message":"no such file","hint":"look","exit":127}"#);
    let failure = Failure { message: "no such file".into(), hint: Some("look".into()), exit: 127 };
    assert_eq!(bench.end(), PumpEnd::Failed(failure));
}

#[test]
fn a_monitor_that_breaks_the_protocol_is_an_error() {
    for (kind, payload) in [(Kind::Exited, &b"x"[..]), (Kind::Error, b"{"), (Kind::Stdin, b"x")] {
        let mut bench = start(options(false, false));
        bench.say(kind, payload);
        assert!(matches!(bench.pump.join().unwrap(), Err(AttachError::Frame(_))));
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_pump() {
    let mut bench = start(options(false, false));
    drop(std::mem::replace(&mut bench.stdout, File::open("/dev/null").unwrap()));
    bench.say(Kind::Stdout, b"x");
    assert_eq!(bench.end(), PumpEnd::OutputClosed);
}

#[test]
fn a_closed_stderr_is_no_reason_to_stop() {
    let mut bench = start(options(false, false));
    drop(std::mem::replace(&mut bench.stderr, File::open("/dev/null").unwrap()));
    bench.say(Kind::Stderr, &[b'x'; 10_000]);
    bench.say(Kind::Stdout, b"still here");
    bench.say(Kind::Exited, &0u32.to_le_bytes());
    let mut out = String::new();
    bench.stdout.read_to_string(&mut out).unwrap();
    assert_eq!(out, "still here");
    assert_eq!(bench.end(), PumpEnd::Exited(0));
}

/// A pseudo terminal: (our side, its keyboard and screen).
fn terminal() -> (OwnedFd, File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&keyboard).unwrap();
    unlockpt(&keyboard).unwrap();
    let name = ptsname(&keyboard, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let ours = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
    (ours, File::from(keyboard))
}

#[test]
fn a_terminal_is_raw_meanwhile_and_its_size_is_told() {
    let (ours, keyboard) = terminal();
    let size = rustix::termios::Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&ours, size).unwrap();
    // The terminal lives as long as somebody holds its keyboard.
    let (watch, _held) = (ours.try_clone().unwrap(), keyboard.try_clone().unwrap());
    let canonical = |fd: &OwnedFd| {
        let modes = rustix::termios::tcgetattr(fd).unwrap().local_modes;
        modes.contains(rustix::termios::LocalModes::ICANON)
    };
    assert!(canonical(&watch));
    let mut bench = start_on(ours, Some(keyboard), options(true, true));
    assert_eq!(bench.hear(), (4, vec![24, 0, 80, 0]));
    assert!(!canonical(&watch));
    bench.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    assert_eq!(bench.hear(), (0, vec![3]));
    bench.say(Kind::Exited, &0u32.to_le_bytes());
    assert_eq!(bench.end(), PumpEnd::Exited(0));
    assert!(canonical(&watch));
}

#[test]
fn the_detach_keys_leave_the_container_running() {
    let (ours, keyboard) = terminal();
    let size = rustix::termios::Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&ours, size).unwrap();
    let mut bench = start_on(ours, Some(keyboard), options(true, true));
    // The size comes after the switch to raw mode: before it the terminal would keep ctrl-q for itself.
    assert_eq!(bench.hear().0, 4);
    bench.stdin.as_mut().unwrap().write_all(b"ls\x10\x11").unwrap();
    assert_eq!(bench.hear(), (0, b"ls".to_vec()));
    assert_eq!(bench.hear(), (9, Vec::new()));
    assert_eq!(bench.end(), PumpEnd::Detached);
}
