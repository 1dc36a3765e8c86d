//! Docker's daemon: `--add-runtime`, then `--runtime`.

use bulkhead_tests::dockerd::Daemon;
use bulkhead_tests::skip;

use super::{Line, Same, TTY, Text, both, image, runtime};

const RUNS: &[Line] = &[
    ("E run --rm $R box echo hello", Text("hello\n-> 0")),
    ("echo piped | E run --rm -i $R box cat", Text("piped\n-> 0")),
    ("E run --rm $R box sh -c 'exit 7'", Text("-> 7")),
    ("E run --rm $R box nosuch", Text("-> 127")),
    ("E run --rm $R box /bin/data", Text("-> 126")),
    ("E run --rm $R box sh -c 'kill -KILL $$'", Same),
    ("E run --rm $R --init box sh -c 'cat /proc/1/comm'", Text("docker-init\n-> 0")),
    ("E run --rm $R --pid host box sh -c 'readlink /proc/1/ns/pid' | grep -c \"$(readlink /proc/self/ns/pid)\"", Same),
    ("E run --rm $R --network none box ls /sys/class/net", Text("lo\n-> 0")),
    ("E run --rm $R --network host --uts host --ipc host box ls /sys/class/net", Same),
    ("E run --rm $R --read-only box sh -c 'echo a > /data/a'", Text("-> 1")),
    ("E run --rm $R --privileged box sh -c 'mount -t tmpfs x /tmp && echo mounted'", Same),
    (
        "E run --rm $R --cap-add SYS_ADMIN --security-opt seccomp=unconfined box sh -c 'mount -t tmpfs x /tmp && echo mounted'",
        Text("mounted\n-> 0"),
    ),
    ("E run --rm $R box sh -c 'mount -t tmpfs x /tmp && echo mounted'", Same),
    ("E run --rm $R box sh -c 'grep -E \"^(Cap|NoNewP|Seccomp:|Groups)\" /proc/self/status'", Same),
    (
        "E run --rm $R --cap-drop ALL --cap-add NET_RAW --security-opt no-new-privileges --user 1000:1000 --group-add 7 \
         box sh -c 'grep -E \"^(Cap|NoNewP|Seccomp:|Groups)\" /proc/self/status; id'",
        Same,
    ),
    (
        "E run --rm $R --ulimit nofile=100:200 --hostname hh --tmpfs /data:size=1m --shm-size 8m -w /data -e A=B \
         --oom-score-adj 100 --device /dev/zero:/dev/zz --sysctl net.ipv4.ip_forward=1 box sh -c 'ulimit -n; \
         ulimit -Hn; hostname; pwd; echo $A; cat /proc/self/oom_score_adj /proc/sys/net/ipv4/ip_forward; ls /dev; \
         df -k /dev/shm /data | sed 1d'",
        Same,
    ),
    ("E run --rm $R -v $HOME/bin:/own:ro box sh -c 'ls /own; echo > /own/x'", Text("E\n-> 1")),
    ("mkdir -p p && E run --rm $R -v $PWD/p:/own:rslave box sh -c 'grep -c master: /proc/self/mountinfo'", Same),
    ("E run --rm $R box sh -c \"mount | cut -d' ' -f3 | grep -E '^/(proc|sys/firm|dev)' | sort\"", Same),
    ("T=tty; E run --rm $R --memory 20m box sh -c 'x=aaaaaaaa; while :; do x=$x$x; done'", Text("-> 137")),
    (
        "E run --name oom $R --memory 20m box sh -c 'x=aaaaaaaa; while :; do x=$x$x; done'; \
         E inspect -f '{{.State.OOMKilled}} {{.State.ExitCode}}' oom; E rm oom",
        Text("true 137\noom\n-> 0"),
    ),
];

const LIFE: &[Line] = &[
    (
        "E run -d --name web $R --memory 50m --health-cmd 'echo fine' --health-interval 1s box sleep 600 | wc -c",
        Text("65\n-> 0"),
    ),
    ("E exec web sh -c 'echo in; exit 9'", Text("in\n-> 9")),
    ("echo piped | E exec -i web cat", Text("piped\n-> 0")),
    ("E exec web nosuch 2>&1 | grep -c 'executable file not found in $PATH'; exit ${PIPESTATUS[0]}", Same),
    ("E exec web /bin/data 2>&1 | grep -c 'permission denied'; exit ${PIPESTATUS[0]}", Same),
    ("E exec -u app -w /data -e A=B web sh -c 'id -un; pwd; echo $A'", Text("app\n/data\nB\n-> 0")),
    ("E exec --privileged web sh -c 'grep CapEff /proc/self/status' | grep Cap", Same),
    ("E stats --no-stream --format '{{.PIDs}} {{.MemUsage}}' web | sed 's/ .*iB \\// \\//'", Text("1 / 50MiB\n-> 0")),
    ("E top web -o pid,comm | sed 1d | wc -l", Text("1\n-> 0")),
    (
        "E update --cpus 0.5 --memory 60m --memory-swap 60m web; E exec web cat /sys/fs/cgroup/memory/memory.limit_in_bytes \
         /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max 2>/dev/null; :",
        Same,
    ),
    (
        "E pause web; E inspect -f '{{.State.Status}}' web; E exec web true; E unpause web",
        Text("web\npaused\nweb\n-> 0"),
    ),
    (
        "for i in $(seq 100); do s=$(E inspect -f '{{.State.Health.Status}}' web); [ $s = healthy ] && break; sleep 0.1; \
         done; echo $s",
        Text("healthy\n-> 0"),
    ),
    ("E kill -s USR1 web; E kill web; E wait web; E inspect -f '{{.State.Status}}' web", Same),
    ("E start web; E restart -t 0 web; E stop -t 0 web; E rm -f web", Text("web\nweb\nweb\nweb\n-> 0")),
    (
        "E run -d --name term $R box sh -c 'trap \"echo term; exit 3\" TERM; while :; do sleep 0.1; done' >/dev/null; sleep 0.3; \
         E stop term; E logs term; E inspect -f '{{.State.ExitCode}}' term; E rm term",
        Text("term\nterm\n3\nterm\n-> 0"),
    ),
    ("E ps -aq", Text("-> 0")),
];

#[test]
fn docker_calls_it() {
    if let Some(missing) = Daemon::missing() {
        skip("docker_calls_it", missing);
        return;
    }
    let place = tempfile::Builder::new().prefix("bulkhead-test-").tempdir().unwrap();
    let ours = runtime(place.path());
    let daemon = Daemon::with(&[format!("--add-runtime=bulkhead={}", ours.display())]);
    let engine = daemon.engine();
    let image = image(place.path());
    engine.bash(place.path(), &format!("E load -qi {} && E tag localhost/box box", image.display())).ok();
    let runtimes = ["--runtime runc", "--runtime bulkhead"];
    both(&engine, runtimes, RUNS);
    both(&engine, runtimes, LIFE);
    let terminal = |line: &str, text| (format!("{TTY}{line}").leak() as &'static str, Text(text));
    let terminals = [
        terminal("tty E run --rm -it $R box sh -c \"'tty; exit 5'\"; exit ${PIPESTATUS[0]}", "/dev/pts/0\n-> 5"),
        terminal(
            "E run -d --name web $R box sleep 600 >/dev/null; tty E exec -it web sh -c \"'tty; exit 4'\"; E rm -f web",
            "/dev/pts/0\nweb\n-> 0",
        ),
    ];
    both(&engine, runtimes, &terminals);
}
