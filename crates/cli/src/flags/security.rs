//! `--security-opt`.

use bulkhead_engine::request::{SeccompChoice, SecurityOptions};

use super::{boolean, env};
use crate::error::CliError;

const FLAG: &str = "--security-opt";
/// More is no seccomp profile.
const PROFILE_LIMIT: u64 = 1 << 20;
const KNOWN: &str = "no-new-privileges[=true|false], seccomp=unconfined|builtin|FILE, apparmor=PROFILE, label=WORD or \
                     systempaths=unconfined is needed";

/// All `--security-opt` words; a later one wins over an earlier one. A seccomp profile is read here, so that what runs
/// is what was there when the command was typed.
///
/// # Errors
///
/// An unknown word, or a profile that cannot be read or is no JSON; the error names the file.
pub fn parse(texts: &[String]) -> Result<SecurityOptions, CliError> {
    let mut options = SecurityOptions::default();
    for text in texts {
        one(&mut options, text)?;
    }
    Ok(options)
}

fn one(options: &mut SecurityOptions, text: &str) -> Result<(), CliError> {
    let invalid = |needed: &str| CliError::invalid(FLAG, text, needed);
    // Docker takes both separators; the first of them counts (`label=user:USER`).
    let (key, value) = match text.find(['=', ':']) {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..)),
        None => (text, None),
    };
    match (key, value) {
        ("no-new-privileges", None) => options.no_new_privileges = Some(true),
        ("no-new-privileges", Some(word)) => {
            let word = boolean(word).ok_or_else(|| invalid("no-new-privileges must be true or false"))?;
            options.no_new_privileges = Some(word);
        }
        ("seccomp", Some("unconfined")) => options.seccomp = SeccompChoice::Unconfined,
        ("seccomp", Some("builtin" | "default")) => options.seccomp = SeccompChoice::Builtin,
        ("seccomp", Some(file)) if !file.is_empty() => {
            let json = env::read_text(FLAG, file, PROFILE_LIMIT)?;
            serde_json::from_str::<serde::de::IgnoredAny>(&json)
                .map_err(|error| CliError::invalid(FLAG, text, format!("the file {file:?} is no JSON: {error}")))?;
            options.seccomp = SeccompChoice::Json(json);
        }
        ("apparmor", Some(profile)) if !profile.is_empty() => options.apparmor = Some(profile.to_owned()),
        ("label", Some(word)) if !word.is_empty() => options.selinux.push(word.to_owned()),
        ("systempaths", Some("unconfined")) => options.unmask_kernel_paths = true,
        _ => return Err(invalid(KNOWN)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(texts: &[&str]) -> Result<SecurityOptions, CliError> {
        parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn words_with_either_separator() {
        let no_new = |text: &str| parsed(&[text]).unwrap().no_new_privileges;
        assert_eq!(no_new("no-new-privileges"), Some(true));
        assert_eq!(no_new("no-new-privileges:true"), Some(true));
        assert_eq!(no_new("no-new-privileges=false"), Some(false));
        let all =
            parsed(&["seccomp=unconfined", "apparmor=x", "label=disable", "label:type:t", "systempaths=unconfined"]);
        let all = all.unwrap();
        assert_eq!(all.seccomp, SeccompChoice::Unconfined);
        assert_eq!(all.selinux, ["disable", "type:t"]);
        assert!(all.unmask_kernel_paths && all.apparmor.as_deref() == Some("x"));
        assert_eq!(parsed(&["seccomp=unconfined", "seccomp=builtin"]).unwrap(), SecurityOptions::default());
    }

    #[test]
    fn unknown_words_list_the_known_ones() {
        for text in ["", "seccomp", "seccomp=", "label", "systempaths=all", "colour=red", "no-new-privileges=perhaps"] {
            let error = parsed(&[text]).unwrap_err();
            assert_eq!(error.code, 125);
        }
        assert!(parsed(&["x"]).unwrap_err().to_string().contains("seccomp=unconfined|builtin|FILE"));
    }

    #[test]
    fn a_profile_is_read_and_checked() {
        let dir = std::env::temp_dir().join(format!("bulkhead-seccomp-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            format!("seccomp={}", path.display())
        };
        let good = parsed(&[&file("good", "{}")]).unwrap();
        assert_eq!(good.seccomp, SeccompChoice::Json("{}".to_owned()));
        let bad = parsed(&[&file("bad", "{")]).unwrap_err();
        assert!(bad.to_string().contains("is no JSON"), "{bad}");
        let large = parsed(&[&file("large", &" ".repeat((1 << 20) + 1))]).unwrap_err();
        assert!(large.to_string().contains("larger than 1024 KiB"), "{large}");
        let missing = parsed(&["seccomp=/nonexistent/p.json"]).unwrap_err();
        assert!(missing.to_string().contains("/nonexistent/p.json"), "{missing}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
