//! What the process of the config gets: limits, mask, groups, rights, filter, terminal-free streams.

use bulkhead_tests::is_root;
use bulkhead_tests::oci::Runtime;
use serde_json::json;

#[test]
fn limits_mask_and_priority() {
    let runtime = Runtime::new();
    let script = "ulimit -n; ulimit -Hn; umask; cat /proc/self/oom_score_adj; pwd; echo $A";
    let said = runtime.sh(script, |config| {
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 70, "hard": 80}]);
        config["process"]["user"]["umask"] = json!(0o27);
        config["process"]["oomScoreAdj"] = json!(900);
        config["process"]["cwd"] = json!("/data");
        config["process"]["env"] = json!(["PATH=/bin", "A=B"]);
        config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
    });
    assert_eq!(said.ok(), "70\n80\n0027\n900\n/data\nB\n");
    let said =
        runtime.sh("", |config| config["process"]["rlimits"] = json!([{"type": "RLIMIT_LUNCH", "soft": 1, "hard": 1}]));
    assert!(said.code == 1 && said.err.contains("RLIMIT_LUNCH"), "{said:?}");
}

#[test]
fn the_last_home_counts_and_an_empty_one_is_none() {
    let runtime = Runtime::new();
    let home = |env: serde_json::Value| {
        let said = runtime.sh("echo $HOME", |config| config["process"]["env"] = env);
        said.ok()
    };
    assert_eq!(home(json!(["PATH=/bin", "HOME=/a", "HOME=/data"])), "/data\n");
    // As the file of users has it.
    assert_eq!(home(json!(["PATH=/bin", "HOME=/data", "HOME="])), "/\n");
    assert_eq!(home(json!(["PATH=/bin"])), "/\n");
}

#[test]
fn what_the_kernel_would_refuse_without_words_is_refused_by_the_plan() {
    let runtime = Runtime::new();
    let policy = |policy: serde_json::Value| runtime.sh("", |c| c["linux"]["memoryPolicy"] = policy).fails(1);
    for (wrong, wanted) in [
        (json!({"mode": "INTERLEAVE", "nodes": "0"}), "invalid memory policy mode"),
        (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["badflag"]}), "invalid memory policy flag"),
        (json!({"mode": "MPOL_BIND", "nodes": "0-9876543210"}), "invalid memory policy node"),
        (json!({"mode": "MPOL_DEFAULT", "nodes": "0-7"}), "mode requires 0 nodes but got 8"),
    ] {
        let err = policy(wrong.clone());
        assert!(err.contains(wanted) && err.contains("linux.memoryPolicy"), "{wrong}: {err}");
    }
    if !is_root() {
        // Who has no control group cannot ask for CPUs of one.
        return;
    }
    let err = runtime.sh("", |config| {
        config["process"]["scheduler"] =
            json!({"policy": "SCHED_DEADLINE", "runtime": 42_000, "deadline": 1_000_000, "period": 1_000_000});
        config["linux"]["resources"]["cpu"] = json!({"cpus": "0"});
    });
    assert!(err.fails(1).contains("can't be used together with AllowedCPUs"));
}

#[test]
fn users_and_groups() {
    let runtime = Runtime::new();
    let script = "grep -E '^(Uid|Gid|Groups)' /proc/self/status";
    if is_root() {
        let said = runtime.sh(script, |config| {
            config["process"]["user"] = json!({"uid": 7, "gid": 8, "additionalGids": [9, 10]});
        });
        assert_eq!(said.ok(), "Uid:\t7\t7\t7\t7\nGid:\t8\t8\t8\t8\nGroups:\t9 10 \n");
        return;
    }
    let said = runtime.sh(script, |config| config["process"]["user"]["uid"] = json!(7));
    assert!(said.code == 1 && said.err.contains("process.user.uid"), "{said:?}");
}

#[test]
fn rights_are_those_of_the_five_sets() {
    let runtime = Runtime::new();
    let set = json!(["CAP_CHOWN", "CAP_KILL"]);
    let said = runtime.sh("grep ^Cap /proc/self/status; grep NoNew /proc/self/status", |config| {
        config["process"]["noNewPrivileges"] = json!(false);
        config["process"]["capabilities"] = json!({"bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_FOWNER"], "effective": ["CAP_CHOWN"],
            "permitted": set, "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]});
    });
    // Root's program gets all that is bounded or inheritable.
    assert_eq!(
        said.ok(),
        "CapInh:\t0000000000000020\nCapPrm:\t0000000000000029\nCapEff:\t0000000000000029\nCapBnd:\t0000000000000029\nCapAmb:\t0000000000000020\nNoNewPrivs:\t0\n"
    );
    // The specification: an unknown one is told of and left out.
    let said = runtime.sh("", |config| config["process"]["capabilities"]["bounding"] = json!(["CAP_LUNCH"]));
    assert!(said.code == 0 && said.err.contains("CAP_LUNCH") && said.err.lines().count() == 1, "{said:?}");
}

#[test]
fn a_filter_answers_with_its_errno() {
    let runtime = Runtime::new();
    let plain = runtime.sh("mkdir /tmp/a && echo made", |config| config["root"]["readonly"] = json!(false));
    assert_eq!(plain.ok(), "made\n");
    let script = "mkdir /tmp/b; grep -E '^Seccomp:' /proc/self/status";
    let said = runtime.sh(script, |config| {
        config["root"]["readonly"] = json!(false);
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]});
    });
    assert_eq!(said.out, "Seccomp:\t2\n", "{}", said.err);
    assert!(said.err.contains("not supported"), "{}", said.err);
    // What the kernel is told shows in the log.
    let flags = json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]);
    let bundle = runtime.bundle("once", "", |config| {
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags});
    });
    let said = runtime.say(&["--debug", "run", "--bundle", &bundle.to_string_lossy(), &runtime.id("once")]);
    assert!(said.code == 0 && said.err.contains("seccomp filter flags: 6"), "{said:?}");
    let said = runtime.sh("", |config| config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_LUNCH"}));
    assert!(said.code == 1 && said.err.contains("SCMP_ACT_LUNCH"), "{said:?}");
}

/// Without a pid namespace nobody inside collects what is left behind: `run` adopts it, and nothing stays a zombie.
#[test]
fn run_collects_orphans() {
    if !is_root() {
        // A procfs of the host's pid namespace is root's to mount.
        return;
    }
    let runtime = Runtime::new();
    let bundle = runtime.bundle("web", "(sleep 0.1 &); (sleep 0.2 &); sleep 2.5", |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|n| n["type"] != "pid");
    });
    let (id, bundle) = (runtime.id("web"), bundle.to_string_lossy().into_owned());
    let mut run =
        runtime.command(&["run", "--bundle", &bundle, &id]).stdin(std::process::Stdio::null()).spawn().unwrap();
    let path = format!("/proc/{0}/task/{0}/children", run.id());
    let children = || std::fs::read_to_string(&path).unwrap_or_default().split_whitespace().count();
    let mut most = 0;
    let alone = bulkhead_tests::eventually(2, || {
        most = most.max(children());
        most > 1 && children() == 1
    });
    assert!(alone, "{} children, {most} at most", children());
    assert!(run.wait().unwrap().success());
    assert_eq!(runtime.left(), [""; 0]);
}

#[test]
fn unknown_capabilities_are_told_and_left_out() {
    let runtime = Runtime::new();
    let said = runtime.sh("echo runs", |config| {
        for set in ["bounding", "effective", "permitted"] {
            let all = config["process"]["capabilities"][set].as_array_mut().unwrap();
            all.extend([json!("CAP_NONE_SUCH"), json!("CAP_ANOTHER")]);
        }
    });
    assert!(said.err.contains("ignoring unknown or unavailable capabilities: [CAP_ANOTHER CAP_NONE_SUCH]"), "{said:?}");
    assert_eq!(said.ok(), "runs\n");
}
