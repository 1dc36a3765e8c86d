//! One file for each command: its flags, the request made of them, and what is printed.

pub mod attach;
pub mod commit;
pub mod completion;
pub mod config;
pub mod cp;
pub mod create;
pub mod diff;
pub mod events;
pub mod exec;
pub mod explain;
pub mod export;
pub mod groups;
pub mod hidden;
pub mod history;
pub mod images;
pub mod import;
pub mod inspect;
pub mod kill;
pub mod load;
pub mod login;
pub mod logs;
pub mod man;
pub mod manifest;
pub mod network;
pub mod pause;
pub mod port;
pub mod ps;
pub mod pull;
pub mod push;
pub mod rename;
pub mod restart;
pub mod rm;
pub mod rmi;
pub mod run;
pub mod sandbox;
pub mod save;
pub mod session;
pub mod start;
pub mod stats;
pub mod stop;
pub mod system;
pub mod tag;
pub mod top;
pub mod tree;
pub mod unpause;
pub mod update;
pub mod verify;
pub mod version;
pub mod volume;
pub mod wait;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::error::{self, CliError, FAILED};
use crate::line::Flags;
use crate::output;

/// A command of the command line.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The word that chooses it.
    pub name: &'static str,
    /// One line for the list of commands.
    pub about: &'static str,
    /// Examples, shown below the flags.
    pub footer: &'static str,
    /// Where its flags may stand.
    pub flags: Flags,
    /// Adds its flags and words.
    pub build: fn(Command) -> Command,
    /// Runs it.
    pub run: fn(&ArgMatches) -> Result<u8, CliError>,
}

impl Entry {
    /// Its parser, as a command of the first level.
    pub fn command(&self) -> Command {
        self.command_as(None, self.name)
    }

    /// Its parser, as the verb `name` of `group`, or of the first level.
    pub fn command_as(&self, group: Option<&str>, name: &'static str) -> Command {
        let command = (self.build)(Command::new(name));
        let mut help = Arg::new("help").long("help").action(ArgAction::Help).help("Print this help");
        // For `run`, `-h` is the host name, as for Docker.
        if !command.get_arguments().any(|arg| arg.get_short() == Some('h')) {
            help = help.short('h');
        }
        let called = group.map_or_else(|| format!("bulkhead {name}"), |group| format!("bulkhead {group} {name}"));
        command.about(self.about).after_help(self.footer).bin_name(called).disable_help_flag(true).arg(help)
    }
}

/// The commands, in the order of the help.
pub const ALL: &[Entry] = &[
    run::ENTRY,
    create::ENTRY,
    start::ENTRY,
    exec::ENTRY,
    attach::ENTRY,
    ps::ENTRY,
    logs::ENTRY,
    top::ENTRY,
    stats::ENTRY,
    events::ENTRY,
    port::ENTRY,
    stop::ENTRY,
    restart::ENTRY,
    kill::ENTRY,
    pause::ENTRY,
    unpause::ENTRY,
    wait::ENTRY,
    rename::ENTRY,
    update::ENTRY,
    rm::ENTRY,
    cp::ENTRY,
    diff::ENTRY,
    export::ENTRY,
    commit::ENTRY,
    inspect::ENTRY,
    explain::ENTRY,
    images::ENTRY,
    pull::ENTRY,
    push::ENTRY,
    login::ENTRY,
    login::LOGOUT,
    rmi::ENTRY,
    import::ENTRY,
    load::ENTRY,
    save::ENTRY,
    tag::ENTRY,
    history::ENTRY,
    sandbox::ENTRY,
    config::ENTRY,
    system::info::ENTRY,
    version::ENTRY,
    completion::ENTRY,
    man::ENTRY,
];

/// The command of this name.
pub fn find(name: &str) -> Option<&'static Entry> {
    ALL.iter().find(|entry| entry.name == name)
}

/// The words of a command line, parsed as by the dispatch; for tests.
#[cfg(test)]
fn parsed(entry: &Entry, words: &[&str]) -> Result<ArgMatches, CliError> {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    crate::line::parse(entry.command(), words, entry.flags).map(|matches| matches.expect("no --help"))
}

/// The flags of a command out of what clap matched.
fn flags_of<T: Args + FromArgMatches>(matches: &ArgMatches) -> Result<T, CliError> {
    T::from_arg_matches(matches).map_err(|error| CliError::usage(error.to_string()))
}

/// Does `act` for every name and prints what it returns (the name, mostly); errors are printed as they come, and the
/// rest is still done, as Docker does.
fn for_each(names: &[String], mut act: impl FnMut(&str) -> Result<Vec<String>, CliError>) -> Result<u8, CliError> {
    let mut code = 0;
    for name in names {
        match act(name) {
            Ok(lines) => {
                for line in lines {
                    output::line(&line)?;
                }
            }
            Err(error) => {
                error::print(&error);
                // Code 0: it is told, and nothing is wrong (`rm -f` of what there is not).
                if error.code != 0 {
                    code = FAILED;
                }
            }
        }
    }
    Ok(code)
}
