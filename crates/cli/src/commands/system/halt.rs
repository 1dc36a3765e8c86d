//! `bulkhead system halt`.

use clap::Args;

use super::super::{Entry, flags_of, stop};
use crate::flags;
use crate::line::Flags;
use crate::{output, wire};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "halt",
    about: "Stop all containers for a shutdown; 'system restore' starts them again",
    footer: "Unlike 'stop', it leaves the wish that a container runs: after the next boot those whose restart policy\n\
             says so are started again.",
    flags: Flags::Anywhere,
    build: HaltFlags::augment_args,
    run: |matches| {
        let words: HaltFlags = flags_of(matches)?;
        let timeout = flags::optional("--time", words.time.as_deref(), stop::seconds)?;
        wire::halt(timeout)?.iter().try_for_each(|name| output::line(name)).map(|()| 0)
    },
};

#[derive(Debug, Args)]
struct HaltFlags {
    /// Seconds until SIGKILL, -1 to wait for ever [default: each container's, 10]
    #[arg(short = 't', long = "time", visible_alias = "timeout", value_name = "SECONDS")]
    time: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::parsed;

    #[test]
    fn a_time_is_a_number_of_seconds() {
        let words: HaltFlags = flags_of(&parsed(&ENTRY, &["--timeout", "3"]).unwrap()).unwrap();
        assert_eq!(words.time.as_deref(), Some("3"));
        assert!(parsed(&ENTRY, &["web"]).is_err());
    }
}
