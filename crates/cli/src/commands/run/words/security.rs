//! Flags of the heading "Security".

use clap::Args;

/// What is loosened or tightened.
#[derive(Debug, Args)]
pub(in super::super) struct SecurityWords {
    /// How strict the defaults are: strict, default or compat (Docker's) [default: configured, or default]
    #[arg(long, value_name = "PROFILE", help_heading = "Security")]
    pub(in super::super) profile: Option<String>,
    /// Add a capability; a grant
    #[arg(long, value_name = "CAPABILITY", help_heading = "Security")]
    pub(in super::super) cap_add: Vec<String>,
    /// Take a capability away, or ALL
    #[arg(long, value_name = "CAPABILITY", help_heading = "Security")]
    pub(in super::super) cap_drop: Vec<String>,
    /// no-new-privileges=…, seccomp=unconfined|builtin|FILE, apparmor=…, label=…, systempaths=unconfined
    #[arg(long, value_name = "OPTION", help_heading = "Security")]
    pub(in super::super) security_opt: Vec<String>,
    /// Every capability inside the container's own user namespace; a grant
    #[arg(long, help_heading = "Security")]
    pub(in super::super) privileged: bool,
    /// Kernel parameter of the container's namespaces, NAME=VALUE; may be repeated
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Security")]
    pub(in super::super) sysctl: Vec<String>,
    /// Use a device of the host: HOST[:CONTAINER][:rw]; a grant; may be repeated
    #[arg(long, value_name = "DEVICE", help_heading = "Security")]
    pub(in super::super) device: Vec<String>,
}
