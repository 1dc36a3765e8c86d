//! `create` is killed at any moment: what it has made is found and removed by the next `delete --force`.

use std::time::Duration;

use bulkhead_tests::eventually;
use bulkhead_tests::oci::Runtime;

const TRIES: u64 = 60;

#[test]
fn a_create_that_is_killed_leaves_nothing_after_delete() {
    let runtime = Runtime::new();
    let bundle = runtime.bundle("web", "exec sleep 300", |_| {}).to_string_lossy().into_owned();
    let id = runtime.id("web");
    // How long a whole one takes here.
    let began = std::time::Instant::now();
    runtime.create("web", &[]).ok();
    let whole = began.elapsed();
    runtime.on("delete", "web", &["--force"]).ok();
    // The machine may be slower now and faster then: the range of moments follows what is met.
    let mut range = whole;
    let (mut early, mut late) = (0_u64, 0_u64);
    let mut number = 0;
    while number < TRIES || (number < 10 * TRIES && (early <= 5 || late == 0)) {
        let mut command = runtime.command(&["create", "--bundle", &bundle, &id]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        let part = (number * 37 % TRIES) as f64 / TRIES as f64;
        std::thread::sleep(range.mul_f64(part) + Duration::from_micros(number * 37 % 500));
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            late += 1;
            range = range.mul_f64(0.9);
        } else {
            early += 1;
            range = range.mul_f64(1.1);
        }
        number += 1;
        runtime.on("delete", "web", &["--force"]).ok();
        // A child that was not yet known ends with its parent; the kernel takes a moment to clear it away.
        let gone = eventually(5, || runtime.left().is_empty());
        assert!(gone, "killed after {number}: {:#?}", runtime.left());
    }
    assert!(early > 5 && late > 0, "{early} were killed, {late} were not, of {whole:?}");
}
