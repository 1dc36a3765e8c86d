//! Engines that call the program as their runtime: Docker's daemon, containerd, podman.
//!
//! Every line is run twice, with runc and with this program, and both must say the same, so a line that the machine
//! cannot carry out is no reproach to either.

mod containerd;
mod docker;
mod podman;

use std::path::{Path, PathBuf};

use bulkhead_tests::binary;
use bulkhead_tests::session::Engine;

/// A line of bash, with `E` for the engine and `$R` for what chooses the runtime, and what it prints with its exit code
/// after it.
type Line = (&'static str, Said);

/// What is expected.
enum Said {
    /// This text.
    Text(&'static str),
    /// What runc's says.
    Same,
}

use Said::{Same, Text};

/// The program under the name by which it is a runtime.
fn runtime(directory: &Path) -> PathBuf {
    let link = directory.join("bulkhead-runc");
    if std::fs::symlink_metadata(&link).is_err() {
        std::os::unix::fs::symlink(binary(), &link).unwrap();
    }
    link
}

/// Runs all lines with one runtime, then with the other.
fn both(engine: &Engine, runtimes: [&str; 2], lines: &[Line]) {
    let mut wrong = Vec::new();
    let mut first = Vec::new();
    for (runtime, is_ours) in runtimes.into_iter().zip([false, true]) {
        for (number, (line, expected)) in lines.iter().enumerate() {
            let said = engine.bash(&engine.scratch, &format!("R='{runtime}'; {line}"));
            let text = format!("{}-> {}", said.out, said.code);
            match expected {
                Text(expected) if text != *expected => {
                    wrong.push(format!("{runtime}: {line}\n  said {text:?}\n  not  {expected:?}\n  {}", said.err));
                }
                Same if is_ours && first[number] != text => {
                    wrong.push(format!("{line}\n  said {text:?}\n  runc {:?}\n  {}", first[number], said.err));
                }
                _ => {}
            }
            first.push(text);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Packs an image of busybox in the form of `docker save`.
fn image(directory: &Path) -> PathBuf {
    let script = "set -e; mkdir -p r/bin r/etc r/tmp r/root r/data r/proc r/sys r/dev; cp \"$(command -v busybox)\" r/bin/busybox; \
        for a in $(r/bin/busybox --list); do [ $a = busybox ] || ln -s busybox r/bin/$a; done; \
        printf 'root:x:0:0:root:/root:/bin/sh\\napp:x:1000:1000:app:/:/bin/sh\\n' > r/etc/passwd; \
        printf 'root:x:0:\\napp:x:1000:\\n' > r/etc/group; echo data > r/bin/data; chmod 755 r/bin/busybox; \
        chmod 644 r/bin/data; chmod 1777 r/tmp; tar -C r --sort=name --owner=0 --group=0 -cf layer.tar .; \
        sum=$(sha256sum layer.tar | cut -d' ' -f1); case $(uname -m) in x86_64) arch=amd64;; *) arch=arm64;; esac; \
        printf '{\"architecture\":\"%s\",\"os\":\"linux\",\"config\":{\"Cmd\":[\"sh\"],\"Env\":[\"PATH=/bin\"]},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:%s\"]},\"history\":[{\"created\":\"2020-01-01T00:00:00Z\"}]}' $arch $sum > config.json; \
        printf '[{\"Config\":\"config.json\",\"RepoTags\":[\"localhost/box:latest\"],\"Layers\":[\"layer.tar\"]}]' > manifest.json; \
        tar -cf image.tar config.json manifest.json layer.tar; rm -r r layer.tar config.json manifest.json";
    let said = std::process::Command::new("bash").args(["-c", script]).current_dir(directory).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    directory.join("image.tar")
}

/// A shell word that runs the rest of the line's words in front of a terminal.
const TTY: &str = "tty() { script -qec \"$*\" /dev/null </dev/null | tr -d '\\r\\0' | sed 's/\\^@//g'; }; ";
