//! podman, as root and as an ordinary user: `--runtime`.

use std::path::Path;
use std::process::Command;

use bulkhead_tests::session::Engine;
use bulkhead_tests::{Said, is_root, skip};

use super::{Line, Same, TTY, Text, both, image, runtime};

const LINES: &[Line] = &[
    ("E $R run --rm $N $I echo hello", Text("hello\n-> 0")),
    ("echo piped | E $R run --rm -i $N $I cat", Text("piped\n-> 0")),
    ("E $R run --rm $N $I sh -c 'exit 4'", Text("-> 4")),
    ("E $R run --rm $N $I nosuch", Text("-> 127")),
    ("E $R run --rm $N $I /bin/data", Text("-> 126")),
    (
        "E $R run -d --name web $N --health-cmd 'echo fine' --health-interval disable $I sleep 300 | wc -c",
        Text("65\n-> 0"),
    ),
    ("E $R exec web sh -c 'echo in; exit 6'", Text("in\n-> 6")),
    ("E $R exec web nosuch", Text("-> 127")),
    ("E $R exec -u app -w /data -e A=B web sh -c 'id -un; pwd; echo $A'", Text("app\n/data\nB\n-> 0")),
    ("E $R healthcheck run web; E $R inspect -f '{{.State.Health.Status}}' web", Text("healthy\n-> 0")),
    ("E $R top web pid comm | sed 1d | wc -l", Text("1\n-> 0")),
    (
        "E $R kill -s USR1 web; E $R stop -t 0 web; E $R inspect -f '{{.State.ExitCode}}' web",
        Text("web\nweb\n137\n-> 0"),
    ),
    ("E $R start web; E $R rm -f -t 0 web", Text("web\nweb\n-> 0")),
    ("E $R run --rm $N --privileged $I sh -c 'mount -t tmpfs x /tmp && echo mounted'", Text("mounted\n-> 0")),
    (
        "E $R run --rm $N --read-only --user app --cap-drop all --tmpfs /run --hostname hh $I sh -c 'touch /x; id; hostname; \
         grep -E \"^(Cap|NoNewP|Seccomp:)\" /proc/self/status'",
        Same,
    ),
    ("E $R run --rm $N --pid host $I sh -c 'ls -d /proc/[0-9]* | wc -l' | awk '{ print ($1 > 3) }'", Text("1\n-> 0")),
    ("E $R ps -aq", Text("-> 0")),
];

/// What needs control groups.
const LIMITS: &[Line] = &[
    ("E $R run -d --name web $N --memory 50m $I sleep 300 | wc -c", Text("65\n-> 0")),
    ("E $R stats --no-stream --format '{{.PIDs}} {{.MemUsage}}' web | sed 's/ .*B \\// \\//'", Same),
    ("E $R pause web; E $R inspect -f '{{.State.Status}}' web; E $R exec web true", Text("web\npaused\n-> 255")),
    ("E $R unpause web; E $R inspect -f '{{.State.Status}}' web; E $R rm -f -t 0 web", Text("web\nrunning\nweb\n-> 0")),
];

/// An engine with everything of its own. The user's account has no home of its own.
fn engine(directory: &Path) -> Engine {
    let path = |name: &str| directory.join(name);
    for name in ["home", "run", "config", "share", "files"] {
        std::fs::create_dir_all(path(name)).unwrap();
        std::fs::set_permissions(path(name), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    }
    // Its own limits can be more than the caller may give.
    let config = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\nlog_driver = \"k8s-file\"\n\
        [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n";
    std::fs::write(path("containers.conf"), config).unwrap();
    let words = ["podman", "--log-level=error", "--storage-driver=vfs", "--cgroup-manager=cgroupfs"];
    let places = [("--root", "root"), ("--runroot", "r"), ("--tmpdir", "tmp")];
    let places = places.into_iter().map(|(flag, name)| format!("{flag}={}", path(name).display()));
    Engine {
        name: "podman",
        command: words.into_iter().map(str::to_owned).chain(places).collect(),
        env: vec![
            ("CONTAINERS_CONF", path("containers.conf")),
            ("TMPDIR", path("files")),
            ("XDG_RUNTIME_DIR", path("run")),
            ("XDG_CONFIG_HOME", path("config")),
            ("XDG_DATA_HOME", path("share")),
            ("N", "--network=none".into()),
            ("I", "localhost/box:latest".into()),
        ],
        scratch: path("home"),
    }
}

fn has_subordinate_ids() -> bool {
    let name = Said::from(Command::new("id").arg("-un").output().unwrap()).out;
    let has = |file: &str| {
        std::fs::read_to_string(file).unwrap_or_default().lines().any(|l| l.split(':').next() == Some(name.trim()))
    };
    has("/etc/subuid") && has("/etc/subgid")
}

#[test]
fn podman_calls_it() {
    let there = Command::new("sh").args(["-c", "command -v podman"]).output().is_ok_and(|o| o.status.success());
    if !there || !is_root() && !has_subordinate_ids() {
        skip("podman_calls_it", "the package podman, and subordinate ids of an ordinary user");
        return;
    }
    // Short: podman takes at most 50 bytes of a path for its runroot.
    let dir = tempfile::Builder::new().prefix("p").tempdir().unwrap();
    let engine = engine(dir.path());
    let image = image(&engine.scratch);
    engine.bash(&engine.scratch, &format!("E load -qi {}", image.display())).ok();
    let ours = format!("--runtime {}", runtime(dir.path()).display());
    let runtimes = ["--runtime runc", ours.as_str()];
    let result = std::panic::catch_unwind(|| {
        both(&engine, runtimes, LINES);
        if is_root() {
            both(&engine, runtimes, LIMITS);
        }
        // Podman can lose the last words of a program that ends at once, with any runtime.
        let line =
            format!("{TTY}tty E $R run --rm -it $N $I sh -c \"'tty; sleep 0.5; exit 2'\"; exit ${{PIPESTATUS[0]}}");
        both(&engine, runtimes, &[(line.leak(), Text("/dev/pts/0\n-> 2"))]);
    });
    // Its process that holds the user's namespace ends, and files of subordinate ids go.
    let end = "E rm -af -t 0; E rmi -af; [ \"$(id -u)\" = 0 ] || { E unshare rm -rf \"$HOME/../root\" \"$HOME/../r\"; E system migrate; }";
    let ended = engine.bash(Path::new("/"), end);
    if let Err(wrong) = result {
        std::panic::resume_unwind(wrong);
    }
    assert_eq!(ended.code, 0, "{}", ended.err);
}
