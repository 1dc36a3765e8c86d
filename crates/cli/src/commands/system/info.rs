//! `bulkhead info` and `bulkhead system info`.

use clap::Args;
use serde_json::Value;

use super::super::{Entry, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::output::{self, binary, escape, template::Format};
use crate::wire;

/// The command.
pub const ENTRY: Entry = Entry {
    name: "info",
    about: "Show this bulkhead and what the host offers",
    footer: "Examples:\n  bulkhead info\n  bulkhead info -f '{{.ContainersRunning}}'\n  bulkhead info -f '{{json .Host}}'",
    flags: Flags::Anywhere,
    build: InfoFlags::augment_args,
    run: |matches| {
        let words: InfoFlags = flags_of(matches)?;
        execute(words.format.as_deref().map(Format::parse).transpose()?.as_ref())
    },
};

#[derive(Debug, Args)]
struct InfoFlags {
    /// "json", or a template like '{{.Version}}' [default: text]
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Prints the facts.
///
/// # Errors
///
/// What the engine says, and a template field that does not exist.
pub fn execute(format: Option<&Format>) -> Result<u8, CliError> {
    let info = wire::info()?;
    let text = match format {
        Some(format) => format.render(&[info], str::to_owned)?,
        None => render(&info),
    };
    output::line(text.trim_end_matches('\n'))?;
    Ok(0)
}

/// Docker's lines, and below them what the host lacks.
fn render(info: &Value) -> String {
    let get = |key: &str| match info.get(key) {
        Some(Value::String(text)) => escape::cell(text).into_owned(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let mut lines = vec![
        format!("Containers: {}", get("Containers")),
        format!(" Running: {}", get("ContainersRunning")),
        format!(" Paused: {}", get("ContainersPaused")),
        format!(" Stopped: {}", get("ContainersStopped")),
        format!("Images: {}", get("Images")),
        format!("Version: {}", get("Version")),
        format!("Storage Driver: {}", get("Driver")),
        format!("Logging Driver: {}", get("LoggingDriver")),
        format!("Cgroup Driver: {}", get("CgroupDriver")),
        format!("Cgroup Version: {}", get("CgroupVersion")),
        "Security Options:".to_owned(),
    ];
    for option in info.get("SecurityOptions").and_then(Value::as_array).into_iter().flatten() {
        for (index, part) in option.as_str().unwrap_or_default().split(',').enumerate() {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            lines.push(match index {
                0 => format!(" {value}"),
                _ => format!("  {}: {value}", capital(key)),
            });
        }
    }
    let memory = info.get("MemTotal").and_then(Value::as_u64).unwrap_or(0);
    lines.extend([
        format!("Kernel Version: {}", get("KernelVersion")),
        format!("Operating System: {}", get("OperatingSystem")),
        format!("OSType: {}", get("OSType")),
        format!("Architecture: {}", get("Architecture")),
        format!("CPUs: {}", get("NCPU")),
        format!("Total Memory: {}", binary::size(memory)),
        format!("Name: {}", get("Name")),
        format!("Root Dir: {}", get("Root")),
        format!("Run Dir: {}", get("Run")),
        format!("Rootless: {}", get("Rootless")),
    ]);
    for warning in info.get("Warnings").and_then(Value::as_array).into_iter().flatten() {
        lines.push(format!("WARNING: {}", warning.as_str().unwrap_or_default()));
    }
    lines.join("\n")
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_dockers() {
        let text = render(&serde_json::json!({
            "Containers": 3, "ContainersRunning": 1, "SecurityOptions": ["name=seccomp,profile=default", "name=userns"],
            "MemTotal": 1_u64 << 30, "Name": "a\nb", "Warnings": ["no pids controller"], "Rootless": false,
        }));
        assert!(text.starts_with("Containers: 3\n Running: 1\n"), "{text}");
        assert!(text.contains("Security Options:\n seccomp\n  Profile: default\n userns\nKernel"), "{text}");
        assert!(text.contains("Total Memory: 1GiB\nName: a\\nb\n"), "{text}");
        assert!(text.ends_with("Rootless: false\nWARNING: no pids controller"), "{text}");
    }
}
