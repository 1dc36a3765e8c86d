//! `printf` as Go does it, for what JSON has: verbs, width, precision, and the words for what does not fit.

use serde_json::Value;

use super::value::{Val, go};

/// Width and precision may be at most this.
const WIDEST: usize = 10_000;

#[derive(Debug, Default, Clone, Copy)]
struct Spec {
    left: bool,
    zero: bool,
    plus: bool,
    space: bool,
    sharp: bool,
    width: usize,
    precision: Option<usize>,
}

/// Formats `args`; the error names a width that is too large.
pub(super) fn printf(format: &str, args: &[Val<'_>]) -> Result<String, String> {
    let mut out = String::new();
    let mut args = args.iter();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let (spec, after) = spec(after)?;
        let mut chars = after.chars();
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            rest = "";
            break;
        };
        rest = chars.as_str();
        if verb == '%' {
            out.push('%');
            continue;
        }
        match args.next() {
            Some(arg) => pad(&mut out, spec, &one(spec, verb, arg)),
            None => out.push_str(&format!("%!{verb}(MISSING)")),
        }
        if out.len() > super::funcs::LARGEST {
            return Err("printf makes a text that is too long".to_owned());
        }
    }
    out.push_str(rest);
    let extra: Vec<String> = args.map(|arg| format!("{}={}", type_name(arg.value()), arg.print())).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    Ok(out)
}

/// Flags, width and precision, and what follows.
fn spec(text: &str) -> Result<(Spec, &str), String> {
    let mut spec = Spec::default();
    let mut rest = text;
    while let Some(flag) = rest.chars().next().filter(|c| "-0+ #".contains(*c)) {
        match flag {
            '-' => spec.left = true,
            '0' => spec.zero = true,
            '+' => spec.plus = true,
            '#' => spec.sharp = true,
            _ => spec.space = true,
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    let (width, after) = number(rest)?;
    spec.width = width.unwrap_or(0);
    rest = after;
    if let Some(after) = rest.strip_prefix('.') {
        let (precision, after) = number(after)?;
        spec.precision = Some(precision.unwrap_or(0));
        rest = after;
    }
    Ok((spec, rest))
}

fn number(text: &str) -> Result<(Option<usize>, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() {
        return Ok((None, rest));
    }
    match digits.parse::<usize>() {
        Ok(number) if number <= WIDEST => Ok((Some(number), rest)),
        _ => Err(format!("printf has a width of {digits}; {WIDEST} is the most")),
    }
}

fn pad(out: &mut String, spec: Spec, text: &str) {
    let missing = spec.width.saturating_sub(text.chars().count());
    let spaces = std::iter::repeat_n(' ', missing);
    if spec.left {
        out.push_str(text);
        out.extend(spaces);
    } else if spec.zero && missing > 0 {
        let (sign, digits) = match text.strip_prefix(['-', '+', ' ']) {
            Some(digits) => text.split_at(text.len() - digits.len()),
            None => ("", text),
        };
        out.push_str(sign);
        out.extend(std::iter::repeat_n('0', missing));
        out.push_str(digits);
    } else {
        out.extend(spaces);
        out.push_str(text);
    }
}

fn one(spec: Spec, verb: char, arg: &Val<'_>) -> String {
    match arg.json.as_deref() {
        Some(value) if verb == 'v' && value.is_null() => arg.print(),
        Some(value) => format_value(spec, verb, value),
        None if verb == 'v' => "<nil>".to_owned(),
        None => format!("%!{verb}(<nil>)"),
    }
}

fn format_value(spec: Spec, verb: char, value: &Value) -> String {
    let wrong = || format!("%!{verb}({}={})", type_name(Some(value)), go(value));
    match value {
        Value::Array(list) => {
            let items: Vec<String> = list.iter().map(|item| format_value(spec, verb, item)).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let pair = |(key, item): (&String, &Value)| {
                let key = Value::String(key.clone());
                format!("{}:{}", format_value(spec, verb, &key), format_value(spec, verb, item))
            };
            let pairs: Vec<String> = map.iter().filter(|(key, _)| !super::is_hidden(key)).map(pair).collect();
            format!("map[{}]", pairs.join(" "))
        }
        Value::String(text) => match (verb, spec.precision) {
            ('v' | 's', Some(most)) => text.chars().take(most).collect(),
            ('v', None) if spec.sharp => quote(text),
            ('v' | 's', None) => text.clone(),
            ('q', _) => quote(text),
            ('x', _) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            ('X', _) => text.bytes().map(|byte| format!("{byte:02X}")).collect(),
            _ => wrong(),
        },
        Value::Bool(flag) => match verb {
            'v' | 't' => flag.to_string(),
            _ => wrong(),
        },
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole_number(spec, verb, i128::from(whole)).unwrap_or_else(wrong),
            (None, Some(float)) => match number.as_u64() {
                Some(whole) => whole_number(spec, verb, i128::from(whole)).unwrap_or_else(wrong),
                None => float_number(spec, verb, float).unwrap_or_else(wrong),
            },
            _ => wrong(),
        },
        Value::Null if verb == 'v' => "<nil>".to_owned(),
        Value::Null => format!("%!{verb}(<nil>)"),
    }
}

fn signed(spec: Spec, negative: bool, digits: &str) -> String {
    let sign = match (negative, spec.plus, spec.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    };
    format!("{sign}{digits}")
}

fn whole_number(spec: Spec, verb: char, number: i128) -> Option<String> {
    let size = number.unsigned_abs();
    let digits = match verb {
        'v' | 'd' => size.to_string(),
        'x' => format!("{}{size:x}", if spec.sharp { "0x" } else { "" }),
        'X' => format!("{}{size:X}", if spec.sharp { "0X" } else { "" }),
        'o' => format!("{size:o}"),
        'b' => format!("{size:b}"),
        'c' => return Some(u32::try_from(number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string()),
        'q' => {
            let c = u32::try_from(number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
            return Some(format!("'{c}'"));
        }
        _ => return None,
    };
    Some(signed(spec, number < 0, &digits))
}

fn float_number(spec: Spec, verb: char, number: f64) -> Option<String> {
    let size = number.abs();
    let digits = match (verb, spec.precision) {
        ('f' | 'F', precision) => format!("{size:.*}", precision.unwrap_or(6)),
        ('v' | 'g', None) => size.to_string(),
        ('v' | 'g', Some(most)) => significant(size, most),
        ('e', precision) => exponent(size, precision.unwrap_or(6)),
        _ => return None,
    };
    Some(signed(spec, number.is_sign_negative(), &digits))
}

/// `most` digits that count.
fn significant(number: f64, most: usize) -> String {
    let most = most.clamp(1, 17);
    let rounded = format!("{number:.*e}", most - 1);
    rounded.parse::<f64>().map_or(rounded, |number| number.to_string())
}

/// Rust writes `1e5` where Go writes `1e+05`.
fn exponent(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let Some((digits, power)) = text.split_once('e') else { return text };
    let (sign, power) = power.strip_prefix('-').map_or(("+", power), |power| ("-", power));
    format!("{digits}e{sign}{power:0>2}")
}

/// Text in quotes, with Go's escapes.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\u{b}' => quoted.push_str("\\v"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Go's name of a type.
fn type_name(value: Option<&Value>) -> &'static str {
    match value {
        None | Some(Value::Null) => "<nil>",
        Some(Value::Bool(_)) => "bool",
        Some(Value::Number(number)) if number.is_f64() => "float64",
        Some(Value::Number(_)) => "int",
        Some(Value::String(_)) => "string",
        Some(Value::Array(_)) => "[]interface {}",
        Some(Value::Object(_)) => "map[string]interface {}",
    }
}
