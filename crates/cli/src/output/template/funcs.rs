//! The functions of templates: Go's own, and those that Docker adds.

use serde_json::Value;

use super::value::{self, Val};
use super::{printf, visible};

/// A text that a function makes has at most this many bytes.
pub(super) const LARGEST: usize = 16 * 1024 * 1024;
/// A list that a function makes has at most this many elements.
const LONGEST_LIST: usize = 1 << 20;

/// A function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Func {
    And,
    Or,
    Not,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Json,
    Upper,
    Lower,
    Title,
    Join,
    Split,
    Slice,
    Truncate,
    Pad,
    Print,
    Println,
    Printf,
    Len,
    Index,
}

/// Name, function, fewest and most arguments.
const ALL: [(&str, Func, usize, usize); 23] = [
    ("and", Func::And, 1, usize::MAX),
    ("eq", Func::Eq, 2, usize::MAX),
    ("ge", Func::Ge, 2, 2),
    ("gt", Func::Gt, 2, 2),
    ("index", Func::Index, 1, usize::MAX),
    ("join", Func::Join, 2, 2),
    ("json", Func::Json, 1, 1),
    ("le", Func::Le, 2, 2),
    ("len", Func::Len, 1, 1),
    ("lower", Func::Lower, 1, 1),
    ("lt", Func::Lt, 2, 2),
    ("ne", Func::Ne, 2, 2),
    ("not", Func::Not, 1, 1),
    ("or", Func::Or, 1, usize::MAX),
    ("pad", Func::Pad, 3, 3),
    ("print", Func::Print, 0, usize::MAX),
    ("printf", Func::Printf, 1, usize::MAX),
    ("println", Func::Println, 0, usize::MAX),
    ("slice", Func::Slice, 1, 3),
    ("split", Func::Split, 2, 2),
    ("title", Func::Title, 1, 1),
    ("truncate", Func::Truncate, 2, 2),
    ("upper", Func::Upper, 1, 1),
];

/// What to say about a function that there is not.
pub(super) fn unknown(name: &str) -> String {
    let names: Vec<&str> = ALL.iter().map(|(name, ..)| *name).collect();
    match crate::line::nearest(name, names.iter().copied()) {
        Some(near) => format!("there is no function {name:?}; did you mean {near:?}?"),
        None => format!("there is no function {name:?}; there are {}", names.join(", ")),
    }
}

impl Func {
    pub(super) fn find(name: &str) -> Option<Func> {
        ALL.iter().find(|(known, ..)| *known == name).map(|(_, func, ..)| *func)
    }

    fn entry(self) -> (&'static str, usize, usize) {
        ALL.iter()
            .find(|(_, func, ..)| *func == self)
            .map_or(("", 0, 0), |(name, _, least, most)| (name, *least, *most))
    }

    pub(super) fn name(self) -> &'static str {
        self.entry().0
    }

    /// Whether it may be called with this many arguments.
    pub(super) fn check(self, count: usize) -> Result<(), String> {
        let (name, least, most) = self.entry();
        if (least..=most).contains(&count) {
            return Ok(());
        }
        let needed = match (least, most) {
            (least, usize::MAX) => format!("at least {least}"),
            (least, most) if least == most => least.to_string(),
            (least, most) => format!("{least} to {most}"),
        };
        Err(format!("{name} takes {needed} arguments, not {count}"))
    }

    /// Whether the title of a column is the title of its first argument.
    pub(super) fn keeps_title(self) -> bool {
        use Func::{Index, Join, Json, Len, Lower, Pad, Slice, Split, Title, Truncate, Upper};
        matches!(self, Json | Upper | Lower | Title | Join | Split | Slice | Truncate | Pad | Len | Index)
    }

    /// Calls it; `and` and `or` are for the caller, who evaluates only what they need.
    pub(super) fn call<'a>(self, args: Vec<Val<'a>>) -> Result<Val<'a>, String> {
        self.check(args.len())?;
        let found = self.apply(args)?;
        match found.json.as_deref() {
            Some(Value::String(text)) if text.len() > LARGEST => {
                Err(format!("{} makes a text that is too long", self.name()))
            }
            Some(Value::Array(list)) if list.len() > LONGEST_LIST => {
                Err(format!("{} makes a list that is too long", self.name()))
            }
            _ => Ok(found),
        }
    }

    fn apply<'a>(self, args: Vec<Val<'a>>) -> Result<Val<'a>, String> {
        let mut args = args.into_iter();
        let mut next = || args.next().unwrap_or_else(Val::missing);
        Ok(match self {
            Func::And | Func::Or => args.next_back().unwrap_or_else(Val::missing),
            Func::Not => Val::owned(!next().truth()),
            Func::Eq => {
                let one = next();
                let mut found = false;
                for other in args {
                    found = found || value::equal(&one, &other)?;
                }
                Val::owned(found)
            }
            Func::Ne => Val::owned(!value::equal(&next(), &next())?),
            Func::Lt => Val::owned(value::order(&next(), &next())?.is_lt()),
            Func::Le => Val::owned(value::order(&next(), &next())?.is_le()),
            Func::Gt => Val::owned(value::order(&next(), &next())?.is_gt()),
            Func::Ge => Val::owned(value::order(&next(), &next())?.is_ge()),
            Func::Json => {
                Val::owned(next().json.map_or_else(|| "null".to_owned(), |value| visible(&value).to_string()))
            }
            Func::Upper => Val::owned(self.text(&next())?.to_uppercase()),
            Func::Lower => Val::owned(self.text(&next())?.to_lowercase()),
            Func::Title => Val::owned(title(self.text(&next())?)),
            Func::Join => Val::owned(self.join(&next(), &next())?),
            Func::Split => {
                let (text, by) = (next(), next());
                Val::owned(split(self.text(&text)?, self.text(&by)?))
            }
            Func::Slice => self.slice(&next(), &args.collect::<Vec<_>>())?,
            Func::Truncate => {
                let (text, length) = (next(), next());
                Val::owned(self.text(&text)?.chars().take(self.count(&length)?).collect::<String>())
            }
            Func::Pad => Val::owned(self.pad(&next(), &next(), &next())?),
            Func::Print => Val::owned(print(&args.collect::<Vec<_>>())),
            Func::Println => {
                let texts: Vec<String> = args.map(|arg| arg.print()).collect();
                Val::owned(format!("{}\n", texts.join(" ")))
            }
            Func::Printf => {
                let format = next();
                Val::owned(printf::printf(self.text(&format)?, &args.collect::<Vec<_>>())?)
            }
            Func::Len => Val::owned(self.len(&next())?),
            Func::Index => {
                let mut at = next();
                for key in args {
                    at = at.index(&key)?;
                }
                at
            }
        })
    }

    fn text<'b>(self, value: &'b Val<'_>) -> Result<&'b str, String> {
        match value.value() {
            None => Ok(""),
            Some(Value::String(text)) => Ok(text),
            other => Err(format!("{} needs a text, not {}", self.name(), value::kind(other))),
        }
    }

    fn count(self, value: &Val<'_>) -> Result<usize, String> {
        value
            .count()
            .ok_or_else(|| format!("{} needs a number that is not negative, not {}", self.name(), value.print()))
    }

    /// Spaces before and after; nothing stays nothing, as for Docker.
    fn pad(self, text: &Val<'_>, before: &Val<'_>, after: &Val<'_>) -> Result<String, String> {
        let (text, before, after) = (self.text(text)?, self.count(before)?, self.count(after)?);
        let spaces = |count: usize| " ".repeat(count.min(LARGEST));
        Ok(if text.is_empty() { String::new() } else { format!("{}{text}{}", spaces(before), spaces(after)) })
    }

    fn join(self, list: &Val<'_>, by: &Val<'_>) -> Result<String, String> {
        match list.value() {
            None => Ok(String::new()),
            Some(Value::Array(list)) => Ok(list.iter().map(value::go).collect::<Vec<_>>().join(self.text(by)?)),
            other => Err(format!("join needs a list, not {}", value::kind(other))),
        }
    }

    fn len(self, of: &Val<'_>) -> Result<usize, String> {
        match of.value() {
            None => Ok(0),
            Some(Value::String(text)) => Ok(text.len()),
            Some(Value::Array(list)) => Ok(list.len()),
            Some(Value::Object(map)) => Ok(map.keys().filter(|key| !super::is_hidden(key)).count()),
            other => Err(format!("len needs a text, a list or a map, not {}", value::kind(other))),
        }
    }

    /// Part of a text (in bytes, as for Go) or a list.
    fn slice<'a>(self, of: &Val<'a>, bounds: &[Val<'_>]) -> Result<Val<'a>, String> {
        let bound = |index: usize, default: usize| bounds.get(index).map_or(Ok(default), |bound| self.count(bound));
        let length = self.len(of)?;
        let (from, to) = (bound(0, 0)?, bound(1, length)?);
        if from > to || to > length {
            return Err(format!("slice {from} to {to} is out of {length}"));
        }
        match of.value() {
            Some(Value::String(text)) => text
                .get(from..to)
                .map(Val::owned)
                .ok_or_else(|| format!("slice {from} to {to} cuts a character of {text:?}")),
            Some(Value::Array(list)) => Ok(Val::owned(list.get(from..to).unwrap_or_default().to_vec())),
            None => Ok(of.clone()),
            other => Err(format!("slice needs a text or a list, not {}", value::kind(other))),
        }
    }
}

fn split(text: &str, by: &str) -> Vec<Value> {
    let mut pieces: Vec<Value> = Vec::new();
    if by.is_empty() {
        pieces.extend(text.chars().take(LONGEST_LIST + 1).map(|c| Value::String(c.to_string())));
    } else {
        pieces.extend(text.split(by).take(LONGEST_LIST + 1).map(Value::from));
    }
    pieces
}

/// The first letter of each word large.
fn title(text: &str) -> String {
    let mut before = ' ';
    let mut titled = String::with_capacity(text.len());
    for c in text.chars() {
        if before.is_alphanumeric() || before == '_' || before == '\'' {
            titled.push(c);
        } else {
            titled.extend(c.to_uppercase());
        }
        before = c;
    }
    titled
}

/// The values next to each other, with a space between two that are no texts.
fn print(args: &[Val<'_>]) -> String {
    let mut text = String::new();
    for (at, arg) in args.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| args.get(at));
        if before.is_some_and(|before| before.text().is_none()) && arg.text().is_none() {
            text.push(' ');
        }
        text.push_str(&arg.print());
    }
    text
}
