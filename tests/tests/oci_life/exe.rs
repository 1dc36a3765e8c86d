//! The program of the runtime, as a container sees it whose process executes it (CVE-2019-5736).

use std::io::Write;
use std::process::{Child, Stdio};

use bulkhead_tests::oci::Runtime;
use bulkhead_tests::{Said, binary, eventually};
use serde_json::json;

/// Holds the file of the process whose command line begins with `$1`, and writes to it when a line comes.
const GRAB: &str = "for p in /proc/[0-9]*; do case \"$(tr '\\0' ' ' < $p/cmdline)\" in \"$1 \"*) exec 9< $p/exe; \
    (: >> $p/exe) 2>/dev/null && echo WRITTEN; echo held; read line; sleep 0.2; \
    (echo >> /proc/self/fd/9) 2>/dev/null && echo WRITTEN || echo refused; \
    (echo >> /data/again; exec 8<> /proc/self/fd/9) 2>/dev/null && echo WRITTEN; exit;; esac; done; echo nobody";

fn piped(runtime: &Runtime, words: &[&str]) -> Child {
    let mut command = runtime.command(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What a process in the container says that tries to write the program which `words` have executed there.
fn attack(runtime: &Runtime, name: &str, words: &[&str]) -> Said {
    let id = runtime.id("web");
    let mut victim = piped(runtime, &[&["exec", &id], words].concat());
    let there = || {
        let said = runtime.on("exec", "web", &["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]);
        said.out.contains(&words.join(" "))
    };
    assert!(eventually(10, there), "{words:?} does not run");
    let mut attacker = piped(runtime, &["exec", &id, "sh", "-c", GRAB, "sh", name]);
    std::thread::sleep(std::time::Duration::from_millis(500));
    // The victim ends: its file is no longer busy.
    drop(victim.stdin.take());
    victim.wait().unwrap();
    attacker.stdin.take().unwrap().write_all(b"go\n").unwrap();
    attacker.wait_with_output().unwrap().into()
}

#[test]
fn the_runtime_cannot_be_written_from_inside() {
    let runtime = Runtime::new();
    let before = std::fs::read(binary()).unwrap();
    std::fs::copy(runtime.path("rootfs/bin/busybox"), runtime.path("rootfs/data/cat")).unwrap();
    std::fs::write(runtime.path("rootfs/data/trap"), "#!/proc/self/exe\n").unwrap();
    std::fs::set_permissions(runtime.path("rootfs/data/trap"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    runtime.bundle("web", "exec sleep 300", |config| config["root"]["readonly"] = json!(false));
    runtime.create("web", &[]).ok();
    runtime.on("start", "web", &[]).ok();
    // Control: a program of the container's own is written so.
    let said = attack(&runtime, "/data/cat", &["/data/cat", "-"]);
    assert!(said.out.starts_with("held\nWRITTEN\n"), "the attack is blind: {said:?}");
    // It waits for its standard input.
    let own = ["/proc/self/exe", "oci", "--root", "/tmp", "update", "--resources", "-", "nobody"];
    let said = attack(&runtime, "/proc/self/exe", &own);
    assert_eq!(said.out, "held\nrefused\n", "{said:?}");
    // The first line of a script leads there, too.
    let said = runtime.on("exec", "web", &["/data/trap"]);
    assert_ne!(said.code, 0, "{said:?}");
    runtime.on("delete", "web", &["--force"]).ok();
    for program in ["/proc/self/exe", "/data/trap"] {
        let said = runtime.sh("", |config| config["process"]["args"] = json!([program, "--version"]));
        assert!([0, 1, 2, 125, 126, 127].contains(&said.code), "{said:?}");
    }
    assert!(std::fs::read(binary()).unwrap() == before, "the program was changed");
}
