//! Signals on their way through the pump. Without the test harness, because its threads would take the signals: this
//! process has one thread until they are blocked.

#![expect(clippy::unwrap_used, reason = "a test; clippy knows only those with a harness")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;

use bulkhead_cli::attach::{Kind, PumpEnd, PumpOptions, Streams, encode, pump_on};
use bulkhead_sys::signal::SignalFd;
use rustix::process::{Signal, getpid, kill_process};

fn main() {
    let signals = SignalFd::new(&[Signal::USR1.as_raw(), Signal::TERM.as_raw()]).unwrap();
    let null = File::open("/dev/null").unwrap();
    let streams = Streams { stdin: null.as_fd(), stdout: null.as_fd(), stderr: null.as_fd() };
    let forward = PumpOptions {
        stdin: false,
        tty: false,
        forward_signals: true,
        detach_keys: Vec::new(),
        hidden: (false, false),
    };

    let (client, mut monitor) = UnixStream::pair().unwrap();
    kill_process(getpid(), Signal::USR1).unwrap();
    kill_process(getpid(), Signal::TERM).unwrap();
    let hear = thread::spawn(move || {
        let mut heard = [0; 12];
        monitor.read_exact(&mut heard).unwrap();
        let mut frame = Vec::new();
        encode(Kind::Exited, &9u32.to_le_bytes(), &mut frame);
        monitor.write_all(&frame).unwrap();
        heard
    });
    let end = pump_on(client.as_fd(), &streams, Some(&signals), &forward).unwrap();
    assert_eq!(end, PumpEnd::Exited(9), "the program's exit code comes after the signals");
    assert_eq!(hear.join().unwrap(), [5, 1, 0, 0, 0, 10, 5, 1, 0, 0, 0, 15], "both signals, as frames");

    // Not passed on, a signal ends the pump and not the process.
    let (client, _monitor) = UnixStream::pair().unwrap();
    kill_process(getpid(), Signal::TERM).unwrap();
    let alone = PumpOptions { forward_signals: false, ..forward };
    let end = pump_on(client.as_fd(), &streams, Some(&signals), &alone).unwrap();
    assert_eq!(end, PumpEnd::Interrupted(Signal::TERM.as_raw()));
}
