//! The driver against a bus of the test's own, which speaks the protocol and answers as systemd does.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use super::wire::{self, Message, Value};
use super::*;

/// Answers to calls by name: an error's name, or a body.
type Answer = fn(&Message, usize) -> Result<Vec<Value>, &'static str>;

struct FakeBus {
    thread: JoinHandle<Vec<(String, Message)>>,
}

fn read_message(stream: &mut UnixStream) -> Option<Message> {
    let mut start = [0; 16];
    stream.read_exact(&mut start).ok()?;
    let mut bytes = start.to_vec();
    bytes.resize(Message::size(&start).unwrap(), 0);
    stream.read_exact(&mut bytes[16..]).ok()?;
    Some(Message::decode(&bytes).unwrap())
}

impl FakeBus {
    /// Every job ends with `result`, and its signal comes before the answer to the call that began it.
    fn new(answer: Answer, result: &'static str) -> (Bus, Self) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || {
            let mut line = [0; 16];
            theirs.read_exact(&mut line).unwrap();
            assert_eq!(&line, b"\0AUTH EXTERNAL\r\n");
            theirs.write_all(b"DATA\r\n").unwrap();
            let mut line = [0; 6];
            theirs.read_exact(&mut line).unwrap();
            theirs.write_all(b"OK 0123456789abcdef\r\n").unwrap();
            let mut line = [0; 7];
            theirs.read_exact(&mut line).unwrap();
            assert_eq!(&line, b"BEGIN\r\n");
            let mut calls = Vec::new();
            while let Some(call) = read_message(&mut theirs) {
                let member = call.field(wire::MEMBER).unwrap().to_owned();
                let before = calls.iter().filter(|(m, _): &&(String, Message)| *m == member).count();
                if member.ends_with("Unit") && member != "ResetFailedUnit" {
                    for job in ["/job/other", "/job/1"] {
                        let body = vec![
                            Value::U32(1),
                            Value::Path(job.into()),
                            call.body[0].clone(),
                            Value::Str(result.into()),
                        ];
                        let fields = [(wire::MEMBER, Value::Str("JobRemoved".into()))].into();
                        let signal = Message { kind: wire::SIGNAL, serial: 9, fields, body };
                        theirs.write_all(&signal.encode()).unwrap();
                    }
                }
                let to = (wire::REPLY_SERIAL, Value::U32(call.serial));
                let reply = match answer(&call, before) {
                    Ok(body) => Message { kind: wire::REPLY, serial: 5, fields: [to].into(), body },
                    Err(name) => Message {
                        kind: wire::ERROR,
                        serial: 5,
                        fields: [to, (wire::ERROR_NAME, Value::Str(format!("org.freedesktop.systemd1.{name}")))].into(),
                        body: vec![Value::Str("the reason".into())],
                    },
                };
                theirs.write_all(&reply.encode()).unwrap();
                calls.push((member, call));
            }
            calls
        });
        (Bus::of(ours).unwrap(), Self { thread })
    }

    /// What was called, when the connection is closed.
    fn calls(self) -> Vec<(String, Message)> {
        self.thread.join().unwrap()
    }
}

fn usual(call: &Message, _: usize) -> Result<Vec<Value>, &'static str> {
    match call.field(wire::MEMBER).unwrap() {
        "Hello" => Ok(vec![Value::Str(":1.5".into())]),
        "StartTransientUnit" | "StopUnit" => Ok(vec![Value::Path("/job/1".into())]),
        "ResetFailedUnit" => Err("NoSuchUnit"),
        _ => Ok(vec![]),
    }
}

fn unit() -> Unit {
    let resources = serde_json::from_str(r#"{"memory":{"limit":4096},"pids":{"limit":9}}"#).unwrap();
    Unit::of("box", "a-b.slice:p:n", &resources, &std::collections::BTreeMap::new(), (false, true, "/")).unwrap()
}

fn names(calls: &[(String, Message)]) -> Vec<&str> {
    calls.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn a_unit_is_started_changed_and_stopped() {
    let (mut bus, fake) = FakeBus::new(usual, "done");
    start(&mut bus, &unit(), 77).unwrap();
    set(&mut bus, "p-n.scope", &unit().resources, true).unwrap();
    set(&mut bus, "p-n.scope", &LinuxResources::default(), true).unwrap();
    stop(&mut bus, "p-n.scope").unwrap();
    drop(bus);
    let calls = fake.calls();
    let wanted = [
        "Hello",
        "AddMatch",
        "Subscribe",
        "StartTransientUnit",
        "SetUnitProperties",
        "AddMatch",
        "Subscribe",
        "StopUnit",
        "ResetFailedUnit",
    ];
    assert_eq!(names(&calls), wanted);
    let started = &calls[3].1;
    assert_eq!(started.field(wire::DESTINATION), Some("org.freedesktop.systemd1"));
    assert_eq!(started.field(wire::SIGNATURE), Some("ssa(sv)a(sa(sv))"));
    assert_eq!(started.body[..2], [Value::Str("p-n.scope".into()), Value::Str("replace".into())]);
    let Value::Array(_, properties) = &started.body[2] else { panic!("no properties") };
    let told = |name: &str, value: Value| {
        properties.contains(&Value::Struct(vec![Value::Str(name.into()), Value::Variant(Box::new(value))]))
    };
    assert!(told("PIDs", Value::Array("u".into(), vec![Value::U32(77)])));
    assert!(told("Slice", Value::Str("a-b.slice".into())) && told("Delegate", Value::Bool(true)));
    assert!(told("MemoryMax", Value::U64(4096)) && told("TasksMax", Value::U64(9)));
}

#[test]
fn a_unit_that_failed_before_is_cleared_away_once() {
    fn exists(call: &Message, before: usize) -> Result<Vec<Value>, &'static str> {
        match (call.field(wire::MEMBER).unwrap(), before) {
            ("StartTransientUnit", 0) => Err("UnitExists"),
            _ => usual(call, before),
        }
    }
    let (mut bus, fake) = FakeBus::new(exists, "done");
    start(&mut bus, &unit(), 1).unwrap();
    drop(bus);
    assert_eq!(names(&fake.calls())[3..], ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]);
}

#[test]
fn what_systemd_refuses_is_told() {
    let (mut bus, fake) = FakeBus::new(usual, "failed");
    let error = start(&mut bus, &unit(), 1).unwrap_err().to_string();
    assert!(error.contains("p-n.scope") && error.contains("failed"), "{error}");
    drop(bus);
    assert_eq!(names(&fake.calls()).last(), Some(&"ResetFailedUnit"));
    let (mut bus, fake) = FakeBus::new(
        |_, n| {
            if n == 0 {
                usual(&Message { fields: [(wire::MEMBER, Value::Str("Hello".into()))].into(), ..Message::default() }, 0)
            } else {
                Err("No")
            }
        },
        "done",
    );
    let error = set(&mut bus, "x", &unit().resources, true).and_then(|()| set(&mut bus, "x", &unit().resources, true));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("SetUnitProperties") && error.contains("the reason"), "{error}");
    drop(bus);
    fake.calls();
    let (mut bus, fake) = FakeBus::new(
        |c, n| if c.field(wire::MEMBER) == Some("StopUnit") { Err("NoSuchUnit") } else { usual(c, n) },
        "done",
    );
    stop(&mut bus, "gone.scope").unwrap();
    drop(bus);
    fake.calls();
}

#[test]
fn a_bus_that_breaks_off_or_lies_is_an_error() {
    for answer in
        [&b"REJECTED EXTERNAL\r\n"[..], b"", b"OK x\r\nl\x02\0\x01\xff\xff\xff\x7f\0\0\0\0\0\0\0\0", &[b'x'; 4000]]
    {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(answer).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(Bus::of(ours).is_err());
        drop(theirs);
    }
}

/// A bus of the machine, where there is one to run: the authentication and `Hello` are not the test's own idea of them.
#[test]
fn a_real_bus_lets_us_in() {
    use std::io::BufRead as _;
    let directory = std::env::temp_dir().join(format!("bulkhead-bus-{}", std::process::id()));
    let address = format!("unix:path={}", directory.join("bus").display());
    std::fs::create_dir_all(&directory).unwrap();
    let mut command = std::process::Command::new("dbus-daemon");
    command.args(["--session", "--nofork", "--nopidfile", "--print-address", "--address", &address]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    if let Ok(mut daemon) = command.spawn() {
        let mut line = String::new();
        std::io::BufReader::new(daemon.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let result = bus::open_at(line.trim())
            .and_then(|mut bus| bus.call(&bus::BUS, "NameHasOwner", vec![Value::Str("org.freedesktop.DBus".into())]));
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        assert_eq!(result.unwrap(), [Value::Bool(true)]);
    }
    std::fs::remove_dir_all(directory).unwrap();
}
