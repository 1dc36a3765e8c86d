//! Flags of the heading "Limits".

use clap::Args;

/// How much the container may use.
#[derive(Debug, Args)]
pub(in super::super) struct LimitsWords {
    /// Memory [default: the profile's limit]
    #[arg(short, long, value_name = "SIZE", help_heading = "Limits")]
    pub(in super::super) memory: Option<String>,
    /// Memory plus swap, -1 for no limit [default: no swap beyond memory]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub(in super::super) memory_swap: Option<String>,
    /// Memory that is left to the container when the host runs short
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub(in super::super) memory_reservation: Option<String>,
    /// Number of CPUs, like 1.5
    #[arg(long, value_name = "NUMBER", help_heading = "Limits")]
    pub(in super::super) cpus: Option<String>,
    /// Weight among containers, 2 to 262144 [default: 1024]
    #[arg(short = 'c', long, value_name = "WEIGHT", help_heading = "Limits")]
    pub(in super::super) cpu_shares: Option<String>,
    /// CPUs to run on, like 0-1,3 [default: all]
    #[arg(long, value_name = "LIST", help_heading = "Limits")]
    pub(in super::super) cpuset_cpus: Option<String>,
    /// Memory nodes to use, like 0,1 [default: all]
    #[arg(long, value_name = "LIST", help_heading = "Limits")]
    pub(in super::super) cpuset_mems: Option<String>,
    /// Number of processes and threads, -1 for no limit [default: the profile's limit]
    #[arg(long, value_name = "NUMBER", help_heading = "Limits")]
    pub(in super::super) pids_limit: Option<String>,
    /// Weight for block devices, 10 to 1000 [default: 100]
    #[arg(long, value_name = "WEIGHT", help_heading = "Limits")]
    pub(in super::super) blkio_weight: Option<String>,
    /// Bytes read per second from a device, like /dev/sda:1m
    #[arg(long, value_name = "DEVICE:RATE", help_heading = "Limits")]
    pub(in super::super) device_read_bps: Vec<String>,
    /// Bytes written per second to a device
    #[arg(long, value_name = "DEVICE:RATE", help_heading = "Limits")]
    pub(in super::super) device_write_bps: Vec<String>,
    /// Reads per second from a device, like /dev/sda:1000
    #[arg(long, value_name = "DEVICE:RATE", help_heading = "Limits")]
    pub(in super::super) device_read_iops: Vec<String>,
    /// Writes per second to a device
    #[arg(long, value_name = "DEVICE:RATE", help_heading = "Limits")]
    pub(in super::super) device_write_iops: Vec<String>,
    /// Limit of the program, NAME=SOFT[:HARD]; may be repeated
    #[arg(long, value_name = "LIMIT", help_heading = "Limits")]
    pub(in super::super) ulimit: Vec<String>,
    /// Who is killed first when memory runs out, -1000 to 1000 [default: the profile's]
    #[arg(long, value_name = "SCORE", help_heading = "Limits")]
    pub(in super::super) oom_score_adj: Option<String>,
    /// Value for a file of cgroup v2, like memory.high=1073741824; may be repeated
    #[arg(long, value_name = "FILE=VALUE", help_heading = "Limits")]
    pub(in super::super) cgroup_conf: Vec<String>,
    /// Length of the period of --cpu-quota in microseconds [default: 100000]
    #[arg(long, value_name = "MICROSECONDS", help_heading = "Limits")]
    pub(in super::super) cpu_period: Option<String>,
    /// CPU time in a period in microseconds, -1 for no limit
    #[arg(long, value_name = "MICROSECONDS", help_heading = "Limits")]
    pub(in super::super) cpu_quota: Option<String>,
    /// How readily memory is swapped out, 0 to 100; cgroup v1 only
    #[arg(long, value_name = "NUMBER", help_heading = "Limits")]
    pub(in super::super) memory_swappiness: Option<String>,
    /// Weight for one block device, like /dev/sda:200
    #[arg(long, value_name = "DEVICE:WEIGHT", help_heading = "Limits")]
    pub(in super::super) blkio_weight_device: Vec<String>,
}
