//! `--change` of an import: instructions as in a Dockerfile.

use super::{ImageConfig, UserSpec, clean_path, clean_port, clean_signal, health, no_nul};
use crate::error::{ImageError, Result, show};

/// Applies `changes` in order. Each is `KEYWORD ARGUMENTS` or `KEYWORD=ARGUMENTS`, the keyword in any case, out of CMD,
/// ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, STOPSIGNAL, USER, VOLUME and WORKDIR.
///
/// Nothing is expanded: `$NAME` stays as it is, and no value is ever taken from the environment of the host.
///
/// # Errors
/// [`ImageError::Change`] with the instruction and what would be accepted.
pub fn apply_changes<S: AsRef<str>>(config: &mut ImageConfig, changes: &[S]) -> Result<()> {
    for change in changes {
        let change = change.as_ref();
        apply(config, change.trim()).map_err(|e| ImageError::Change {
            instruction: show(change.as_bytes()),
            reason: match e {
                ImageError::Input(reason) => reason,
                other => other.to_string(),
            },
        })?;
    }
    Ok(())
}

pub(super) fn refuse<T>(reason: &str) -> Result<T> {
    Err(ImageError::Input(reason.to_owned()))
}

fn apply(config: &mut ImageConfig, change: &str) -> Result<()> {
    no_nul("instruction", change)?;
    let end = change.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(change.len());
    let (keyword, rest) = change.split_at(end);
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim();
    let keyword = keyword.to_ascii_uppercase();
    if rest.is_empty() && !["CMD", "ENTRYPOINT"].contains(&keyword.as_str()) {
        return refuse(
            "expected KEYWORD ARGUMENTS, with KEYWORD one of CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR",
        );
    }
    match keyword.as_str() {
        "CMD" => config.cmd = command(config, rest)?,
        "ENTRYPOINT" => config.entrypoint = command(config, rest)?,
        "ENV" => {
            for (name, value) in pairs(rest)? {
                config.set_env(&name, &value);
            }
        }
        "LABEL" => config.labels.extend(pairs(rest)?),
        "USER" => {
            UserSpec::parse(rest)?;
            rest.clone_into(&mut config.user);
        }
        "WORKDIR" => {
            let path = one(rest)?;
            config.workdir = clean_path("working directory", &config.workdir, &path)?;
        }
        "EXPOSE" => {
            for port in words(rest)? {
                config.exposed_ports.insert(clean_port(&port)?);
            }
        }
        "VOLUME" => {
            let paths = match json_words(rest) {
                Some(paths) => paths?,
                None => words(rest)?,
            };
            for path in paths {
                let path = clean_path("volume", "/", &path)?;
                if path == "/" {
                    return refuse("a volume can not be the root");
                }
                config.volumes.insert(path);
            }
        }
        "HEALTHCHECK" => config.healthcheck = Some(health::check(rest)?),
        "STOPSIGNAL" => config.stop_signal = clean_signal(rest)?,
        _ => {
            return refuse(
                "expected one of CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR",
            );
        }
    }
    Ok(())
}

/// The JSON form, or the shell form run by the image's shell.
fn command(config: &ImageConfig, rest: &str) -> Result<Vec<String>> {
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(words) = json_words(rest) {
        return words;
    }
    let mut out = config.shell.clone();
    if out.is_empty() {
        out = vec!["/bin/sh".into(), "-c".into()];
    }
    out.push(rest.to_owned());
    Ok(out)
}

/// The strings of a JSON list; `None` when the text does not look like one. A list that is malformed is an error: taken
/// as a shell command, as Docker does, it would run something nobody meant.
pub(super) fn json_words(text: &str) -> Option<Result<Vec<String>>> {
    if !(text.starts_with('[') && text.ends_with(']')) {
        return None;
    }
    let parsed: std::result::Result<Vec<String>, _> = serde_json::from_str(text);
    Some(match parsed {
        Ok(words) => words.iter().try_for_each(|word| no_nul("argument", word)).map(|()| words),
        Err(_) => refuse("its JSON form is malformed; expected [\"WORD\", …]"),
    })
}

/// `NAME=VALUE …`, or `NAME VALUE` with the rest of the line as the value.
fn pairs(rest: &str) -> Result<Vec<(String, String)>> {
    let first = rest.split_whitespace().next().unwrap_or_default();
    let list = if first.contains('=') {
        let split = |word: String| match word.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => refuse("expected NAME=VALUE, separated by blanks"),
        };
        words(rest)?.into_iter().map(split).collect::<Result<Vec<_>>>()?
    } else {
        match rest.split_once(char::is_whitespace) {
            Some((name, value)) => vec![(name.to_owned(), value.trim().to_owned())],
            None => return refuse("expected NAME=VALUE; a value is never taken from the host"),
        }
    };
    if list.iter().any(|(name, _)| name.is_empty()) {
        return refuse("the name before `=` is empty");
    }
    Ok(list)
}

fn one(rest: &str) -> Result<String> {
    let mut list = words(rest)?;
    match (list.pop(), list.is_empty()) {
        (Some(word), true) => Ok(word),
        _ => refuse("expected one argument; quote blanks"),
    }
}

/// Splits at blanks; quotes keep blanks, a backslash keeps the next character except within single quotes.
fn words(text: &str) -> Result<Vec<String>> {
    let mut out = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('"') | None, '\\') => match chars.next() {
                Some(next) => {
                    let word = word.get_or_insert_default();
                    // Within double quotes the backslash stays before what needs none.
                    if quote.is_some() && !matches!(next, '"' | '\\' | '$') {
                        word.push('\\');
                    }
                    word.push(next);
                }
                None => return refuse("it ends with a backslash"),
            },
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => out.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return refuse("a quote is not closed");
    }
    out.extend(word);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: &[&str]) -> Result<ImageConfig> {
        let mut config = ImageConfig::default();
        apply_changes(&mut config, changes).map(|()| config)
    }

    #[test]
    fn all_instructions() {
        let config = changed(&[
            r#"CMD ["a", "b c"]"#,
            "entrypoint echo $HOME",
            r#"ENV A=1 B="two words" C=x\ y"#,
            "ENV D four words here",
            "ENV=A=2",
            "LABEL k=v 'q'=\"w\"",
            "USER app:1",
            "WORKDIR /srv",
            "WORKDIR app",
            "EXPOSE 80 53/udp",
            "VOLUME /data logs",
            r#"VOLUME ["/json"]"#,
            "STOPSIGNAL SIGINT",
            "HEALTHCHECK --retries=2 CMD true",
        ])
        .unwrap();
        assert_eq!(config.cmd, ["a", "b c"]);
        assert_eq!(config.entrypoint, ["/bin/sh", "-c", "echo $HOME"]);
        assert_eq!(config.env, ["A=2", "B=two words", "C=x y", "D=four words here"]);
        assert_eq!(config.labels.get("q").map(String::as_str), Some("w"));
        assert_eq!(config.workdir, "/srv/app");
        assert_eq!(config.healthcheck, Some(serde_json::json!({"Test": ["CMD-SHELL", "true"], "Retries": 2})));
        assert_eq!(config.exposed_ports.len(), 2);
        assert_eq!(config.volumes.iter().collect::<Vec<_>>(), ["/data", "/json", "/logs"]);
        assert_eq!((config.user.as_str(), config.stop_signal.as_str()), ("app:1", "SIGINT"));
    }

    #[test]
    fn errors_name_the_instruction() {
        for bad in [
            "",
            "FROM x",
            "RUN rm",
            "ENV",
            "ENV PATH",
            "ENV =x",
            "ENV A=1 B",
            "CMD [\"a\"",
            "CMD [a]",
            "CMD [1]",
            "USER -1",
            "USER 4294967296",
            "EXPOSE x",
            "VOLUME /",
            "WORKDIR a b",
            "LABEL \"a",
            "STOPSIGNAL a b",
            "HEALTHCHECK true",
            "HEALTHCHECK CMD",
            "ENV A=\0",
        ] {
            let result = changed(&[bad]);
            if bad == "CMD [\"a\"" {
                // Not a list: a shell command, as odd as it is.
                assert!(result.is_ok());
                continue;
            }
            let error = result.unwrap_err().to_string();
            assert!(error.starts_with("change \""), "{bad}: {error}");
            assert!(
                error.contains(&*bad.escape_debug().to_string().replace("\\0", "\\x00")) || bad.is_empty(),
                "{bad}: {error}"
            );
        }
    }
}
