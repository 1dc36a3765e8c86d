//! What a review of the first version found; each test is named after its cause.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bulkhead_tests::{Bench, binary, is_root};

/// Many hosts mount `/run` without leave to execute; the protected copy of the program lies there.
#[test]
fn a_run_directory_that_is_noexec_starts_containers() {
    if !is_root() {
        // An ordinary user's copy is in memory, and he has nothing to mount with.
        return;
    }
    let bench = Bench::new();
    let place = bench.path("noexec");
    fs::create_dir(&place).unwrap();
    let script = format!(
        "mount --make-rprivate / && mount -t tmpfs -o nosuid,nodev,noexec,mode=755 t {0} && \
         export BULKHEAD_ROOT={1} BULKHEAD_RUN={0}/r && {2} run --rm host echo ok && {2} run --rm --init host echo init",
        place.display(),
        bench.path("root").display(),
        binary().display()
    );
    let out = Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(said, "ok\ninit\n", "{}", String::from_utf8_lossy(&out.stderr));
}

/// The container decides how deep its tree is; a remover with a descriptor for each level ran out of them, and with it
/// every later command.
#[test]
fn a_tree_deeper_than_descriptors_can_be_removed() {
    let bench = Bench::new();
    let script = "cd /root; i=0; while [ $i -lt 600 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done";
    bench.say(&["run", "--name", "deep", "host", "sh", "-c", script]).ok();
    // With fewer descriptors than levels, as with the usual limit and a deeper tree.
    let words = format!("ulimit -n 100; exec {} rm deep", binary().display());
    let out = Command::new("sh").args(["-c", &words]).envs(bench.env()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(bench.say(&["ps", "-aq"]).ok(), "");
}

/// The end of the program is the end, whoever else holds its streams.
#[test]
fn a_child_left_behind_does_not_hold_exec() {
    let bench = Bench::new();
    bench.say(&["run", "-d", "--name", "web", "host", "sleep", "300"]).ok();
    let since = Instant::now();
    let said = bench.say(&["exec", "web", "sh", "-c", "setsid sleep 60 & echo out; exit 4"]);
    assert_eq!((said.code, said.out.as_str()), (4, "out\n"), "{}", said.err);
    assert!(since.elapsed() < Duration::from_secs(30), "exec waited for the child");
    bench.say(&["rm", "-f", "web"]).ok();
}

/// A command whose output nobody reads holds its program back, and nobody else.
#[test]
fn a_container_whose_reader_sleeps_can_be_stopped() {
    let bench = Bench::new();
    let mut attached = bench.command(&["run", "--name", "web", "host", "yes"]);
    let mut attached = attached.stdout(Stdio::piped()).spawn().unwrap();
    assert!(bulkhead_tests::eventually(20, || bench.say(&["ps", "-q"]).out.lines().count() == 1));
    // Long enough for every buffer on the way to be full.
    std::thread::sleep(Duration::from_millis(500));
    let since = Instant::now();
    bench.say(&["stop", "-t", "1", "web"]).ok();
    assert!(since.elapsed() < Duration::from_secs(30), "stop waited for the reader");
    assert_eq!(bench.say(&["ps", "-q"]).ok(), "");
    attached.kill().unwrap();
    attached.wait().unwrap();
    bench.say(&["rm", "web"]).ok();
}

/// A name can be pointed at another image while a container of the old one runs.
#[test]
fn exec_goes_by_the_image_that_the_container_was_made_of() {
    let bench = Bench::new();
    let import = |changes: &[&str], text: &str| {
        let tree = bench.path(text);
        fs::create_dir_all(tree.join("bin")).unwrap();
        fs::copy(binary(), tree.join("bin/bulkhead")).unwrap();
        fs::set_permissions(tree.join("bin/bulkhead"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(tree.join("mark"), text).unwrap();
        let tar = bench.path(&format!("{text}.tar"));
        let made = Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&tar).arg(".").status().unwrap();
        assert!(made.success());
        let tar = tar.to_string_lossy().into_owned();
        let mut words = vec!["import"];
        words.extend(changes.iter().flat_map(|c| ["-c", c]));
        words.extend([tar.as_str(), "shop/web:1"]);
        bench.say(&words).ok();
    };
    import(&[], "first");
    let words = [
        "run",
        "-d",
        "--name",
        "web",
        "-v",
        "/usr:/usr:ro,exec",
        "-v",
        "/lib64:/lib64:ro,exec",
        "-v",
        "/lib:/lib:ro,exec",
    ];
    bench.say(&[&words[..], &["shop/web:1", "/usr/bin/sleep", "100"]].concat()).ok();
    let running = bench.say(&["inspect", "-f", "{{.Image}}", "web"]).ok();
    import(&[], "second");
    let still = bench.say(&["inspect", "-f", "{{.Image}}", "web"]).ok();
    assert_eq!(running, still);
    bench.say(&["rmi", "shop/web:1"]).ok();
    // Neither the other image of that name nor its absence has a say.
    bench.say(&["exec", "web", "/bin/bulkhead", "version"]).ok();
    bench.say(&["rm", "-f", "web"]).ok();
}

/// The image `host` shows the machine's programs, not what only its root may read.
#[test]
fn files_of_the_hosts_root_stay_closed_in_the_image_host() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let out = bench.sh(&[], "stat -c %u /usr; test -w /usr || echo closed").ok();
    let unmapped = "65534\nclosed\n";
    assert_eq!(out, unmapped, "owners below /usr are the container's own");
}

/// A parent that is mounted later hides what was mounted below it.
#[test]
fn mounts_are_made_parents_first_whatever_the_order_of_the_flags() {
    let bench = Bench::new();
    let (parent, child) = (bench.path("parent"), bench.path("child"));
    fs::create_dir_all(parent.join("img")).unwrap();
    fs::create_dir(&child).unwrap();
    fs::write(child.join("in"), "x").unwrap();
    let (below, above) = (format!("{}:/s/img", child.display()), format!("{}:/s", parent.display()));
    assert_eq!(bench.sh(&["-v", &below, "-v", &above], "ls /s/img").ok(), "in\n");
}

/// A dry run makes nothing, also not the directory that `-v` would.
#[test]
fn a_dry_run_makes_no_bind_source() {
    let bench = Bench::new();
    let missing = bench.path("missing");
    let bind = format!("{}:/x", missing.display());
    let plan = bench.say(&["run", "--dry-run", "-v", &bind, "host", "true"]).ok();
    assert!(plan.contains("/x"), "{plan}");
    assert!(!missing.exists());
}

/// The name of a container that ends with `--rm` is free when `stop` returns.
#[test]
fn a_name_is_free_after_stop() {
    let bench = Bench::new();
    for _ in 0..3 {
        bench.say(&["run", "-d", "--rm", "--name", "web", "host", "sleep", "100"]).ok();
        bench.say(&["stop", "-t", "0", "web"]).ok();
    }
    assert_eq!(bench.say(&["ps", "-aq"]).ok(), "");
}
