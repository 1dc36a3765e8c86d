//! A host that is short of something: of ids, of space, of a kernel feature. One error, exit code 125, nothing left.

use std::process::{Command, Stdio};

use bulkhead_tests::kill::assert_no_range_is_held;
use bulkhead_tests::life::tar;
use bulkhead_tests::{Bench, Said, binary, is_root, skip};

/// Runs a script in a mount namespace of its own, with the program as `$B`; what it mounts ends with it.
fn apart(bench: &Bench, script: &str) -> Said {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]).envs(bench.env());
    command.env("B", binary()).env("D", bench.dir.path()).stdin(Stdio::null());
    command.output().expect("unshare starts").into()
}

#[test]
fn no_id_range_left() {
    if !is_root() {
        skip("no_id_range_left", "root: an ordinary user's containers share his one range");
        return;
    }
    let bench = Bench::new();
    // Somebody else has all of the pool: 32768 ranges from 0x70000000.
    std::fs::write(bench.path("subuid"), "other:1879048192:2147483648\n").unwrap();
    let said = apart(&bench, "mount --bind $D/subuid /etc/subuid && exec $B run --rm host true");
    let error = said.fails(125);
    for part in
        ["no id range of 65536 ids is left", "1879048192..", "32768 overlap /etc/subuid", "hint: ", "bulkhead rm"]
    {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    assert_eq!(error.lines().count(), 2, "{error}");
    bench.assert_empty();
    // One range is free, and two containers want it.
    std::fs::write(
        bench.path("subuid"),
        format!("other:{}:{}\n", 1_879_048_192_u32 + 65_536, 2_147_483_648_u32 - 65_536),
    )
    .unwrap();
    let script = "mount --bind $D/subuid /etc/subuid && $B run -d --name one host sleep 100 && ! $B run --rm host true && $B rm -f one && exec $B run --rm host true";
    let said = apart(&bench, script);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("1 slots are in use by containers, 32767 overlap"), "{}", said.err);
    bench.assert_empty();
    assert_no_range_is_held(&bench);
}

#[test]
fn a_full_disk_is_named_and_nothing_of_the_import_is_kept() {
    if !is_root() {
        skip("a_full_disk_is_named_and_nothing_of_the_import_is_kept", "root: the small disk has to be mounted");
        return;
    }
    let bench = Bench::new();
    let dir = bench.path("rootfs");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("large"), vec![b'x'; 30 << 20]).unwrap();
    tar(&dir, &bench.path("large.tar"), &[]);
    let script = "mkdir -m 700 $D/root && mount -t tmpfs -o size=16m,mode=700 none $D/root && \
        $B run --rm host true && df --output=used $D/root | tail -1; \
        $B import $D/large.tar large; echo code $?; ls -A $D/root/staging $D/root/layers; $B images -q; df --output=used $D/root | tail -1";
    let said = apart(&bench, script);
    assert!(said.out.contains("code 1\n"), "{said:?}");
    assert!(said.err.contains("No space left on device") && said.err.contains("large"), "{}", said.err);
    assert_eq!(said.err.lines().filter(|l| l.starts_with("bulkhead: ")).count(), 1, "{}", said.err);
    let used: Vec<u64> = said.out.lines().filter_map(|l| l.trim().parse().ok()).collect();
    assert_eq!(used.len(), 2, "{}", said.out);
    assert!(used[1] <= used[0] + 200, "the space is free again: {used:?}");
    let kept = said.out.lines().filter(|l| l.contains(".lock") || l.len() == 64).count();
    assert_eq!(kept, 0, "{}", said.out);
    // The container itself gets the same answer from the kernel, and the engine goes on.
    let script = "mkdir -p -m 700 $D/root && mount -t tmpfs -o size=16m,mode=700 none $D/root && \
        $B run --name full host sh -c 'head -c 30000000 /dev/zero > /opt/file || echo refused'; $B ps -a --format '{{.Status}}'; $B rm full; $B run --rm host echo again";
    let said = apart(&bench, script);
    assert!(said.err.contains("No space left on device"), "{said:?}");
    assert!(said.out.starts_with("refused\nExited (0)"), "{said:?}");
    assert!(said.out.ends_with("full\nagain\n"), "{said:?}");
}

/// Not even the records fit.
#[test]
fn a_disk_without_any_room_is_named() {
    if !is_root() {
        skip("a_disk_without_any_room_is_named", "root: the small disk has to be mounted");
        return;
    }
    let bench = Bench::new();
    let script = "mkdir -m 700 $D/root && mount -t tmpfs -o size=16m,mode=700 none $D/root && $B run --rm host true && \
        { head -c 30000000 /dev/zero > $D/root/ballast; $B run --rm host true; echo code $?; rm $D/root/ballast; $B run --rm host echo again; }; $B ps -aq; ls -A $D/root/containers $D/run/containers";
    let said = apart(&bench, script);
    assert!(said.out.contains("code 125\nagain\n"), "{said:?}");
    let errors: Vec<&str> = said.err.lines().filter(|l| l.starts_with("bulkhead: ")).collect();
    assert_eq!(errors.len(), 1, "{}", said.err);
    assert!(errors[0].contains("full") || errors[0].contains("No space left"), "{}", said.err);
    let left: Vec<&str> =
        said.out.lines().filter(|l| l.len() >= 12 && l.bytes().all(|b| b.is_ascii_hexdigit())).collect();
    assert!(left.is_empty(), "{}", said.out);
}

/// A kernel without a call: the step that needs it is named.
#[test]
fn a_missing_kernel_feature_is_named_with_its_step() {
    if !is_root() {
        skip("a_missing_kernel_feature_is_named_with_its_step", "root: newuidmap gets no privilege under ptrace");
        return;
    }
    let bench = Bench::new();
    bench.sh(&[], "true").done();
    for (call, error, words) in [
        ("mount_setattr", "ENOSYS", &["Function not implemented"][..]),
        ("fsopen", "ENOSYS", &["scratch", "Function not implemented"]),
        ("move_mount", "ENOSYS", &["Function not implemented"]),
        ("open_tree", "ENOSYS", &["Function not implemented"]),
        ("openat2", "ENOSYS", &["Function not implemented"]),
        ("pivot_root", "EPERM", &["root", "Operation not permitted"]),
        ("seccomp", "EINVAL", &["filter", "Invalid argument"]),
        ("clone3", "ENOSPC", &["make the namespaces", "max_user_namespaces"]),
        ("clone3", "EPERM", &["make the namespaces", "user namespaces"]),
        ("sethostname", "EPERM", &["host name", "Operation not permitted"]),
        // The first is a look whether there is one thread.
        ("unshare", "EPERM", &["one thread", "Operation not permitted"]),
    ] {
        for flags in [&["run", "--rm"][..], &["run", "-d"]] {
            let mut command = Command::new("strace");
            command.args(["-f", "-qq", "-o", "/dev/null", "-e"]).arg(format!("trace={call}"));
            command.arg("-e").arg(format!("inject={call}:error={error}")).arg(binary()).args(flags);
            let said: Said =
                command.args(["host", "true"]).envs(bench.env()).output().expect("strace is installed").into();
            let text = said.fails(125);
            assert!(text.starts_with("bulkhead: ") && text.lines().count() <= 2, "{call}: {text}");
            for word in words {
                assert!(text.contains(word), "{call}: no {word:?} in {text}");
            }
            bench.assert_empty();
        }
    }
    assert_no_range_is_held(&bench);
}
