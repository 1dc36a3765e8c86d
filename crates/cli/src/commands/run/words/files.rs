//! Flags of the heading "Files".

use clap::Args;

/// What the container sees beside its image.
#[derive(Debug, Args)]
pub(in super::super) struct FilesWords {
    /// Mount a directory of the host or a volume: [SOURCE:]TARGET[:ro,exec,nocopy,…]; programs in it start only with exec
    #[arg(short, long, value_name = "SPEC", help_heading = "Files")]
    pub(in super::super) volume: Vec<String>,
    /// Mount what another container mounts: CONTAINER[:ro]; may be repeated
    #[arg(long, value_name = "CONTAINER", help_heading = "Files")]
    pub(in super::super) volumes_from: Vec<String>,
    /// Mount in the long form: type=bind|volume|tmpfs,source=…,target=…[,readonly][,exec]
    #[arg(long, value_name = "SPEC", help_heading = "Files")]
    pub(in super::super) mount: Vec<String>,
    /// Mount memory: TARGET[:size=64m,mode=1777,exec,ro]
    #[arg(long, value_name = "SPEC", help_heading = "Files")]
    pub(in super::super) tmpfs: Vec<String>,
    /// Make the root file system read-only [default: only with --profile strict]
    #[arg(long, help_heading = "Files")]
    pub(in super::super) read_only: bool,
    /// Size of /dev/shm [default: 64m]
    #[arg(long, value_name = "SIZE", help_heading = "Files")]
    pub(in super::super) shm_size: Option<String>,
}
