//! Flags that Docker has and that are refused here by name, each with its reason and a way out.
//!
//! They are parsed like any other flag, so that their value is never taken for the image; help does not list them.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::error::CliError;

/// One flag.
struct Refused {
    name: &'static str,
    /// Without a value it is a switch, and `--name=false` is what is so anyway.
    value: bool,
    /// Values that ask for what is so anyway.
    accepted: &'static [&'static str],
    reason: &'static str,
    way_out: &'static str,
}

const fn valued(
    name: &'static str,
    accepted: &'static [&'static str],
    reason: &'static str,
    way_out: &'static str,
) -> Refused {
    Refused { name, value: true, accepted, reason, way_out }
}

const fn switch(name: &'static str, reason: &'static str, way_out: &'static str) -> Refused {
    Refused { name, value: false, accepted: &[], reason, way_out }
}

const WINDOWS: &str = "it is for containers of Windows";

/// The flags, in the order of the alphabet.
const REFUSED: [Refused; 20] = [
    valued(
        "cgroup-parent",
        &[""],
        "all containers are below one control group, which holds the host's reserve",
        "leave it out",
    ),
    valued("cgroupns", &["", "private"], "the host's control groups are not shown to a container", "leave it out"),
    valued("cpu-count", &["0"], WINDOWS, "use --cpus"),
    valued("cpu-percent", &["0"], WINDOWS, "use --cpus"),
    valued(
        "cpu-rt-period",
        &["0"],
        "a share of the host's real time can starve the host",
        "use --cpus and --cpu-shares",
    ),
    valued(
        "cpu-rt-runtime",
        &["0"],
        "a share of the host's real time can starve the host",
        "use --cpus and --cpu-shares",
    ),
    valued(
        "device-cgroup-rule",
        &[],
        "a rule without a device gives whole classes of devices",
        "name each with --device",
    ),
    valued("gpus", &[], "drivers of graphics cards are not set up here", "name each device with --device"),
    valued("io-maxbandwidth", &["0"], WINDOWS, "use --device-read-bps and --device-write-bps"),
    valued("io-maxiops", &["0"], WINDOWS, "use --device-read-iops and --device-write-iops"),
    valued("isolation", &["", "default"], WINDOWS, "use --profile strict for a narrower container"),
    valued("kernel-memory", &["0"], "kernels have no such limit any more", "--memory counts memory of the kernel too"),
    valued("link-local-ip", &[], "link-local addresses are refused on every network", "use --ip"),
    switch(
        "oom-kill-disable",
        "a container that waits for memory for ever cannot be told from a dead one",
        "use --oom-score-adj",
    ),
    valued("runtime", &[""], "containers are started by this program itself", "leave it out"),
    valued("storage-opt", &[], "the writable layer has no size limit yet", "mount memory with --tmpfs PATH:size=64m"),
    valued("time", &["", "private"], "the host's clocks cannot be set from a container", "leave it out"),
    switch("use-api-socket", "who reaches an engine's socket commands the engine", "leave it out"),
    valued("userns", &["", "private"], "a container always has a user namespace of its own", "leave it out"),
    valued("volume-driver", &["", "local"], "volumes are directories of the store", "use -v or --mount"),
];

/// What was written of them.
#[derive(Debug, Default)]
pub(in super::super) struct RefusedWords {
    /// Flag without dashes, and its value.
    written: Vec<(&'static str, Option<String>)>,
}

impl RefusedWords {
    /// The first that asks for something.
    ///
    /// # Errors
    /// Always, when one was written and asks for anything but what is so anyway.
    pub(in super::super) fn check(&self) -> Result<(), CliError> {
        for (name, value) in &self.written {
            let Some(flag) = REFUSED.iter().find(|flag| flag.name == *name) else { continue };
            let shown = match value {
                Some(value) if flag.accepted.contains(&value.as_str()) => continue,
                Some(value) => format!("--{name} {value}"),
                None => format!("--{name}"),
            };
            return Err(CliError::usage(format!("{shown} is refused: {}", flag.reason)).with_hint(flag.way_out));
        }
        Ok(())
    }
}

impl FromArgMatches for RefusedWords {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut written = Vec::new();
        for flag in &REFUSED {
            if flag.value {
                let values = matches.get_many::<String>(flag.name).into_iter().flatten();
                written.extend(values.map(|value| (flag.name, Some(value.clone()))));
            } else if matches.get_flag(flag.name) {
                written.push((flag.name, None));
            }
        }
        Ok(Self { written })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for RefusedWords {
    fn augment_args(command: Command) -> Command {
        REFUSED.iter().fold(command, |command, flag| {
            let action = if flag.value { ArgAction::Append } else { ArgAction::SetTrue };
            let arg = Arg::new(flag.name).long(flag.name).action(action).hide(true).help(flag.reason);
            command.arg(arg)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use super::REFUSED;

    #[test]
    fn every_refusal_has_a_reason_and_a_way_out() {
        for flag in &REFUSED {
            assert!(!flag.reason.is_empty() && !flag.way_out.is_empty(), "{}", flag.name);
        }
        assert!(REFUSED.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
