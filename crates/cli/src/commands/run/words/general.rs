//! What is started, and how the command goes with it.

use clap::Args;

/// The flags without a heading.
#[derive(Debug, Args)]
pub(in super::super) struct GeneralWords {
    /// Run in the background and print the container's id
    #[arg(short, long)]
    pub(in super::super) detach: bool,
    /// Pass standard input to the container
    #[arg(short, long)]
    pub(in super::super) interactive: bool,
    /// Give the container a terminal
    #[arg(short, long)]
    pub(in super::super) tty: bool,
    /// Remove the container when it ends
    #[arg(long)]
    pub(in super::super) rm: bool,
    /// Name of the container [default: made up]
    #[arg(long, value_name = "NAME")]
    pub(in super::super) name: Option<String>,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub(in super::super) dry_run: bool,
    /// When to ask the registry for the image: missing, never or always
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pub(in super::super) pull: String,
    /// Write the container's id to a new file
    #[arg(long, value_name = "FILE")]
    pub(in super::super) cidfile: Option<String>,
    /// Platform that the image must be for, like linux/amd64 [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    pub(in super::super) platform: Option<String>,
    /// Print nothing about getting the image
    #[arg(short, long)]
    pub(in super::super) quiet: bool,
    /// Nothing to do: no signature of an image is looked at
    #[arg(long, hide = true)]
    disable_content_trust: bool,
}
