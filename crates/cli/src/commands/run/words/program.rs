//! Flags of the heading "Program".

use clap::Args;

/// What runs, as whom, and how it is called.
#[derive(Debug, Args)]
pub(in super::super) struct ProgramWords {
    /// Set a variable, or pass on your own when only its name is given
    #[arg(short, long, value_name = "NAME[=VALUE]", help_heading = "Program")]
    pub(in super::super) env: Vec<String>,
    /// Read variables from a file, one NAME=VALUE in a line
    #[arg(long, value_name = "FILE", help_heading = "Program")]
    pub(in super::super) env_file: Vec<String>,
    /// Program to start instead of the image's entry point; "" for none
    #[arg(long, value_name = "PROGRAM", help_heading = "Program")]
    pub(in super::super) entrypoint: Option<String>,
    /// User, as NAME|UID[:GROUP|GID] [default: the image's]
    #[arg(short, long, value_name = "USER", help_heading = "Program")]
    pub(in super::super) user: Option<String>,
    /// Another group for the program, by name or number; may be repeated
    #[arg(long, value_name = "GROUP", help_heading = "Program")]
    pub(in super::super) group_add: Vec<String>,
    /// Working directory in the container [default: the image's, or /]
    #[arg(short, long, value_name = "DIR", help_heading = "Program")]
    pub(in super::super) workdir: Option<String>,
    /// Host name in the container [default: the start of its id]
    #[arg(short = 'h', long, value_name = "NAME", help_heading = "Program")]
    pub(in super::super) hostname: Option<String>,
    /// Run a small first process that forwards signals and reaps orphans
    #[arg(long, help_heading = "Program")]
    pub(in super::super) init: bool,
    /// Label for the container, KEY[=VALUE]; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE", help_heading = "Program")]
    pub(in super::super) label: Vec<String>,
    /// Signal that stops the container [default: the image's, or SIGTERM]
    #[arg(long, value_name = "SIGNAL", help_heading = "Program")]
    pub(in super::super) stop_signal: Option<String>,
    /// Seconds that a stop waits before SIGKILL [default: 10]
    #[arg(long, value_name = "SECONDS", help_heading = "Program")]
    pub(in super::super) stop_timeout: Option<String>,
    /// Domain name in the container
    #[arg(long, value_name = "NAME", help_heading = "Program")]
    pub(in super::super) domainname: Option<String>,
    /// Read labels from a file, one KEY=VALUE in a line
    #[arg(long, value_name = "FILE", help_heading = "Program")]
    pub(in super::super) label_file: Vec<String>,
    /// Note for other programs, KEY=VALUE; may be repeated
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Program")]
    pub(in super::super) annotation: Vec<String>,
}
