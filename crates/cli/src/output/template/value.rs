//! Values as Go sees and prints them.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

/// What is known of a value beyond its JSON: Docker's objects have types, and these tell what is printed for something
/// that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// An object with fixed fields, or anything else.
    Fixed,
    /// A map: any key may be asked for.
    Map,
    /// A map of texts.
    Texts,
    /// A list.
    List,
}

/// Fields of Docker's objects that are maps of texts.
const TEXTS: [&str; 9] =
    ["Annotations", "Config", "Data", "DriverOpts", "Labels", "Options", "StorageOpt", "Sysctls", "Tmpfs"];
/// Fields that are other maps.
const MAPS: [&str; 5] = ["ExposedPorts", "Networks", "PortBindings", "Ports", "Volumes"];
/// Fields that are lists, and null when nothing is in them.
const LISTS: [&str; 26] = [
    "Args",
    "Binds",
    "CapAdd",
    "CapDrop",
    "Cmd",
    "DeviceRequests",
    "Devices",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "Entrypoint",
    "Env",
    "ExecIDs",
    "ExtraHosts",
    "GroupAdd",
    "Layers",
    "Links",
    "MaskedPaths",
    "Mounts",
    "OnBuild",
    "ReadonlyPaths",
    "RepoDigests",
    "RepoTags",
    "SecurityOpt",
    "Ulimits",
    "VolumesFrom",
];
/// Fields that may be left out; asked for, they are null.
const OPTIONAL: [&str; 2] = ["Health", "Healthcheck"];

/// The shape of the field `name` of something in the field `parent`.
fn shape_of(parent: &str, name: &str) -> Shape {
    match name {
        // Only the configuration of a log driver is a map.
        "Config" if parent != "LogConfig" => Shape::Fixed,
        _ if TEXTS.contains(&name) => Shape::Texts,
        _ if MAPS.contains(&name) => Shape::Map,
        _ if LISTS.contains(&name) => Shape::List,
        _ => Shape::Fixed,
    }
}

/// A value of a running template.
#[derive(Debug, Clone)]
pub(super) struct Val<'a> {
    /// `None`: there is no such thing.
    pub(super) json: Option<Cow<'a, Value>>,
    pub(super) shape: Shape,
    /// The field it comes from.
    name: &'a str,
}

impl<'a> Val<'a> {
    pub(super) fn borrowed(value: &'a Value) -> Val<'a> {
        Val { json: Some(Cow::Borrowed(value)), shape: Shape::Fixed, name: "" }
    }

    pub(super) fn owned(value: impl Into<Value>) -> Val<'a> {
        Val { json: Some(Cow::Owned(value.into())), shape: Shape::Fixed, name: "" }
    }

    pub(super) fn missing() -> Val<'a> {
        Val { json: None, shape: Shape::Fixed, name: "" }
    }

    /// Null and missing values are the same to most of Go.
    pub(super) fn value(&self) -> Option<&Value> {
        self.json.as_deref().filter(|value| !value.is_null())
    }

    pub(super) fn text(&self) -> Option<&str> {
        self.value().and_then(Value::as_str)
    }

    /// The field `name`; the error lists the fields that there are.
    pub(super) fn field(&self, name: &'a str) -> Result<Val<'a>, Vec<String>> {
        let found = match &self.json {
            Some(Cow::Borrowed(Value::Object(map))) => map.get(name).map(Cow::Borrowed),
            Some(Cow::Owned(Value::Object(map))) => map.get(name).cloned().map(Cow::Owned),
            None | Some(Cow::Borrowed(Value::Null) | Cow::Owned(Value::Null)) => return Ok(Val::missing()),
            Some(_) => return Err(Vec::new()),
        };
        let within_map = matches!(self.shape, Shape::Map | Shape::Texts);
        match found {
            Some(value) => {
                let shape = if within_map { Shape::Fixed } else { shape_of(self.name, name) };
                Ok(Val { json: Some(value), shape, name })
            }
            None if within_map => Ok(Val::missing()),
            None if OPTIONAL.contains(&name) => {
                Ok(Val { json: Some(Cow::Owned(Value::Null)), shape: Shape::Fixed, name })
            }
            None => Err(match self.value() {
                Some(Value::Object(map)) => map.keys().filter(|key| !super::is_hidden(key)).cloned().collect(),
                _ => Vec::new(),
            }),
        }
    }

    /// The elements with their numbers or keys, in order; `None` for what has none.
    pub(super) fn elements(&self) -> Option<Vec<(Val<'a>, Val<'a>)>> {
        let numbered = |(number, value): (usize, Val<'a>)| (Val::owned(number), value);
        match &self.json {
            None => Some(Vec::new()),
            Some(Cow::Borrowed(value)) => match value {
                Value::Null => Some(Vec::new()),
                Value::Array(list) => Some(list.iter().map(Val::borrowed).enumerate().map(numbered).collect()),
                Value::Object(map) => {
                    Some(map.iter().map(|(key, value)| (Val::owned(key.clone()), Val::borrowed(value))).collect())
                }
                _ => None,
            },
            Some(Cow::Owned(value)) => match value {
                Value::Null => Some(Vec::new()),
                Value::Array(list) => Some(list.iter().cloned().map(Val::owned).enumerate().map(numbered).collect()),
                Value::Object(map) => {
                    Some(map.iter().map(|(key, value)| (Val::owned(key.clone()), Val::owned(value.clone()))).collect())
                }
                _ => None,
            },
        }
    }

    /// Element `key` of a map or a list, as `index` finds it.
    pub(super) fn index(&self, key: &Val<'_>) -> Result<Val<'a>, String> {
        let wrong = |what: &str| Err(format!("{} cannot be an index of {what}", kind(key.json.as_deref())));
        match &self.json {
            Some(Cow::Borrowed(Value::Object(map))) => match key.text() {
                Some(name) => Ok(map.get(name).map_or_else(|| self.absent(), Val::borrowed)),
                None => wrong("a map"),
            },
            Some(Cow::Owned(Value::Object(map))) => match key.text() {
                Some(name) => Ok(map.get(name).cloned().map_or_else(|| self.absent(), Val::owned)),
                None => wrong("a map"),
            },
            Some(Cow::Borrowed(Value::Array(list))) => {
                let Some(at) = key.count() else { return wrong("a list") };
                list.get(at).map(Val::borrowed).ok_or_else(|| format!("index {at} is out of a list of {}", list.len()))
            }
            Some(Cow::Owned(Value::Array(list))) => {
                let Some(at) = key.count() else { return wrong("a list") };
                let found = list.get(at).cloned().map(Val::owned);
                found.ok_or_else(|| format!("index {at} is out of a list of {}", list.len()))
            }
            _ => match self.value() {
                Some(Value::String(text)) => {
                    let Some(at) = key.count() else { return wrong("a text") };
                    let byte = text.as_bytes().get(at).copied();
                    byte.map(Val::owned).ok_or_else(|| format!("index {at} is out of a text of {} bytes", text.len()))
                }
                None if matches!(self.shape, Shape::Map | Shape::Texts) => Ok(self.absent()),
                None if self.shape == Shape::List => Err("an index is out of an empty list".to_owned()),
                _ => Err(format!("{} has no elements", kind(self.json.as_deref()))),
            },
        }
    }

    /// What a map answers for a key that it does not have.
    fn absent(&self) -> Val<'a> {
        if self.shape == Shape::Texts { Val::owned("") } else { Val::missing() }
    }

    /// A whole number that is not negative.
    pub(super) fn count(&self) -> Option<usize> {
        self.value().and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok())
    }

    /// Go's idea of true: neither false, zero, nor empty.
    pub(super) fn truth(&self) -> bool {
        match self.value() {
            None => false,
            Some(Value::Bool(value)) => *value,
            Some(Value::Number(number)) => number.as_f64() != Some(0.0),
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Array(list)) => !list.is_empty(),
            Some(Value::Object(map)) => !map.is_empty(),
            Some(Value::Null) => false,
        }
    }

    /// As an action prints it.
    pub(super) fn print(&self) -> String {
        match (&self.json, self.shape) {
            (None, _) => "<no value>".to_owned(),
            (Some(value), Shape::Map | Shape::Texts) if value.is_null() => "map[]".to_owned(),
            (Some(value), Shape::List) if value.is_null() => "[]".to_owned(),
            (Some(value), _) => go(value),
        }
    }
}

/// A JSON value as Go prints it; floats without an exponent.
pub(super) fn go(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(go).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs = map.iter().filter(|(key, _)| !super::is_hidden(key));
            format!("map[{}]", pairs.map(|(key, item)| format!("{key}:{}", go(item))).collect::<Vec<_>>().join(" "))
        }
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (None, None, Some(float)) => float.to_string(),
            _ => number.to_string(),
        },
        Value::Bool(value) => value.to_string(),
    }
}

/// The kind of a value in a word.
pub(super) fn kind(value: Option<&Value>) -> &'static str {
    match value {
        None | Some(Value::Null) => "nothing",
        Some(Value::Bool(_)) => "a boolean",
        Some(Value::Number(_)) => "a number",
        Some(Value::String(_)) => "a text",
        Some(Value::Array(_)) => "a list",
        Some(Value::Object(_)) => "a map",
    }
}

fn incomparable(one: &Val<'_>, other: &Val<'_>) -> String {
    format!("{} and {} cannot be compared", kind(one.json.as_deref()), kind(other.json.as_deref()))
}

/// `eq`: texts, numbers and booleans; anything may be compared to nothing.
pub(super) fn equal(one: &Val<'_>, other: &Val<'_>) -> Result<bool, String> {
    match (one.value(), other.value()) {
        (None, None) => Ok(true),
        (None, Some(_)) | (Some(_), None) => Ok(false),
        (Some(Value::Bool(a)), Some(Value::Bool(b))) => Ok(a == b),
        (Some(Value::Number(_)), Some(Value::Number(_))) | (Some(Value::String(_)), Some(Value::String(_))) => {
            Ok(order(one, other)? == Ordering::Equal)
        }
        _ => Err(incomparable(one, other)),
    }
}

/// The order of two texts or two numbers.
pub(super) fn order(one: &Val<'_>, other: &Val<'_>) -> Result<Ordering, String> {
    match (one.value(), other.value()) {
        (Some(Value::String(a)), Some(Value::String(b))) => Ok(a.cmp(b)),
        (Some(Value::Number(a)), Some(Value::Number(b))) => {
            let whole = |number: &serde_json::Number| {
                number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
            };
            match (whole(a), whole(b)) {
                (Some(a), Some(b)) => Ok(a.cmp(&b)),
                _ => a
                    .as_f64()
                    .zip(b.as_f64())
                    .and_then(|(a, b)| a.partial_cmp(&b))
                    .ok_or_else(|| incomparable(one, other)),
            }
        }
        _ => Err(incomparable(one, other)),
    }
}
