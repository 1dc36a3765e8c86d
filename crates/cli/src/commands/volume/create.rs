//! `bulkhead volume create`.

use clap::Args;

use crate::commands::{Entry, flags_of};
use crate::error::CliError;
use crate::flags::{self, Needed, pairs, path};
use crate::line::Flags;
use crate::{output, wire};

/// The command.
pub const ENTRY_CREATE: Entry = Entry {
    name: "create",
    about: "Make a volume",
    footer: "\
Options of the driver local:
  size=1g                                  a limit, where the file system has project quotas
  type=tmpfs, o=size=64m,mode=0700,uid=1   memory, as long as its container lives
  type=none, o=bind, device=/srv/data      a directory of the host

Examples:
  bulkhead volume create data
  bulkhead volume create --opt type=tmpfs --opt o=size=64m scratch",
    flags: Flags::Anywhere,
    build: CreateFlags::augment_args,
    run: |matches| execute(flags_of(matches)?),
};

#[derive(Debug, Args)]
struct CreateFlags {
    /// Driver: local
    #[arg(short, long, value_name = "DRIVER", default_value = "local")]
    driver: String,
    /// Label, KEY[=VALUE]; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Option of the driver, KEY=VALUE; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Name [default: 64 hex digits, and the volume is anonymous]
    #[arg(value_name = "VOLUME")]
    name: Option<String>,
}

fn option(text: &str) -> Result<(String, String), Needed> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("KEY=VALUE is needed, like size=1g".into()),
    }
}

fn execute(words: CreateFlags) -> Result<u8, CliError> {
    let name =
        flags::optionally_meant("VOLUME", words.name.as_deref().filter(|name| !name.is_empty()), path::volume_name)?;
    let labels = flags::each("--label", &words.label, pairs::label)?;
    let options = flags::each("--opt", &words.opt, option)?;
    let made = wire::create_volume(name.as_deref(), &words.driver, labels, options)?;
    output::line(&made).map(|()| 0)
}
