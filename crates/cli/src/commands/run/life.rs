//! Flags of a container's life after its start: restarts, health checks, its log, and what attaches to it.

use bulkhead_engine::request::{HealthRequest, LogRequest, RestartPolicy};
use clap::Args;

use crate::error::CliError;
use crate::flags::{self, Needed, keys, size, time};

/// The words, not yet understood.
#[derive(Debug, Args)]
pub(super) struct LifeFlags {
    /// What follows its end: no, on-failure[:TIMES], always or unless-stopped [default: no]
    #[arg(long, value_name = "POLICY", help_heading = "Life")]
    restart: Option<String>,
    /// Line for the shell that finds out whether the container does its work
    #[arg(long, value_name = "COMMAND", help_heading = "Life")]
    health_cmd: Option<String>,
    /// Time between two checks, like 30s [default: the image's, or 30s]
    #[arg(long, value_name = "TIME", help_heading = "Life")]
    health_interval: Option<String>,
    /// Time that a check may take [default: the image's, or 30s]
    #[arg(long, value_name = "TIME", help_heading = "Life")]
    health_timeout: Option<String>,
    /// Failures in a row that make it unhealthy [default: the image's, or 3]
    #[arg(long, value_name = "NUMBER", help_heading = "Life")]
    health_retries: Option<String>,
    /// Time after the start in which failures do not count [default: the image's, or 0s]
    #[arg(long, value_name = "TIME", help_heading = "Life")]
    health_start_period: Option<String>,
    /// Time between two checks in that time [default: the image's, or 5s]
    #[arg(long, value_name = "TIME", help_heading = "Life")]
    health_start_interval: Option<String>,
    /// No health checks, whatever the image says
    #[arg(long, help_heading = "Life")]
    no_healthcheck: bool,
    /// Where its output goes: json-file, or none [default: json-file]
    #[arg(long, value_name = "DRIVER", help_heading = "Life")]
    log_driver: Option<String>,
    /// Option of the log: max-size=10m, max-file=3; may be repeated
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Life")]
    log_opt: Vec<String>,
    /// Connect these streams only: stdin, stdout, stderr; may be repeated
    #[arg(short, long, value_name = "STREAM", help_heading = "Life")]
    attach: Vec<String>,
    /// Keys that leave it running [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS", help_heading = "Life")]
    detach_keys: Option<String>,
    /// Pass signals on to the program, which is the default; --sig-proxy=false keeps them
    #[arg(long, help_heading = "Life")]
    sig_proxy: bool,
    /// Keep signals
    #[arg(long, hide = true)]
    no_sig_proxy: bool,
}

/// Which streams a command is connected with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Streams {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
}

impl LifeFlags {
    pub(super) fn restart(&self) -> Result<RestartPolicy, CliError> {
        Ok(flags::optional("--restart", self.restart.as_deref(), restart)?.unwrap_or_default())
    }

    pub(super) fn health(&self) -> Result<HealthRequest, CliError> {
        let length = |flag, text: &Option<String>| flags::optional(flag, text.as_deref(), check_time);
        let asked = HealthRequest {
            none: self.no_healthcheck,
            command: self.health_cmd.clone().filter(|c| !c.is_empty()),
            interval: length("--health-interval", &self.health_interval)?,
            timeout: length("--health-timeout", &self.health_timeout)?,
            start_period: length("--health-start-period", &self.health_start_period)?,
            start_interval: length("--health-start-interval", &self.health_start_interval)?,
            retries: flags::optional("--health-retries", self.health_retries.as_deref(), |text| {
                text.parse().map_err(|_| "a number from 0 is needed".into())
            })?,
        };
        let other = HealthRequest { none: true, ..HealthRequest::default() };
        if asked.none && asked != other {
            return Err(CliError::usage("--no-healthcheck conflicts with --health-* flags"));
        }
        Ok(asked)
    }

    pub(super) fn log(&self) -> Result<LogRequest, CliError> {
        let none = flags::optional("--log-driver", self.log_driver.as_deref(), |text| match text {
            "json-file" | "local" => Ok(false),
            "none" => Ok(true),
            _ => Err("json-file, local or none is needed; nothing is sent to another host or program".into()),
        })?;
        let mut log = LogRequest { none: none.unwrap_or(false), ..LogRequest::default() };
        for option in &self.log_opt {
            let parsed = flags::value("--log-opt", option, |text| {
                let (name, value) = text.split_once('=').ok_or("NAME=VALUE is needed")?;
                match name {
                    "max-size" => size::positive(value).map(|bytes| (Some(bytes), None)),
                    "max-file" => match value.parse::<u32>().ok().filter(|n| (1..=100).contains(n)) {
                        Some(files) => Ok((None, Some(files))),
                        None => Err("max-file is a number from 1 to 100".into()),
                    },
                    _ => Err("the name must be max-size or max-file".into()),
                }
            })?;
            log.max_size = parsed.0.or(log.max_size);
            log.max_files = parsed.1.or(log.max_files);
        }
        if log.none && !self.log_opt.is_empty() {
            return Err(
                CliError::usage("--log-opt has no meaning with --log-driver none").with_hint("leave one of them out")
            );
        }
        if log.max_size.is_some_and(|s| s < 4096) {
            return Err(CliError::invalid("--log-opt", "max-size", "at least 4096 bytes are needed"));
        }
        Ok(log)
    }

    pub(super) fn streams(&self, interactive: bool, detach: bool) -> Result<Streams, CliError> {
        if self.attach.is_empty() {
            return Ok(Streams { stdin: interactive, stdout: true, stderr: true });
        }
        if detach {
            return Err(CliError::failed("--attach and --detach cannot be used together"));
        }
        let mut streams = Streams { stdin: false, stdout: false, stderr: false };
        for name in &self.attach {
            match name.to_ascii_lowercase().as_str() {
                "stdin" => streams.stdin = true,
                "stdout" => streams.stdout = true,
                "stderr" => streams.stderr = true,
                _ => return Err(CliError::invalid("--attach", name, "stdin, stdout or stderr is needed")),
            }
        }
        Ok(streams)
    }

    pub(super) fn detach_keys(&self) -> Result<Option<Vec<u8>>, CliError> {
        flags::optional("--detach-keys", self.detach_keys.as_deref(), keys::parse)
    }

    pub(super) fn sig_proxy(&self) -> bool {
        !self.no_sig_proxy
    }
}

/// Docker's rule: 0 is the default, and anything else is at least a millisecond.
fn check_time(text: &str) -> Result<u64, Needed> {
    let nanos = time::length(text)?;
    if nanos == 0 || nanos >= 1_000_000 { Ok(nanos) } else { Err("at least 1ms is needed".into()) }
}

/// `--restart`, also of `update`.
pub(in crate::commands) fn restart(text: &str) -> Result<RestartPolicy, Needed> {
    let needed = "no, on-failure[:TIMES], always or unless-stopped is needed";
    let (name, times) = text.split_once(':').map_or((text, None), |(name, times)| (name, Some(times)));
    match (name, times) {
        ("no" | "", None) => Ok(RestartPolicy::No),
        ("always", None) => Ok(RestartPolicy::Always),
        ("unless-stopped", None) => Ok(RestartPolicy::UnlessStopped),
        ("on-failure", None) => Ok(RestartPolicy::OnFailure(0)),
        ("on-failure", Some(times)) => times.parse().map(RestartPolicy::OnFailure).map_err(|_| needed.into()),
        _ => Err(needed.into()),
    }
}
