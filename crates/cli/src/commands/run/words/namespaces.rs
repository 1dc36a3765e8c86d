//! Flags of the heading "Namespaces".

use clap::Args;

/// What is shared with another container.
#[derive(Debug, Args)]
pub(in super::super) struct NamespacesWords {
    /// private, none (no /dev/shm), shareable, or container:NAME [default: private]
    #[arg(long, value_name = "MODE", help_heading = "Namespaces")]
    pub(in super::super) ipc: Option<String>,
    /// private, or container:NAME to see and signal its processes [default: private]
    #[arg(long, value_name = "MODE", help_heading = "Namespaces")]
    pub(in super::super) pid: Option<String>,
    /// private, or container:NAME to have its host name [default: private]
    #[arg(long, value_name = "MODE", help_heading = "Namespaces")]
    pub(in super::super) uts: Option<String>,
}
