//! What a bundle asks for, as the files that are written; and the whole of it on this machine's own hierarchies.

use super::*;

fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

const CONTROLLERS: [&str; 9] = ["memory", "cpu", "cpuset", "pids", "blkio", "hugetlb", "net_cls", "net_prio", "rdma"];

/// `file=value` of every setting.
fn written(unified: bool, json: &str) -> Result<Vec<String>, LimitError> {
    let dialect = if unified {
        Dialect::V2("/g".into(), None)
    } else {
        Dialect::V1(CONTROLLERS.map(|c| (c.to_owned(), PathBuf::from("/g"))).into())
    };
    let settings = setting::settings(&dialect, &resources(json), None)?;
    Ok(settings
        .into_iter()
        .map(|s| {
            assert!(s.field.starts_with("linux.resources."), "{}", s.field);
            format!("{}={}", s.file.strip_prefix("/g").unwrap().display(), s.value)
        })
        .collect())
}

/// What is asked, and what is written on version 1 and on version 2; an error is the field that it names.
type Row = (&'static str, Result<&'static [&'static str], &'static str>, Result<&'static [&'static str], &'static str>);

fn check(rows: &[Row]) {
    for (json, v1, v2) in rows {
        for (unified, wanted) in [(false, v1), (true, v2)] {
            match (written(unified, json), wanted) {
                (Ok(got), Ok(wanted)) => assert_eq!(&got, wanted, "{json} unified {unified}"),
                (Err(e), Err(name)) => assert_eq!(e.limit, format!("linux.resources.{name}"), "{json} {unified}: {e}"),
                (got, _) => panic!("{json} unified {unified}: {got:?} where {wanted:?} was expected"),
            }
        }
    }
}

#[test]
fn memory() {
    check(&[
        (r#"{}"#, Ok(&[]), Ok(&[])),
        (
            r#"{"memory":{"limit":0,"swap":0,"reservation":0,"kernel":5,"kernelTCP":6,"useHierarchy":true}}"#,
            Ok(&[]),
            Ok(&[]),
        ),
        (r#"{"memory":{"limit":4096}}"#, Ok(&["memory.limit_in_bytes=4096"]), Ok(&["memory.max=4096"])),
        (
            r#"{"memory":{"limit":-1}}"#,
            Ok(&["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1"]),
            Ok(&["memory.max=max", "memory.swap.max=max"]),
        ),
        (
            r#"{"memory":{"limit":4096,"swap":8192,"reservation":1024}}"#,
            Ok(&["memory.limit_in_bytes=4096", "memory.memsw.limit_in_bytes=8192", "memory.soft_limit_in_bytes=1024"]),
            Ok(&["memory.max=4096", "memory.swap.max=4096", "memory.low=1024"]),
        ),
        (
            r#"{"memory":{"limit":4096,"swap":4096}}"#,
            Ok(&["memory.limit_in_bytes=4096", "memory.memsw.limit_in_bytes=4096"]),
            Ok(&["memory.max=4096", "memory.swap.max=0"]),
        ),
        (
            r#"{"memory":{"limit":4096,"swap":-1}}"#,
            Ok(&["memory.limit_in_bytes=4096", "memory.memsw.limit_in_bytes=-1"]),
            Ok(&["memory.max=4096", "memory.swap.max=max"]),
        ),
        (r#"{"memory":{"swap":4096}}"#, Ok(&["memory.memsw.limit_in_bytes=4096"]), Err("memory.swap")),
        (r#"{"memory":{"limit":4096,"swap":1}}"#, Err("memory.swap"), Err("memory.swap")),
        (r#"{"memory":{"limit":-2}}"#, Err("memory.limit"), Err("memory.limit")),
        (r#"{"memory":{"swappiness":60}}"#, Ok(&["memory.swappiness=60"]), Err("memory.swappiness")),
        (r#"{"memory":{"swappiness":18446744073709551615}}"#, Ok(&[]), Ok(&[])),
        (r#"{"memory":{"swappiness":101}}"#, Err("memory.swappiness"), Err("memory.swappiness")),
        (r#"{"memory":{"disableOOMKiller":true}}"#, Ok(&["memory.oom_control=1"]), Err("memory.disableOOMKiller")),
        (r#"{"memory":{"disableOOMKiller":false}}"#, Ok(&[]), Ok(&[])),
    ]);
}

#[test]
fn cpu_and_pids() {
    check(&[
        (r#"{"cpu":{"shares":0,"quota":0,"period":0,"cpus":"","mems":""}}"#, Ok(&[]), Ok(&[])),
        (r#"{"cpu":{"shares":1024}}"#, Ok(&["cpu.shares=1024"]), Ok(&["cpu.weight=100"])),
        (r#"{"cpu":{"shares":2}}"#, Ok(&["cpu.shares=2"]), Ok(&["cpu.weight=1"])),
        (r#"{"cpu":{"shares":262144}}"#, Ok(&["cpu.shares=262144"]), Ok(&["cpu.weight=10000"])),
        (r#"{"cpu":{"shares":1}}"#, Err("cpu.shares"), Ok(&["cpu.weight=1"])),
        (
            r#"{"cpu":{"quota":50000,"period":200000,"burst":7}}"#,
            Ok(&["cpu.cfs_period_us=200000", "cpu.cfs_quota_us=50000", "cpu.cfs_burst_us=7"]),
            Ok(&["cpu.max=50000 200000", "cpu.max.burst=7"]),
        ),
        (r#"{"cpu":{"quota":-1}}"#, Ok(&["cpu.cfs_quota_us=-1"]), Ok(&["cpu.max=max 100000"])),
        (r#"{"cpu":{"period":50000}}"#, Ok(&["cpu.cfs_period_us=50000"]), Ok(&["cpu.max=max 50000"])),
        (r#"{"cpu":{"realtimeRuntime":950}}"#, Ok(&["cpu.rt_runtime_us=950"]), Err("cpu.realtimeRuntime")),
        (r#"{"cpu":{"realtimePeriod":950}}"#, Ok(&["cpu.rt_period_us=950"]), Err("cpu.realtimePeriod")),
        (
            r#"{"cpu":{"cpus":"0-1","mems":"0","idle":1}}"#,
            Ok(&["cpu.idle=1", "cpuset.cpus=0-1", "cpuset.mems=0"]),
            Ok(&["cpu.idle=1", "cpuset.cpus=0-1", "cpuset.mems=0"]),
        ),
        (r#"{"cpu":{"cpus":"zero"}}"#, Err("cpu.cpus"), Err("cpu.cpus")),
        (r#"{"cpu":{"idle":2}}"#, Err("cpu.idle"), Err("cpu.idle")),
        (r#"{"pids":{"limit":7}}"#, Ok(&["pids.max=7"]), Ok(&["pids.max=7"])),
        (r#"{"pids":{"limit":0}}"#, Ok(&["pids.max=1"]), Ok(&["pids.max=1"])),
        (r#"{"pids":{"limit":-1}}"#, Ok(&["pids.max=max"]), Ok(&["pids.max=max"])),
        (r#"{"pids":{}}"#, Ok(&[]), Ok(&[])),
    ]);
}

#[test]
fn devices_pages_and_networks() {
    check(&[
        (r#"{"blockIO":{"weight":500}}"#, Ok(&["blkio.bfq.weight=500"]), Ok(&["io.bfq.weight=500"])),
        (r#"{"blockIO":{"weight":5}}"#, Err("blockIO.weight"), Err("blockIO.weight")),
        (r#"{"blockIO":{"leafWeight":5}}"#, Ok(&["blkio.leaf_weight=5"]), Err("blockIO.leafWeight")),
        (
            r#"{"blockIO":{"weightDevice":[{"major":8,"minor":1,"weight":10,"leafWeight":20}]}}"#,
            Ok(&["blkio.bfq.weight_device=8:1 10", "blkio.leaf_weight_device=8:1 20"]),
            Err("blockIO.weightDevice[0].leafWeight"),
        ),
        (
            r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}],
                "throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":2}],
                "throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":3}],
                "throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":0}]}}"#,
            Ok(&[
                "blkio.throttle.read_bps_device=8:0 1",
                "blkio.throttle.write_bps_device=8:0 2",
                "blkio.throttle.read_iops_device=8:0 3",
                "blkio.throttle.write_iops_device=8:0 0",
            ]),
            Ok(&["io.max=8:0 rbps=1", "io.max=8:0 wbps=2", "io.max=8:0 riops=3", "io.max=8:0 wiops=max"]),
        ),
        (
            r#"{"hugepageLimits":[{"pageSize":"2MB","limit":9}]}"#,
            Ok(&["hugetlb.2MB.limit_in_bytes=9", "hugetlb.2MB.rsvd.limit_in_bytes=9"]),
            Ok(&["hugetlb.2MB.max=9", "hugetlb.2MB.rsvd.max=9"]),
        ),
        (
            r#"{"hugepageLimits":[{"pageSize":"../x","limit":9}]}"#,
            Err("hugepageLimits[0].pageSize"),
            Err("hugepageLimits[0].pageSize"),
        ),
        (r#"{"network":{"classID":0,"priorities":[]}}"#, Ok(&[]), Ok(&[])),
        (
            r#"{"network":{"classID":1048577,"priorities":[{"name":"eth0","priority":5}]}}"#,
            Ok(&["net_cls.classid=1048577", "net_prio.ifpriomap=eth0 5"]),
            Err("network.classID"),
        ),
        (
            r#"{"rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":4}}}"#,
            Ok(&["rdma.max=mlx5_1 hca_handle=3 hca_object=4"]),
            Ok(&["rdma.max=mlx5_1 hca_handle=3 hca_object=4"]),
        ),
        (
            r#"{"unified":{"memory.high":"1","io.max":"8:0 rbps=1\n8:16 rbps=2\n","cgroup.max.depth":"3"}}"#,
            Err("unified.cgroup.max.depth"),
            Ok(&["cgroup.max.depth=3", "io.max=8:0 rbps=1", "io.max=8:16 rbps=2", "memory.high=1"]),
        ),
        (r#"{"unified":{"memory/high":"1"}}"#, Err("unified.memory/high"), Err("unified.memory/high")),
        (r#"{"unified":{"cgroup.procs":"1"}}"#, Err("unified.cgroup.procs"), Err("unified.cgroup.procs")),
    ]);
}

#[test]
fn a_limit_without_its_controller_is_an_error_and_no_limit_is_none() {
    for dialect in [Dialect::V1(BTreeMap::new()), Dialect::V2("/g".into(), Some(vec!["hugetlb".into()]))] {
        for (json, name) in [
            (r#"{"memory":{"limit":4096}}"#, "memory.limit"),
            (r#"{"pids":{"limit":4096}}"#, "pids.limit"),
            (r#"{"cpu":{"mems":"0"}}"#, "cpu.mems"),
            (r#"{"cpu":{"quota":5000}}"#, "cpu.quota"),
            (r#"{"blockIO":{"weight":50}}"#, "blockIO.weight"),
            (r#"{"rdma":{"x":{"hcaHandles":1}}}"#, "rdma.x"),
        ] {
            let error = setting::settings(&dialect, &resources(json), None).unwrap_err();
            assert_eq!(error.limit, format!("linux.resources.{name}"));
            assert_eq!(setting::first_limit(&resources(json)), Some(error.limit));
        }
        let free = resources(r#"{"memory":{"limit":-1,"swap":-1},"pids":{"limit":-1}}"#);
        assert_eq!(setting::settings(&dialect, &free, None).unwrap(), []);
        assert_eq!(setting::first_limit(&free), None);
    }
}

mod whole;

/// Their difference was once taken without a look.
#[test]
fn sums_of_impossible_numbers_are_refused() {
    for (swap, memory, name) in [(1, i64::MIN, "memory.limit"), (i64::MIN, 1, "memory.swap"), (5, -2, "memory.limit")] {
        let error = v2::swap_alone(Some(swap), Some(memory)).unwrap_err();
        assert_eq!(error.limit, format!("linux.resources.{name}"), "{error}");
    }
}
