//! Strings for the kernel: without NUL, kept ready as C strings.

use std::ffi::{CStr, CString};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A string without NUL that system calls take as it is.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(CString);

impl Text {
    /// Takes a string.
    ///
    /// # Errors
    /// When it holds a NUL.
    pub fn new(text: impl Into<Vec<u8>>) -> Result<Self, std::ffi::NulError> {
        CString::new(text).map(Self)
    }

    /// For system calls.
    #[must_use]
    pub fn c(&self) -> &CStr {
        &self.0
    }

    /// For people.
    #[must_use]
    pub fn show(&self) -> std::borrow::Cow<'_, str> {
        self.0.to_string_lossy()
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.show())
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Err(serde::ser::Error::custom(format!("{:?} is not UTF-8", self.0))),
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(text).map_err(serde::de::Error::custom)
    }
}
