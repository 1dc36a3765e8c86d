//! Values of keys: what a key takes, and how it is shown.

use std::net::IpAddr;

use bulkhead_sandbox::facts::rlimit_named;

use crate::networks::parse_pools;

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Bytes from this minimum: a number, or text with a unit.
    Size(u64),
    /// A whole number in these bounds.
    Number(i64, i64),
    /// A number from 1, or -1 for no limit.
    Limit,
    /// Seconds from 0, or -1 for "for ever".
    Seconds,
    /// `true` or `false`.
    Switch,
    /// A list of `NAME=SOFT[:HARD]`.
    Ulimits,
    /// A list of `ADDRESS/PREFIX:SIZE`.
    Pools,
    /// One address or a list of them.
    Addresses,
    /// An absolute path.
    Place,
    /// A key sequence as Docker writes it.
    Keys,
}

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A word, a path, a key sequence.
    Text(String),
    /// A number, or bytes.
    Number(i64),
    /// Yes or no.
    Switch(bool),
    /// (name, soft, hard); `u64::MAX` is unlimited.
    Ulimits(Vec<(String, u64, u64)>),
}

/// A value as it stands in a file, before its key is known to take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Raw {
    /// A string.
    Text(String),
    /// An integer.
    Number(i64),
    /// A boolean.
    Switch(bool),
    /// A list of strings.
    List(Vec<String>),
    /// Anything else: its name.
    Other(&'static str),
}

impl Raw {
    pub(super) fn show(&self) -> String {
        match self {
            Self::Text(text) => format!("{text:?}"),
            Self::Number(number) => number.to_string(),
            Self::Switch(on) => on.to_string(),
            Self::List(items) => format!("{items:?}"),
            Self::Other(name) => format!("a {name}"),
        }
    }
}

impl Kind {
    /// What would be accepted, as the end of a sentence.
    pub(super) fn needed(self) -> String {
        match self {
            Self::Choice(words) => {
                format!("one of {} is needed", words.iter().map(|w| format!("{w:?}")).collect::<Vec<_>>().join(", "))
            }
            Self::Size(least) => format!("a size like \"512m\" or \"2g\", at least {}, is needed", bytes(least)),
            Self::Number(low, high) => format!("a whole number from {low} to {high} is needed"),
            Self::Limit => "a whole number from 1, or -1 for no limit, is needed".to_owned(),
            Self::Seconds => "a number of seconds from 0, or -1 for no end, is needed".to_owned(),
            Self::Switch => "true or false is needed".to_owned(),
            Self::Ulimits => "a list like [\"nofile=1024:65536\", \"core=0\"] is needed".to_owned(),
            Self::Pools => "a list of blocks of version 4 and sizes, like [\"10.88.0.0/13:22\"], is needed".to_owned(),
            Self::Addresses => {
                "an address of this host like \"0.0.0.0\", or a list like [\"127.0.0.1\", \"::1\"], is needed"
                    .to_owned()
            }
            Self::Place => "an absolute path without \"..\", in quotes, is needed".to_owned(),
            Self::Keys => "keys like \"ctrl-p,ctrl-q\", or \"\" for none, are needed".to_owned(),
        }
    }

    /// The value, if the key takes it.
    ///
    /// # Errors
    /// The sentence that says what it is and what is needed.
    pub(super) fn read(self, raw: &Raw) -> Result<Value, String> {
        let number = |value: i64| u64::try_from(value).ok();
        let read = match (self, raw) {
            (Self::Choice(words), Raw::Text(text)) if words.contains(&text.as_str()) => Some(Value::Text(text.clone())),
            (Self::Size(least), Raw::Text(text)) => size(text).filter(|n| *n >= least).and_then(as_number),
            (Self::Size(least), Raw::Number(n)) => number(*n).filter(|n| *n >= least).and_then(as_number),
            (Self::Number(low, high), Raw::Number(n)) => (low..=high).contains(n).then_some(Value::Number(*n)),
            (Self::Limit, Raw::Number(n)) => (*n == -1 || *n > 0).then_some(Value::Number(*n)),
            (Self::Seconds, Raw::Number(n)) => (-1..=i64::from(i32::MAX)).contains(n).then_some(Value::Number(*n)),
            (Self::Switch, Raw::Switch(on)) => Some(Value::Switch(*on)),
            (Self::Ulimits, Raw::List(items)) => {
                items.iter().map(|i| ulimit(i)).collect::<Option<Vec<_>>>().map(Value::Ulimits)
            }
            (Self::Pools, Raw::List(items)) => {
                let all = parse_pools(items.iter().map(String::as_str));
                all.map(|pools| Value::Text(joined(&pools)))
            }
            (Self::Addresses, Raw::Text(text)) => addresses(text).map(|all| Value::Text(joined(&all))),
            (Self::Addresses, Raw::List(items)) => addresses(&items.join(" ")).map(|all| Value::Text(joined(&all))),
            (Self::Place, Raw::Text(text)) => {
                let plain = text.starts_with('/') && !text.split('/').any(|c| c == "..") && !text.contains('\0');
                plain.then(|| Value::Text(text.clone()))
            }
            (Self::Keys, Raw::Text(text)) => detach_keys(text).map(|_| Value::Text(text.clone())),
            _ => None,
        };
        read.ok_or_else(|| format!("{} cannot be used: {}", raw.show(), self.needed()))
    }

    /// The value as `config show` prints it.
    #[must_use]
    pub fn show(self, value: &Value) -> String {
        match (self, value) {
            (Self::Size(_), Value::Number(n)) => bytes(u64::try_from(*n).unwrap_or(0)),
            (_, Value::Number(n)) => n.to_string(),
            (_, Value::Text(text)) => text.clone(),
            (_, Value::Switch(on)) => on.to_string(),
            (_, Value::Ulimits(all)) => {
                let word = |n: u64| if n == u64::MAX { "unlimited".to_owned() } else { n.to_string() };
                all.iter().map(|(n, s, h)| format!("{n}={}:{}", word(*s), word(*h))).collect::<Vec<_>>().join(" ")
            }
        }
    }
}

fn joined(all: &[impl ToString]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Addresses with blanks between; nothing when there is none, or one that nobody has.
pub(super) fn addresses(text: &str) -> Option<Vec<IpAddr>> {
    let all: Vec<IpAddr> = text.split_whitespace().map(|a| a.parse().ok()).collect::<Option<_>>()?;
    (!all.is_empty() && !all.iter().any(IpAddr::is_multicast)).then_some(all)
}

fn as_number(bytes: u64) -> Option<Value> {
    i64::try_from(bytes).ok().map(Value::Number)
}

/// Bytes in the largest unit that has no remainder.
fn bytes(n: u64) -> String {
    for (shift, unit) in [(30, 'g'), (20, 'm'), (10, 'k')] {
        if n >> shift > 0 && n.is_multiple_of(1 << shift) {
            return format!("{}{unit}", n >> shift);
        }
    }
    n.to_string()
}

/// A whole number with an optional unit of 1024: `64m`, `64mb`, `64MiB`.
fn size(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(split)?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let letter = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let shift = match letter {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn ulimit(text: &str) -> Option<(String, u64, u64)> {
    let (name, limits) = text.split_once('=')?;
    rlimit_named(name)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| match text {
        "-1" | "unlimited" => Some(u64::MAX),
        other => other.parse::<u64>().ok(),
    };
    let (soft, hard) = (number(soft)?, number(hard)?);
    (soft <= hard).then(|| (name.to_owned(), soft, hard))
}

/// The bytes of a key sequence: letters, or `ctrl-` and one of a-z, `@`, `[`, `\`, `]`, `^`, `_`, with commas between.
/// Empty for none.
#[must_use]
pub fn detach_keys(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let one = |key: &str| match (key.strip_prefix("ctrl-"), key.as_bytes()) {
        (Some(rest), _) => match rest.as_bytes() {
            [c @ b'a'..=b'z'] => Some(*c - b'a' + 1),
            [c @ b'@'..=b'_'] if !c.is_ascii_uppercase() => Some(*c - b'@'),
            _ => None,
        },
        (None, [c]) if c.is_ascii_alphabetic() => Some(*c),
        _ => None,
    };
    text.split(',').map(one).collect()
}
