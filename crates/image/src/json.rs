//! JSON that means one thing only: no key twice in any object.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::error::{ImageError, Result};

/// Parses `bytes` as a `T`, refusing a repeated key at any level, and at the top level and in `config` also keys that
/// differ by case only: readers in other languages match keys without regard to case, and would see another document.
pub(crate) fn parse<T: DeserializeOwned>(document: &str, bytes: &[u8]) -> Result<T> {
    let value = value(document, bytes)?;
    serde_json::from_value(value).map_err(|e| ImageError::document(document, clean(&e)))
}

/// As [`parse`], for callers that look at the shape first.
pub(crate) fn value(document: &str, bytes: &[u8]) -> Result<Value> {
    let Strict(value) = serde_json::from_slice(bytes).map_err(|e| ImageError::document(document, clean(&e)))?;
    let objects = match &value {
        Value::Array(items) => items.iter().filter_map(Value::as_object).collect(),
        Value::Object(object) => {
            let inner = object.get("config").and_then(Value::as_object);
            [Some(object), inner].into_iter().flatten().collect()
        }
        _ => Vec::new(),
    };
    for object in objects {
        let mut seen = std::collections::HashSet::new();
        for key in object.keys() {
            if !seen.insert(key.to_lowercase()) {
                let key = crate::error::show(key.as_bytes());
                return Err(ImageError::document(document, format!("key {key} appears in two spellings")));
            }
        }
    }
    Ok(value)
}

/// serde_json repeats hostile strings in its messages.
fn clean(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let mut out: String = text.chars().take(240).flat_map(char::escape_debug).collect();
    if text.chars().nth(240).is_some() {
        out.push('…');
    }
    out
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        StrictSeed.deserialize(deserializer).map(Self)
    }
}

struct StrictSeed;

impl<'de> DeserializeSeed<'de> for StrictSeed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictSeed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, v: bool) -> std::result::Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> std::result::Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_u64<E>(self, v: u64) -> std::result::Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_f64<E>(self, v: f64) -> std::result::Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_str<E>(self, v: &str) -> std::result::Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if out.contains_key(&key) {
                return Err(A::Error::custom(format!("key `{key}` appears twice")));
            }
            let item = map.next_value_seed(Self)?;
            out.insert(key, item);
        }
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_keys_are_refused_at_every_level() {
        for bad in [
            r#"{"a":1,"a":2}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"[{"a":1,"a":2}]"#,
            r#"{"layers":1,"Layers":2}"#,
            r#"{"config":{"User":"1","user":"0"}}"#,
            "{",
            r#"{"a":1} x"#,
        ] {
            assert!(value("t", bad.as_bytes()).is_err(), "{bad}");
        }
        let good = r#"{"config":{"Labels":{"a":"1","A":"2"}},"n":[1,-1,1.5,null,true,"s"]}"#;
        let parsed = value("t", good.as_bytes()).unwrap();
        assert_eq!(parsed, serde_json::from_str::<Value>(good).unwrap());
    }

    #[test]
    fn deep_nesting_is_an_error_not_an_overflow() {
        let deep = "[".repeat(1 << 20);
        assert!(value("t", deep.as_bytes()).is_err());
    }
}
