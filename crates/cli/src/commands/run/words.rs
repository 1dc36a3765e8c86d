//! The flags of `run` as they are written, a file for each heading of the help; their texts are the help.

mod files;
mod general;
mod limits;
mod namespaces;
mod network;
mod program;
mod refused;
mod security;

use clap::Args;

pub(super) use self::files::FilesWords;
pub(super) use self::general::GeneralWords;
pub(super) use self::limits::LimitsWords;
pub(super) use self::namespaces::NamespacesWords;
pub(super) use self::network::NetworkWords;
pub(super) use self::program::ProgramWords;
pub(super) use self::refused::RefusedWords;
pub(super) use self::security::SecurityWords;
use super::life::LifeFlags;

/// The words of a `run` command line, not yet understood.
#[derive(Debug, Args)]
pub(super) struct RunFlags {
    #[command(flatten)]
    pub(super) general: GeneralWords,
    #[command(flatten)]
    pub(super) program: ProgramWords,
    #[command(flatten)]
    pub(super) files: FilesWords,
    #[command(flatten)]
    pub(super) network: NetworkWords,
    #[command(flatten)]
    pub(super) security: SecurityWords,
    #[command(flatten)]
    pub(super) limits: LimitsWords,
    #[command(flatten)]
    pub(super) life: LifeFlags,
    #[command(flatten)]
    pub(super) namespaces: NamespacesWords,
    #[command(flatten)]
    pub(super) refused: RefusedWords,

    /// Reference, id or the start of an id
    #[arg(value_name = "IMAGE")]
    pub(super) image: String,
    /// Program and arguments instead of the image's command
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    pub(super) args: Vec<String>,
}
