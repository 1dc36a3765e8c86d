//! `HEALTHCHECK` of a change, in the form that configurations have.

use serde_json::{Map, Value, json};

use super::changes::{json_words, refuse};
use crate::error::Result;

const ACCEPTED: &str = "expected HEALTHCHECK NONE, or HEALTHCHECK [--interval=|--timeout=|--start-period=|--start-interval=|--retries=…] CMD COMMAND";

/// What follows the keyword: `NONE`, or options and `CMD` with the command as a JSON list or as a line for the shell.
///
/// # Errors
/// [`crate::ImageError::Input`] with what would be accepted.
pub(super) fn check(rest: &str) -> Result<Value> {
    let mut check = Map::new();
    let mut rest = rest.trim_start();
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option.split_once(char::is_whitespace).unwrap_or((option, ""));
        rest = after.trim_start();
        let Some((name, value)) = option.split_once('=') else { return refuse(ACCEPTED) };
        let (field, value) = match name {
            "interval" => ("Interval", nanoseconds(value)?),
            "timeout" => ("Timeout", nanoseconds(value)?),
            "start-period" => ("StartPeriod", nanoseconds(value)?),
            "start-interval" => ("StartInterval", nanoseconds(value)?),
            "retries" => match value.parse::<u32>() {
                Ok(times) if times > 0 => ("Retries", u64::from(times)),
                _ => return refuse("expected a number from 1 for --retries"),
            },
            _ => return refuse(ACCEPTED),
        };
        if check.insert(field.to_owned(), json!(value)).is_some() {
            return refuse("an option of HEALTHCHECK is given twice");
        }
    }
    let (word, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command = command.trim();
    let test = match word.to_ascii_uppercase().as_str() {
        "NONE" if command.is_empty() && check.is_empty() => vec!["NONE".to_owned()],
        "CMD" if !command.is_empty() => match json_words(command) {
            Some(words) => {
                let words = words?;
                if words.is_empty() {
                    return refuse("the command of HEALTHCHECK is empty");
                }
                std::iter::once("CMD".to_owned()).chain(words).collect()
            }
            None => vec!["CMD-SHELL".to_owned(), command.to_owned()],
        },
        _ => return refuse(ACCEPTED),
    };
    check.insert("Test".to_owned(), json!(test));
    Ok(Value::Object(check))
}

/// A duration as Docker writes them: `1m30s`, `500ms`, `1.5h`; 0, or at least a millisecond.
fn nanoseconds(text: &str) -> Result<u64> {
    const UNITS: [(&str, u64); 7] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let wrong = || refuse("expected a duration of HEALTHCHECK like 30s, 1m30s or 500ms");
    let mut total: u64 = 0;
    let mut rest = text;
    if text == "0" {
        return Ok(0);
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        rest = after;
        let Some((_, each)) = UNITS.iter().find(|(name, _)| *name == unit) else { return wrong() };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && part.is_empty()) || part.len() > 9 {
            return wrong();
        }
        let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u64>().ok() };
        let places = u32::try_from(part.len()).unwrap_or(u32::MAX);
        let fraction = digits(part).and_then(|p| p.checked_mul(*each)?.checked_div(10_u64.checked_pow(places)?));
        let sum = digits(whole).and_then(|w| w.checked_mul(*each)?.checked_add(fraction?)?.checked_add(total));
        let Some(sum) = sum.filter(|sum| i64::try_from(*sum).is_ok()) else { return wrong() };
        total = sum;
    }
    if text.is_empty() || (total > 0 && total < 1_000_000) { wrong() } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_and_every_option() {
        assert_eq!(check("none").unwrap(), json!({"Test": ["NONE"]}));
        assert_eq!(check(r#"CMD ["a", "b c"]"#).unwrap(), json!({"Test": ["CMD", "a", "b c"]}));
        let all = "--interval=1m30s --timeout=1.5s --start-period=0s --start-interval=500ms --retries=3 cmd  a | b";
        let wanted = json!({
            "Test": ["CMD-SHELL", "a | b"], "Interval": 90_000_000_000_u64, "Timeout": 1_500_000_000_u64,
            "StartPeriod": 0, "StartInterval": 500_000_000, "Retries": 3,
        });
        assert_eq!(check(all).unwrap(), wanted);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for bad in [
            "",
            "true",
            "CMD",
            "CMD []",
            "CMD [1]",
            "NONE x",
            "--retries=1 NONE",
            "--retries=0 CMD x",
            "--retries CMD x",
            "--interval=5 CMD x",
            "--interval=1us CMD x",
            "--interval=-1s CMD x",
            "--interval=99999999999h CMD x",
            "--interval=. CMD x",
            "--interval= CMD x",
            "--interval=1s --interval=2s CMD x",
            "--often=1s CMD x",
            "--interval=1s",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
