//! `bulkhead image verify`.

use clap::Args;
use serde_json::{Value, json};

use super::{Entry, flags_of};
use crate::error::{self, CliError, FAILED};
use crate::line::Flags;
use crate::output::{self, escape, template::Format};
use crate::wire::images::{self, Judged, JudgedRule, Verified};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "verify",
    about: "Say whether images are trusted, and why",
    footer: "\
Rules are [[trust]] sections of the configuration; 'bulkhead config show' lists them.
The exit code is 0 when every image would run, else 1.

Examples:
  bulkhead image verify alpine
  bulkhead image verify --remote registry.example/team/app:1",
    flags: Flags::Anywhere,
    build: VerifyFlags::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

#[derive(Debug, Args)]
struct VerifyFlags {
    /// Ask the registry what it has and who has signed it, and fetch no layer
    #[arg(long)]
    remote: bool,
    /// With --remote: the image for this platform, like linux/arm64 [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// "json", or a template like '{{.Trusted}}' [default: text]
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// References, ids or starts of ids
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

fn execute(flags: &VerifyFlags) -> Result<u8, CliError> {
    if flags.platform.is_some() && !flags.remote {
        return Err(CliError::usage("--platform goes with --remote"));
    }
    let format = flags.format.as_deref().map(Format::parse).transpose()?;
    let (mut code, mut found) = (0, Vec::new());
    for image in &flags.images {
        let verified = match flags.remote {
            true => images::verify_remote(image, flags.platform.as_deref()),
            false => images::verify(image),
        };
        match verified {
            Ok(verified) => {
                if !verified.trusted() {
                    code = FAILED;
                }
                found.push(verified);
            }
            Err(error) => {
                error::print(&error);
                code = FAILED;
            }
        }
    }
    match format {
        None => output::text(&found.iter().map(text).collect::<String>())?,
        Some(Format::Json) => output::line(&Value::Array(found.iter().map(document).collect()).to_string())?,
        Some(format) => {
            let rows: Vec<Value> = found.iter().map(document).collect();
            output::text(&format.render(&rows, str::to_owned)?)?;
        }
    }
    Ok(code)
}

fn text(verified: &Verified) -> String {
    let word = if verified.trusted() { "trusted" } else { "not trusted" };
    let mut lines = vec![format!("{}: {word}", escape::cell(&verified.reference)), field("image", &verified.id)];
    for name in &verified.names {
        lines.push(field("name", if name.name.is_empty() { "none" } else { &name.name }));
        lines.extend(name.digests.iter().map(|digest| field("digest", digest)));
        lines.extend(name.signers.iter().map(|one| field("signed by", &format!("{} ({})", one.key, one.form))));
        if name.rules.is_empty() {
            lines.push(field("rule", "none, so anything is accepted"));
        }
        lines.extend(name.rules.iter().map(rule));
    }
    lines.extend(verified.refused.iter().map(|reason| field("refused", reason)));
    lines.into_iter().map(|line| format!("{line}\n")).collect()
}

fn field(name: &str, value: &str) -> String {
    format!("  {name:<10} {}", escape::cell(value))
}

fn rule(rule: &JudgedRule) -> String {
    let said = rule.problem.as_deref().unwrap_or("satisfied");
    field("rule", &format!("{:?} accepts {} ({}): {said}", rule.images, rule.accept, rule.origin))
}

fn document(verified: &Verified) -> Value {
    let name = |name: &Judged| {
        let rule = |rule: &JudgedRule| {
            json!({
                "Images": rule.images,
                "Accept": rule.accept,
                "Origin": rule.origin,
                "Satisfied": rule.problem.is_none(),
                "Problem": rule.problem.clone().unwrap_or_default(),
            })
        };
        json!({
            "Name": name.name,
            "Digests": name.digests,
            "Signers": name.signers.iter().map(images::verification).collect::<Vec<_>>(),
            "Rules": name.rules.iter().map(rule).collect::<Vec<_>>(),
        })
    };
    json!({
        "Reference": verified.reference,
        "Id": verified.id,
        "Trusted": verified.trusted(),
        "Names": verified.names.iter().map(name).collect::<Vec<_>>(),
        "Refused": verified.refused,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_and_nothing_drives_the_terminal() {
        let missing = JudgedRule {
            images: "*".into(),
            accept: "signed".into(),
            origin: "/etc/x:3".into(),
            problem: Some("a\x1b[2J signature".into()),
        };
        let names = vec![Judged { name: "docker.io/library/a".into(), rules: vec![missing], ..Judged::default() }];
        let one = Verified { reference: "a".into(), id: "sha256:00".into(), names, refused: Vec::new() };
        let shown = text(&one);
        assert!(
            shown.starts_with("a: not trusted\n  image      sha256:00\n  name       docker.io/library/a\n"),
            "{shown}"
        );
        assert!(shown.contains("rule       \"*\" accepts signed (/etc/x:3): a") && !shown.contains('\x1b'), "{shown}");
        assert_eq!(document(&one)["Names"][0]["Rules"][0]["Satisfied"], false);
        let free = Verified { names: vec![Judged::default()], ..one };
        assert!(text(&free).contains("a: trusted\n") && text(&free).contains("none, so anything is accepted"));
    }
}
