//! Values of `org.systemd.property.*` annotations: the text form of GVariant, as much of it as properties of units need.
//!
//! `true`, `5` (a signed 32-bit number unless the name of a type is before it), `uint64 5`, `1.5`, `'text'`, `"text"`,
//! `['a', 'b']`, `@as []`.

use super::wire::Value;

/// A property by its annotation. A name that ends in `Sec` is a time in seconds, and is told in microseconds.
pub(super) fn property(name: &str, text: &str) -> Result<(String, Value), String> {
    const MOST: usize = 4096;
    if name.len() < 3 || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
        return Err("a property's name has at least three ASCII letters and nothing else".to_owned());
    }
    if text.len() > MOST {
        return Err(format!("its value has more than {MOST} bytes"));
    }
    let mut rest = text.trim();
    let value = value(&mut rest, 0).filter(|_| rest.trim().is_empty());
    let value =
        value.ok_or("its value is no boolean, number, 'text' or array of these, like uint64 5 or ['a', 'b']")?;
    match name.strip_suffix("Sec") {
        Some(stem) if stem.ends_with(|c: char| c.is_ascii_lowercase()) => {
            let micro = microseconds(&value).ok_or("a time is a number of seconds that is not negative")?;
            Ok((format!("{stem}USec"), Value::U64(micro)))
        }
        _ => Ok((name.to_owned(), value)),
    }
}

fn microseconds(value: &Value) -> Option<u64> {
    const MILLION: u64 = 1_000_000;
    let whole = |n: i64| u64::try_from(n).ok()?.checked_mul(MILLION);
    match value {
        Value::Byte(n) => whole(i64::from(*n)),
        Value::I16(n) => whole(i64::from(*n)),
        Value::U16(n) => whole(i64::from(*n)),
        Value::I32(n) => whole(i64::from(*n)),
        Value::U32(n) => whole(i64::from(*n)),
        Value::I64(n) => whole(*n),
        Value::U64(n) => n.checked_mul(MILLION),
        // Its digits, for no cast from a float is exact.
        Value::Double(n) if (0.0..1e12).contains(n) => format!("{:.0}", n * 1e6).parse().ok(),
        _ => None,
    }
}

/// Reads a value off the front.
fn value(rest: &mut &str, depth: usize) -> Option<Value> {
    if depth > 4 {
        return None;
    }
    *rest = rest.trim_start();
    match rest.chars().next()? {
        quote @ ('\'' | '"') => string(rest, quote),
        '[' => array(rest, depth, None),
        '@' => {
            let (signature, after) = rest.get(1..)?.split_once(' ')?;
            *rest = after.trim_start();
            match signature.strip_prefix('a') {
                Some(of) => array(rest, depth, Some(of)),
                None => typed(rest, signature),
            }
        }
        _ => word(rest),
    }
}

fn string(rest: &mut &str, quote: char) -> Option<Value> {
    let mut out = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => out.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                c @ ('\\' | '\'' | '"') => c,
                _ => return None,
            }),
            '\0' => return None,
            c if c == quote => {
                *rest = rest.get(at + 1..)?;
                return Some(Value::Str(out));
            }
            c => out.push(c),
        }
    }
    None
}

fn array(rest: &mut &str, depth: usize, of: Option<&str>) -> Option<Value> {
    *rest = rest.strip_prefix('[')?;
    let mut members: Vec<Value> = Vec::new();
    loop {
        *rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix(']') {
            *rest = after;
            break;
        }
        if !members.is_empty() {
            *rest = rest.strip_prefix(',')?;
        }
        members.push(match of {
            Some(of) if of.len() == 1 => {
                *rest = rest.trim_start();
                typed(rest, of)?
            }
            _ => value(rest, depth + 1)?,
        });
    }
    let of = of.map(str::to_owned).or_else(|| members.first().map(Value::signature))?;
    if super::wire::first_type(of.as_bytes()) != Ok(of.len()) {
        return None;
    }
    // All members are of one type.
    members.iter().all(|m| m.signature() == of).then_some(Value::Array(of, members))
}

fn token<'a>(rest: &mut &'a str) -> &'a str {
    let end = rest.find([',', ']', ' ', '\t']).unwrap_or(rest.len());
    let (token, after) = rest.split_at(end);
    *rest = after;
    token
}

fn word(rest: &mut &str) -> Option<Value> {
    let word = token(rest);
    let signature = match word {
        "true" => return Some(Value::Bool(true)),
        "false" => return Some(Value::Bool(false)),
        "boolean" => "b",
        "byte" => "y",
        "int16" => "n",
        "uint16" => "q",
        "int32" => "i",
        "uint32" => "u",
        "int64" => "x",
        "uint64" => "t",
        "double" => "d",
        "string" => "s",
        "objectpath" => "o",
        number => return number.parse().map(Value::I32).ok().or_else(|| number.parse().map(Value::Double).ok()),
    };
    *rest = rest.trim_start();
    typed(rest, signature)
}

fn typed(rest: &mut &str, signature: &str) -> Option<Value> {
    if let "s" | "o" = signature {
        let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let Value::Str(text) = string(rest, quote)? else { return None };
        return Some(if signature == "s" { Value::Str(text) } else { Value::Path(text) });
    }
    let word = token(rest);
    Some(match signature {
        "b" => Value::Bool(word.parse().ok()?),
        "y" => Value::Byte(word.parse().ok()?),
        "n" => Value::I16(word.parse().ok()?),
        "q" => Value::U16(word.parse().ok()?),
        "i" => Value::I32(word.parse().ok()?),
        "u" => Value::U32(word.parse().ok()?),
        "x" => Value::I64(word.parse().ok()?),
        "t" => Value::U64(word.parse().ok()?),
        "d" => Value::Double(word.parse().ok()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        let texts = |all: &[&str]| Value::Array("s".into(), all.iter().map(|s| Value::Str((*s).into())).collect());
        let table = [
            ("true", Value::Bool(true)),
            ("5", Value::I32(5)),
            ("-5", Value::I32(-5)),
            ("uint64 5", Value::U64(5)),
            ("@t 7", Value::U64(7)),
            ("1.5", Value::Double(1.5)),
            ("'it\\'s'", Value::Str("it's".into())),
            ("\"inactive-or-failed\"", Value::Str("inactive-or-failed".into())),
            ("['a', 'b']", texts(&["a", "b"])),
            ("@as []", texts(&[])),
            ("@au [1,2]", Value::Array("u".into(), vec![Value::U32(1), Value::U32(2)])),
        ];
        for (text, wanted) in table {
            assert_eq!(property("Some", text), Ok(("Some".to_owned(), wanted)), "{text}");
        }
        for text in [
            "",
            "[",
            "[]",
            "[1,'a']",
            "'open",
            "uint64 -1",
            "uint8 1",
            "true false",
            "@ [",
            "@a( [1]",
            "[[[[[[1]]]]]]",
            "@a []",
        ] {
            assert!(property("Some", text).is_err(), "{text}");
        }
        for name in ["", "ab", "a b", "A_B", "Ab1"] {
            assert!(property(name, "1").is_err(), "{name}");
        }
    }

    #[test]
    fn seconds_become_microseconds() {
        let time = |text| property("TimeoutStopSec", text);
        let wanted = |n| Ok(("TimeoutStopUSec".to_owned(), Value::U64(n)));
        assert_eq!((time("2"), time("0.5"), time("uint64 3")), (wanted(2_000_000), wanted(500_000), wanted(3_000_000)));
        assert!(time("-1").is_err() && time("'x'").is_err() && time("uint64 18446744073709551615").is_err());
        assert_eq!(property("CPUSec", "1"), Ok(("CPUSec".to_owned(), Value::I32(1))), "not a time by its name");
    }
}
