//! Many containers of the OCI runtime in short order and side by side: no error, and nothing is left.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bulkhead_tests::is_root;
use bulkhead_tests::oci::Runtime;

const CYCLES: usize = 500;
const WORKERS: usize = 8;
const MOST: Duration = Duration::from_secs(60);

/// What the programs of these containers are found by.
const SLEEP: &str = "31536007";

/// One life; what went otherwise than it should.
fn life(runtime: &Runtime, bundle: &str, number: usize) -> Result<(), String> {
    let id = runtime.id(&number.to_string());
    let pid_file = runtime.path(&format!("pid-{number}"));
    let file = pid_file.to_string_lossy().into_owned();
    let must = |words: &[&str]| -> Result<String, String> {
        let said = runtime.say(words);
        if said.code == 0 { Ok(said.out) } else { Err(format!("{words:?}: {} {}", said.code, said.err)) }
    };
    must(&["create", "--bundle", bundle, "--pid-file", &file, &id])?;
    let pid = std::fs::read_to_string(&pid_file).map_err(|e| e.to_string())?;
    if number.is_multiple_of(5) {
        // Some are never started.
        must(&["delete", "--force", &id])?;
    } else {
        must(&["start", &id])?;
        must(&["kill", &id, "KILL"])?;
        let end = Instant::now() + Duration::from_secs(10);
        while !must(&["state", &id])?.contains("\"status\": \"stopped\"") {
            if Instant::now() > end {
                return Err(format!("{id} does not stop"));
            }
        }
        must(&["delete", &id])?;
    }
    // It is gone, and nobody has to collect it; its number may be another's by now.
    let cmdline = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    if cmdline.contains(SLEEP) { Err(format!("process {pid} of {id} is there")) } else { Ok(()) }
}

#[test]
fn five_hundred_lives_leave_nothing() {
    let runtime = Runtime::new();
    let bundle = runtime.bundle("bundle", &format!("exec sleep {SLEEP}"), |_| {});
    let bundle = bundle.to_string_lossy().into_owned();
    // What is looked for at the end is found where it is.
    runtime.say(&["create", "--bundle", &bundle, &runtime.id("seen")]).ok();
    let left = runtime.left().join("\n");
    for kind in ["state ", "process "].into_iter().chain(is_root().then_some("group ")) {
        assert!(left.contains(kind), "no {kind}in {left}");
    }
    runtime.say(&["delete", "--force", &runtime.id("seen")]).ok();
    let began = Instant::now();
    let next = AtomicUsize::new(0);
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            let numbers = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|n| *n < CYCLES));
            numbers.filter_map(|number| life(&runtime, &bundle, number).err()).collect::<Vec<_>>()
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let took = began.elapsed();
    eprintln!("{CYCLES} lives by {WORKERS} workers: {took:?}");
    assert!(wrong.is_empty(), "{} of {CYCLES}: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    assert_eq!(runtime.left(), [""; 0]);
    assert!(took < MOST, "{took:?}");
}
