//! Directories of the host in a container: who owns what on both sides, and what may be done with it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;

use bulkhead_tests::{Bench, is_root};

fn data(bench: &Bench) -> (PathBuf, String) {
    let dir = bench.path("data");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("given"), "of the host\n").unwrap();
    let text = dir.to_str().unwrap().to_owned();
    (dir, text)
}

#[test]
fn files_made_inside_belong_to_the_caller_outside_and_the_reverse() {
    let bench = Bench::new();
    let (dir, source) = data(&bench);
    let me = rustix::process::geteuid().as_raw();
    let spec = format!("{source}:/data");
    let out =
        bench.sh(&["-v", &spec], "stat -c '%u %g' /data /data/given; cat /data/given; echo new > /data/made").ok();
    assert_eq!(out, "0 0\n0 0\nof the host\n");
    let made = fs::metadata(dir.join("made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (me, rustix::process::getegid().as_raw()));
    assert_eq!(fs::read_to_string(dir.join("made")).unwrap(), "new\n");
    let long = format!("type=bind,source={source},target=/data");
    assert_eq!(bench.sh(&["--mount", &long], "cat /data/made").ok(), "new\n");
    bench.assert_empty();
}

#[test]
fn other_owners_are_the_same_numbers_on_both_sides() {
    let bench = Bench::new();
    if !is_root() {
        // The ids of other users are nobody's inside: the kernel shows the overflow id, and takes no change.
        let out = bench
            .sh(&["-v", "/etc:/there:ro"], "stat -c %u /there/passwd; touch /there/passwd 2>/dev/null || echo no")
            .ok();
        assert_eq!(out, "65534\nno\n");
        return;
    }
    let (dir, source) = data(&bench);
    chown(dir.join("given"), Some(1234), Some(4321)).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    let spec = format!("{source}:/data");
    let out = bench.sh(&["-v", &spec, "-u", "77:88"], "stat -c '%u %g' /data/given; touch /data/made").ok();
    assert_eq!(out, "1234 4321\n");
    let made = fs::metadata(dir.join("made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (77, 88));
    bench.sh(&["-v", &spec], "chown 500:600 /data/made").done();
    let made = fs::metadata(dir.join("made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (500, 600));
}

#[test]
fn read_only_and_no_programs_unless_asked() {
    let bench = Bench::new();
    let (dir, source) = data(&bench);
    fs::copy("/bin/true", dir.join("program")).unwrap();
    let spec = |options: &str| format!("{source}:/data{options}");
    let write = "touch /data/x 2>/dev/null && echo wrote || echo refused";
    assert_eq!(bench.sh(&["-v", &spec(":ro")], write).ok(), "refused\n");
    assert_eq!(bench.sh(&["--mount", &format!("type=bind,src={source},dst=/data,readonly")], write).ok(), "refused\n");
    assert!(!dir.join("x").exists());
    assert_eq!(bench.sh(&["-v", &spec(":rw")], write).ok(), "wrote\n");
    let start = "/data/program && echo started || echo refused";
    assert_eq!(bench.sh(&["-v", &spec("")], &format!("({start}) 2>/dev/null")).ok(), "refused\n");
    assert_eq!(bench.sh(&["-v", &spec(":exec")], start).ok(), "started\n");
    assert_eq!(bench.sh(&["-v", &spec(":ro,exec")], start).ok(), "started\n");
    // A set-user-id program of the host gives nothing.
    fs::set_permissions(dir.join("program"), fs::Permissions::from_mode(0o4755)).unwrap();
    assert_eq!(bench.sh(&["-v", &spec(":exec")], "grep -c ' /data .*nosuid,nodev' /proc/mounts").ok(), "1\n");
}

#[test]
fn one_file_can_be_given() {
    let bench = Bench::new();
    let (dir, source) = data(&bench);
    let spec = format!("{source}/given:/opt/conf/file");
    assert_eq!(
        bench.sh(&["-v", &spec], "cat /opt/conf/file; echo more >> /opt/conf/file; ls /opt/conf").ok(),
        "of the host\nfile\n"
    );
    assert_eq!(fs::read_to_string(dir.join("given")).unwrap(), "of the host\nmore\n");
}

#[test]
fn a_missing_source_is_made_with_v_and_an_error_with_mount() {
    let bench = Bench::new();
    let missing = bench.path("not/yet");
    let text = missing.to_str().unwrap();
    let error = bench.sh(&["--mount", &format!("type=bind,src={text},dst=/data")], "true").fails(125);
    assert!(error.contains(text) && error.contains("No such file"), "{error}");
    assert!(!missing.exists());
    bench.sh(&["-v", &format!("{text}:/data")], "touch /data/x").done();
    assert!(missing.join("x").exists());
    bench.assert_empty();
}

/// A link in the image must not carry a mount out of the root.
#[test]
fn mount_points_below_links_stay_inside() {
    let bench = Bench::new();
    let (_, source) = data(&bench);
    // `/var/run` is a link to `/run` in the image.
    let out = bench.sh(&["-v", &format!("{source}:/var/run/data")], "ls /run/data").ok();
    assert_eq!(out, "given\n");
}

/// Links in a source are followed as the caller, once; what they lead to is what is mounted.
#[test]
fn a_source_that_is_a_link_to_a_refused_place_is_refused() {
    let bench = Bench::new();
    let link = bench.path("link");
    for place in ["/", "/proc", "/sys/fs", "/dev"] {
        drop(fs::remove_file(&link));
        symlink(place, &link).unwrap();
        let error = bench.sh(&["-v", &format!("{}:/x", link.display())], "true").fails(125);
        assert!(error.contains("refused"), "{error}");
    }
    bench.assert_empty();
}

#[test]
fn two_containers_can_share_a_directory() {
    let bench = Bench::new();
    let (_, source) = data(&bench);
    let spec = format!("{source}:/data");
    bench.start(
        &["--name", "reader", "-v", &format!("{spec}:ro")],
        "until grep -s hello /data/note; do sleep 0.05; done",
    );
    bench.sh(&["-v", &spec], "echo hello > /data/note").done();
    assert!(bulkhead_tests::eventually(5, || bench.state("reader").0 == "exited"));
    assert_eq!(bench.say(&["logs", "reader"]).ok(), "hello\n");
}

/// Mounts of the host below a source do not come along, and none of ours goes out.
#[test]
fn mounts_are_private() {
    let bench = Bench::new();
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let (_, source) = data(&bench);
    bench.start(&["--name", "one", "-v", &format!("{source}:/data"), "--tmpfs", "/m"], "sleep 100");
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    let shared = bench.say(&["exec", "one", "sh", "-c", "grep -c 'shared:\\|master:' /proc/self/mountinfo"]);
    assert_eq!(shared.out, "0\n");
}
