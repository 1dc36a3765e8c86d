use bulkhead_engine::request::{NetMode, SeccompChoice};

use super::*;

fn parsed(words: &[&str]) -> Result<(ContainerRequest, RunOptions), CliError> {
    let place = Place { cwd: "/work".into(), home: Some("/home/a".into()) };
    request(&crate::commands::parsed(&ENTRY, words)?, &place, ProfileName::Default)
        .map(|(request, options, _)| (request, options))
}

fn made(words: &[&str]) -> ContainerRequest {
    parsed(words).unwrap().0
}

#[test]
fn nothing_asked_is_the_default_request() {
    let (request, options) = parsed(&["alpine"]).unwrap();
    assert_eq!(request, ContainerRequest { image: "alpine".into(), ..ContainerRequest::default() });
    assert_eq!(options, RunOptions::default());
}

#[test]
fn everything_after_the_image_belongs_to_the_container() {
    let request = made(&["-it", "--rm", "alpine", "sh", "-c", "--rm=false", "--", "--help", "-x"]);
    assert_eq!(request.args, ["sh", "-c", "--rm=false", "--", "--help", "-x"]);
    assert!(request.stdin && request.tty && request.auto_remove && !request.detach);
    assert_eq!(made(&["--", "alpine", "-it"]).args, ["-it"]);
    assert_eq!(made(&["alpine", "--", "x"]).args, ["--", "x"]);
}

#[test]
fn every_flag_reaches_its_field() {
    let request = made(&[
        "-d",
        "--name=web",
        "-eA=1",
        "--env",
        "B=",
        "-l",
        "k=v",
        "-u",
        "1000:1000",
        "--group-add",
        "audio",
        "-w/srv",
        "-h",
        "box",
        "--read-only",
        "--cap-add=NET_ADMIN",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "seccomp=unconfined",
        "--entrypoint",
        "",
        "--profile=strict",
        "--privileged",
        "--init",
        "--sysctl",
        "net.core.somaxconn=5",
        "--net",
        "none",
        "-p",
        "8080:80",
        "-p",
        "9090:90/udp",
        "--stop-signal",
        "SIGINT",
        "--stop-timeout=3",
        "alpine",
    ]);
    assert_eq!(request.name.as_deref(), Some("web"));
    assert_eq!(request.env, ["A=1", "B="]);
    assert_eq!(request.labels, [("k".to_owned(), "v".to_owned())]);
    assert_eq!(request.user.as_deref(), Some("1000:1000"));
    assert_eq!(request.group_add, ["audio"]);
    assert_eq!((request.workdir.as_deref(), request.hostname.as_deref()), (Some("/srv"), Some("box")));
    assert!(request.detach && request.read_only && request.privileged && request.init);
    assert_eq!((request.cap_add, request.cap_drop), (vec!["NET_ADMIN".to_owned()], vec!["ALL".to_owned()]));
    assert_eq!(request.security.seccomp, SeccompChoice::Unconfined);
    assert_eq!((request.entrypoint, request.profile), (Some(Vec::new()), ProfileName::Strict));
    assert_eq!(request.sysctls, [("net.core.somaxconn".to_owned(), "5".to_owned())]);
    assert_eq!(request.net.mode, NetMode::None);
    let published: Vec<String> = request.net.publish.iter().map(ToString::to_string).collect();
    assert_eq!(published, ["8080:80", "9090:90/udp"]);
    assert_eq!((request.stop_signal.as_deref(), request.stop_timeout), (Some("SIGINT"), Some(3)));
}

#[test]
fn limits_are_in_the_units_of_the_kernel() {
    let limits = made(&[
        "-m512m",
        "--memory-swap",
        "-1",
        "--memory-reservation=256m",
        "--cpus",
        "1.5",
        "-c",
        "512",
        "--cpuset-cpus=0-1",
        "--cpuset-mems",
        "0",
        "--pids-limit",
        "-1",
        "--blkio-weight=100",
        "--device-read-bps=/dev/sda:1m",
        "--device-write-iops",
        "/dev/sda:10",
        "--shm-size=32m",
        "--ulimit",
        "nofile=10:20",
        "--oom-score-adj",
        "-5",
        "--cgroup-conf",
        "memory.high=1",
        "alpine",
    ])
    .limits;
    assert_eq!(
        (limits.memory, limits.memory_swap, limits.memory_reservation),
        (Some(512 << 20), Some(-1), Some(256 << 20))
    );
    assert_eq!((limits.milli_cpus, limits.cpu_shares), (Some(1500), Some(512)));
    assert_eq!((limits.cpuset_cpus.as_deref(), limits.cpuset_mems.as_deref()), (Some("0-1"), Some("0")));
    assert_eq!((limits.pids, limits.blkio_weight, limits.shm_size), (Some(-1), Some(100), Some(32 << 20)));
    assert_eq!(limits.device_rates.len(), 2);
    assert_eq!(limits.ulimits, [("nofile".to_owned(), 10, 20)]);
    assert_eq!((limits.oom_score_adj, limits.unified.len()), (Some(-5), 1));
}

#[test]
fn mounts_keep_their_order() {
    let request = made(&["--tmpfs", "/a", "-v", "./x:/b", "--mount", "type=volume,dst=/c", "-v", "d:/d", "alpine"]);
    let target = |mount: &MountRequest| match mount {
        MountRequest::Bind { target, .. }
        | MountRequest::Tmpfs { target, .. }
        | MountRequest::Volume { target, .. } => target.display().to_string(),
    };
    assert_eq!(request.mounts.iter().map(target).collect::<Vec<_>>(), ["/a", "/b", "/c", "/d"]);
}

#[test]
fn the_last_word_counts() {
    assert_eq!(made(&["-m", "10m", "-m", "20m", "alpine"]).limits.memory, Some(20 << 20));
    assert!(!made(&["--rm", "--rm=false", "alpine"]).auto_remove);
    assert_eq!(
        parsed(&["--pull", "never", "--dry-run", "alpine"]).unwrap().1,
        RunOptions { dry_run: true, pull: Pull::Never, quiet: false }
    );
}

#[test]
fn every_wrong_value_is_named_once_with_what_is_needed() {
    for (flag, value) in [
        ("--memory", "12q"),
        ("--memory-swap", "-5"),
        ("--memory-reservation", "0"),
        ("--cpus", "0"),
        ("--cpu-shares", "1"),
        ("--cpuset-cpus", "x"),
        ("--cpuset-mems", "1-0"),
        ("--pids-limit", "0"),
        ("--blkio-weight", "5"),
        ("--device-read-bps", "/dev/sda"),
        ("--device-write-bps", "sda:1m"),
        ("--device-read-iops", "/dev/sda:1m"),
        ("--device-write-iops", "/dev/sda:-1"),
        ("--shm-size", "big"),
        ("--ulimit", "files=1"),
        ("--oom-score-adj", "2000"),
        ("--cgroup-conf", "../x=1"),
        ("--volume", "a/b:/c"),
        ("--mount", "type=nfs,dst=/a"),
        ("--tmpfs", "relative"),
        ("--env", "=x"),
        ("--env-file", "/nonexistent"),
        ("--label", "=x"),
        ("--sysctl", "x"),
        ("--security-opt", "nonsense"),
        ("--profile", "loose"),
        ("--pull", "sometimes"),
        ("--name", "-web"),
        ("--workdir", "srv"),
        ("--hostname", "a b"),
        ("--stop-signal", "SIGFOO"),
        ("--stop-timeout", "-2"),
        ("--user", ""),
        ("--annotation", "x"),
        ("--domainname", "a b"),
        ("--label-file", "/nonexistent"),
        ("--platform", ""),
        ("--device", "fuse"),
        ("--ipc", "host"),
        ("--pid", "host"),
        ("--uts", "host"),
        ("--dns", "x"),
        ("--dns-search", "a b"),
        ("--dns-option", "a b"),
        ("--add-host", "db"),
        ("--cpu-period", "1"),
        ("--cpu-quota", "1"),
        ("--memory-swappiness", "101"),
        ("--blkio-weight-device", "/dev/sda"),
        ("--network", ""),
        ("--ip", "fd00::1"),
        ("--ip6", "10.0.0.1"),
        ("--mac-address", "01:00:5e:00:00:01"),
        ("--network-alias", "a b"),
        ("--publish", "80:"),
        ("--expose", "80/icmp"),
    ] {
        let error = parsed(&[flag, value, "alpine"]).unwrap_err();
        let start = format!("invalid value {value:?} for {flag}: ");
        assert!(error.message.starts_with(&start) && error.message.len() > start.len(), "{error}");
        assert!(!error.message.contains('\n') && error.code == 125, "{error}");
    }
    let error = parsed(&["-m", "12q", "alpine"]).unwrap_err();
    assert_eq!(error.message, "invalid value \"12q\" for --memory: a size like 512m or 2g is needed");
}

#[test]
fn what_belongs_to_the_first_network_goes_there() {
    let request =
        made(&["--network", "a", "--net=name=b,ip=10.2.0.5", "--ip", "10.1.0.5", "--network-alias=db", "alpine"]);
    let joins: Vec<(&str, Option<String>)> =
        request.net.joins.iter().map(|j| (j.network.as_str(), j.v4.map(|a| a.to_string()))).collect();
    assert_eq!(joins, [("a", Some("10.1.0.5".to_owned())), ("b", Some("10.2.0.5".to_owned()))]);
    assert_eq!((request.net.mode, &request.net.joins[0].aliases[..]), (NetMode::Networks, &["db".to_owned()][..]));
    // Which one is first is not known yet.
    let request = made(&["--ip", "10.1.0.5", "-P", "--expose", "80", "alpine"]);
    assert_eq!((request.net.mode, request.net.joins.len()), (NetMode::Unset, 1));
    assert!(request.net.publish_all && request.net.expose.len() == 1);
    for (words, named) in [
        (&["--network", "a", "--network", "none"][..], "\"none\" for --network"),
        (&["--network", "name=a,ip=10.1.0.5", "--ip", "10.1.0.6"], "\"10.1.0.6\" for --ip"),
    ] {
        let error = parsed(&[words, &["alpine"]].concat()).unwrap_err();
        assert!(error.message.contains(named) && error.code == 125, "{error}");
    }
}

/// Flags of `docker run` (29.4).
const DOCKER: &str = "add-host annotation blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns cidfile \
    cpu-count cpu-percent cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus cpuset-cpus cpuset-mems detach \
    device device-cgroup-rule device-read-bps device-read-iops device-write-bps device-write-iops disable-content-trust \
    dns dns-option dns-search domainname entrypoint env env-file expose gpus group-add hostname init interactive \
    io-maxbandwidth io-maxiops ip ip6 ipc isolation kernel-memory label label-file link link-local-ip mac-address memory \
    memory-reservation memory-swap memory-swappiness mount name network network-alias oom-kill-disable oom-score-adj pid \
    pids-limit platform privileged publish publish-all pull quiet read-only rm runtime security-opt shm-size stop-signal \
    stop-timeout storage-opt sysctl tmpfs tty ulimit use-api-socket user userns uts volume volume-driver workdir";

#[test]
fn every_flag_of_docker_is_known() {
    let command = ENTRY.command();
    let known: Vec<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
    for flag in DOCKER.split_whitespace() {
        assert!(known.contains(&flag), "--{flag}");
    }
}

#[test]
fn what_is_refused_is_refused_by_name_with_a_way_out() {
    for words in [
        &["--cgroup-parent", "/x"][..],
        &["--cgroupns", "host"],
        &["--cpu-rt-runtime", "950000"],
        &["--device-cgroup-rule", "c 1:1 rwm"],
        &["--gpus", "all"],
        &["--isolation", "hyperv"],
        &["--kernel-memory", "1g"],
        &["--oom-kill-disable"],
        &["--runtime", "runc"],
        &["--storage-opt", "size=1g"],
        &["--use-api-socket"],
        &["--userns", "host"],
        &["--volume-driver", "nfs"],
    ] {
        let error = parsed(&[words, &["alpine"]].concat()).unwrap_err();
        assert!(error.message.starts_with(words[0]) && error.message.contains(" is refused: "), "{error}");
        assert!(error.code == 125 && error.hint.is_some(), "{error}");
    }
    // What asks for what is so anyway is no error.
    made(&[
        "--cgroupns=private",
        "--isolation",
        "default",
        "--oom-kill-disable=false",
        "--memory-swappiness=-1",
        "--kernel-memory=0",
        "--volume-driver=local",
        "--userns=",
        "--disable-content-trust",
        "-q",
        "alpine",
    ]);
}

#[test]
fn further_flags_reach_their_fields() {
    let request = made(&[
        "--cidfile=id",
        "--platform",
        "linux/amd64",
        "--domainname=example.org",
        "--annotation",
        "a=b=c",
        "--device=/dev/fuse:r",
        "--ipc=container:web",
        "--pid",
        "container:web",
        "--uts=container:web",
        "--dns=10.0.0.53",
        "--dns-search=example.org",
        "--dns-opt=ndots:2",
        "--add-host=db:10.0.0.2",
        "--cpu-period=50000",
        "--cpu-quota",
        "-1",
        "--memory-swappiness=5",
        "--blkio-weight-device=/dev/sda:100",
        "--stop-timeout=-1",
        "alpine",
    ]);
    assert_eq!(request.cid_file.as_deref(), Some(std::path::Path::new("/work/id")));
    assert_eq!(
        (request.platform.as_deref(), request.domainname.as_deref()),
        (Some("linux/amd64"), Some("example.org"))
    );
    assert_eq!(request.annotations, [("a".to_owned(), "b=c".to_owned())]);
    assert!(request.devices[0].read && !request.devices[0].write);
    assert_eq!(request.ipc, bulkhead_engine::request::Ipc::Container("web".to_owned()));
    assert_eq!((request.pid_of.as_deref(), request.uts_of.as_deref()), (Some("web"), Some("web")));
    assert_eq!((request.dns, request.dns_search), (vec!["10.0.0.53".to_owned()], vec!["example.org".to_owned()]));
    assert_eq!(request.dns_options, ["ndots:2"]);
    assert_eq!(request.extra_hosts, [("db".to_owned(), "10.0.0.2".to_owned())]);
    assert_eq!((request.limits.cpu_period, request.limits.cpu_quota), (Some(50_000), Some(-1)));
    assert_eq!((request.limits.swappiness, request.limits.blkio_weight_devices.len()), (Some(5), 1));
    assert_eq!(request.stop_timeout, Some(-1));
}

#[test]
fn a_label_of_the_command_line_comes_after_those_of_a_file() {
    let file = std::env::temp_dir().join(format!("bulkhead-labels-{}", std::process::id()));
    std::fs::write(&file, "# ours\n  a=1\nbare\nb=x y\n").unwrap();
    let request = made(&["--label-file", &file.display().to_string(), "-l", "a=2", "alpine"]);
    std::fs::remove_file(&file).unwrap();
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(request.labels, [pair("a", "1"), pair("bare", ""), pair("b", "x y"), pair("a", "2")]);
}
