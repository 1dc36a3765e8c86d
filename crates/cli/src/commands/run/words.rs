//! The flags of `run` as they are written; their texts are the help.

use clap::Args;

/// The words of a `run` command line, not yet understood.
#[derive(Debug, Args)]
pub(super) struct RunFlags {
    /// Run in the background and print the container's id
    #[arg(short, long)]
    pub(super) detach: bool,
    /// Pass standard input to the container
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// Give the container a terminal
    #[arg(short, long)]
    pub(super) tty: bool,
    /// Remove the container when it ends
    #[arg(long)]
    pub(super) rm: bool,
    /// Name of the container [default: made up]
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// When to ask the registry for the image: missing, never or always
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pub(super) pull: String,

    /// Set a variable, or pass on your own when only its name is given
    #[arg(short, long, value_name = "NAME[=VALUE]", help_heading = "Program")]
    pub(super) env: Vec<String>,
    /// Read variables from a file, one NAME=VALUE in a line
    #[arg(long, value_name = "FILE", help_heading = "Program")]
    pub(super) env_file: Vec<String>,
    /// Program to start instead of the image's entry point; "" for none
    #[arg(long, value_name = "PROGRAM", help_heading = "Program")]
    pub(super) entrypoint: Option<String>,
    /// User, as NAME|UID[:GROUP|GID] [default: the image's]
    #[arg(short, long, value_name = "USER", help_heading = "Program")]
    pub(super) user: Option<String>,
    /// Another group for the program, by name or number; may be repeated
    #[arg(long, value_name = "GROUP", help_heading = "Program")]
    pub(super) group_add: Vec<String>,
    /// Working directory in the container [default: the image's, or /]
    #[arg(short, long, value_name = "DIR", help_heading = "Program")]
    pub(super) workdir: Option<String>,
    /// Host name in the container [default: the start of its id]
    #[arg(short = 'h', long, value_name = "NAME", help_heading = "Program")]
    pub(super) hostname: Option<String>,
    /// Run a small first process that forwards signals and reaps orphans
    #[arg(long, help_heading = "Program")]
    pub(super) init: bool,
    /// Label for the container, KEY[=VALUE]; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE", help_heading = "Program")]
    pub(super) label: Vec<String>,
    /// Signal that stops the container [default: the image's, or SIGTERM]
    #[arg(long, value_name = "SIGNAL", help_heading = "Program")]
    pub(super) stop_signal: Option<String>,
    /// Seconds that a stop waits before SIGKILL [default: 10]
    #[arg(long, value_name = "SECONDS", help_heading = "Program")]
    pub(super) stop_timeout: Option<String>,

    /// Mount a directory of the host or a volume: [SOURCE:]TARGET[:ro,exec,nocopy,…]; programs in it start only with exec
    #[arg(short, long, value_name = "SPEC", help_heading = "Files")]
    pub(super) volume: Vec<String>,
    /// Mount in the long form: type=bind|volume|tmpfs,source=…,target=…[,readonly][,exec]
    #[arg(long, value_name = "SPEC", help_heading = "Files")]
    pub(super) mount: Vec<String>,
    /// Mount what another container mounts: CONTAINER[:ro]; may be repeated
    #[arg(long, value_name = "CONTAINER", help_heading = "Files")]
    pub(super) volumes_from: Vec<String>,
    /// Mount memory: TARGET[:size=64m,mode=1777,exec,ro]
    #[arg(long, value_name = "SPEC", help_heading = "Files")]
    pub(super) tmpfs: Vec<String>,
    /// Make the root file system read-only [default: only with --profile strict]
    #[arg(long, help_heading = "Files")]
    pub(super) read_only: bool,
    /// Size of /dev/shm [default: 64m]
    #[arg(long, value_name = "SIZE", help_heading = "Files")]
    pub(super) shm_size: Option<String>,

    /// Network: none, host or a name [default: an own stack with loopback only]
    #[arg(long, visible_alias = "net", value_name = "NETWORK", help_heading = "Network")]
    pub(super) network: Option<String>,
    /// Publish a port: [ADDRESS:][HOST:]CONTAINER[/udp]; without an address on loopback only
    #[arg(short, long, value_name = "PORT", help_heading = "Network")]
    pub(super) publish: Vec<String>,

    /// How strict the defaults are: strict, default or compat (Docker's)
    #[arg(long, value_name = "PROFILE", default_value = "default", help_heading = "Security")]
    pub(super) profile: String,
    /// Add a capability; a grant
    #[arg(long, value_name = "CAPABILITY", help_heading = "Security")]
    pub(super) cap_add: Vec<String>,
    /// Take a capability away, or ALL
    #[arg(long, value_name = "CAPABILITY", help_heading = "Security")]
    pub(super) cap_drop: Vec<String>,
    /// no-new-privileges=…, seccomp=unconfined|builtin|FILE, apparmor=…, label=…, systempaths=unconfined
    #[arg(long, value_name = "OPTION", help_heading = "Security")]
    pub(super) security_opt: Vec<String>,
    /// Every capability inside the container's own user namespace; a grant
    #[arg(long, help_heading = "Security")]
    pub(super) privileged: bool,
    /// Kernel parameter of the container's namespaces, NAME=VALUE; may be repeated
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Security")]
    pub(super) sysctl: Vec<String>,

    /// Memory [default: the profile's limit]
    #[arg(short, long, value_name = "SIZE", help_heading = "Limits")]
    pub(super) memory: Option<String>,
    /// Memory plus swap, -1 for no limit [default: no swap beyond memory]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub(super) memory_swap: Option<String>,
    /// Memory that is left to the container when the host runs short
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub(super) memory_reservation: Option<String>,
    /// Number of CPUs, like 1.5
    #[arg(long, value_name = "NUMBER", help_heading = "Limits")]
    pub(super) cpus: Option<String>,
    /// Weight among containers, 2 to 262144 [default: 1024]
    #[arg(short = 'c', long, value_name = "WEIGHT", help_heading = "Limits")]
    pub(super) cpu_shares: Option<String>,
    /// CPUs to run on, like 0-1,3 [default: all]
    #[arg(long, value_name = "LIST", help_heading = "Limits")]
    pub(super) cpuset_cpus: Option<String>,
    /// Memory nodes to use, like 0,1 [default: all]
    #[arg(long, value_name = "LIST", help_heading = "Limits")]
    pub(super) cpuset_mems: Option<String>,
    /// Number of processes and threads, -1 for no limit [default: the profile's limit]
    #[arg(long, value_name = "NUMBER", help_heading = "Limits")]
    pub(super) pids_limit: Option<String>,
    /// Weight for block devices, 10 to 1000 [default: 100]
    #[arg(long, value_name = "WEIGHT", help_heading = "Limits")]
    pub(super) blkio_weight: Option<String>,
    /// Bytes read per second from a device, like /dev/sda:1m
    #[arg(long, value_name = "DEVICE:RATE", help_heading = "Limits")]
    pub(super) device_read_bps: Vec<String>,
    /// Bytes written per second to a device
    #[arg(long, value_name = "DEVICE:RATE", help_heading = "Limits")]
    pub(super) device_write_bps: Vec<String>,
    /// Reads per second from a device, like /dev/sda:1000
    #[arg(long, value_name = "DEVICE:RATE", help_heading = "Limits")]
    pub(super) device_read_iops: Vec<String>,
    /// Writes per second to a device
    #[arg(long, value_name = "DEVICE:RATE", help_heading = "Limits")]
    pub(super) device_write_iops: Vec<String>,
    /// Limit of the program, NAME=SOFT[:HARD]; may be repeated
    #[arg(long, value_name = "LIMIT", help_heading = "Limits")]
    pub(super) ulimit: Vec<String>,
    /// Who is killed first when memory runs out, -1000 to 1000 [default: the profile's]
    #[arg(long, value_name = "SCORE", help_heading = "Limits")]
    pub(super) oom_score_adj: Option<String>,
    /// Value for a file of cgroup v2, like memory.high=1073741824; may be repeated
    #[arg(long, value_name = "FILE=VALUE", help_heading = "Limits")]
    pub(super) cgroup_conf: Vec<String>,

    /// Reference, id or the start of an id
    #[arg(value_name = "IMAGE")]
    pub(super) image: String,
    /// Program and arguments instead of the image's command
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    pub(super) args: Vec<String>,
}
