//! `bulkhead system unit`.

use clap::Args;

use super::super::{Entry, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::output;

/// The command.
pub const ENTRY: Entry = Entry {
    name: "unit",
    about: "Print a unit for systemd that restores containers after a boot",
    footer: "Examples:\n  bulkhead system unit > /etc/systemd/system/bulkhead.service\n\
             \x20 bulkhead system unit --user > ~/.config/systemd/user/bulkhead.service\n\n\
             Then 'systemctl enable --now bulkhead'; for a user with --user, and 'loginctl enable-linger' once.",
    flags: Flags::Anywhere,
    build: UnitFlags::augment_args,
    run: |matches| {
        let words: UnitFlags = flags_of(matches)?;
        let path = "/proc/self/exe";
        let program = std::fs::read_link(path).map_err(|e| CliError::failed(format!("cannot read {path}: {e}")))?;
        output::raw(unit(&program.to_string_lossy(), words.user).as_bytes()).map(|()| 0)
    },
};

/// The unit of the system; the other differs in its target.
const UNIT: &str = include_str!("../../../../../contrib/systemd/bulkhead.service");

#[derive(Debug, Args)]
struct UnitFlags {
    /// For the service manager of a user
    #[arg(long)]
    user: bool,
}

/// A path in a line of a unit: what systemd would expand or split is quoted.
fn quoted(path: &str) -> String {
    let text = path.replace('%', "%%");
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+%".contains(c);
    if text.chars().all(plain) {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "$$"))
}

fn unit(program: &str, user: bool) -> String {
    let unit = UNIT.replace("@EXEC@", &quoted(program));
    match user {
        false => unit.replace("@TARGET@", "multi-user.target"),
        // Its targets are its own: there is no file system and no network to wait for.
        true => {
            let kept = unit.lines().filter(|line| !line.starts_with("After="));
            let unit: String = kept.map(|line| format!("{line}\n")).collect();
            unit.replace("@TARGET@", "default.target")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::unit;

    #[test]
    fn the_unit_names_this_program_and_its_target() {
        let system = unit("/usr/local/bin/bulkhead", false);
        assert!(system.contains("\nExecStart=/usr/local/bin/bulkhead system restore\n"), "{system}");
        assert!(system.contains("\nExecStop=/usr/local/bin/bulkhead system halt\n"), "{system}");
        assert!(system.contains("After=local-fs.target network.target") && system.contains("RemainAfterExit=yes"));
        assert!(system.ends_with("WantedBy=multi-user.target\n") && !system.contains('@'), "{system}");
        let user = unit("/home/a b/50%/bulkhead", true);
        assert!(user.contains("ExecStart=\"/home/a b/50%%/bulkhead\" system"), "{user}");
        assert!(user.ends_with("WantedBy=default.target\n") && !user.contains("After="), "{user}");
    }
}
