//! `USER`: numbers are numbers, names are names, and neither ever becomes the other.

use serde::{Deserialize, Serialize};

use crate::error::{ImageError, Result};

/// Highest numeric user or group, the one Docker has: above it other software takes the number for a negative one.
const MAX: u32 = 0x7fff_ffff;

/// A user by number or by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserRef {
    /// A number, never looked up as a name.
    Id(u32),
    /// A name, to be looked up in the image's `/etc/passwd`.
    Name(String),
}

/// A group by number or by name.
pub type GroupRef = UserRef;

/// `USER[:GROUP]`, parsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSpec {
    /// The user.
    pub user: UserRef,
    /// The group, if given.
    pub group: Option<GroupRef>,
}

impl UserSpec {
    /// Parses `NAME|UID[:GROUP|GID]`. Empty text means root, as everywhere, and so does a group alone.
    ///
    /// Digits only make a number. Refused: numbers above 2147483647, signs, blanks, numbers in another notation
    /// (`0x0`), an empty group.
    ///
    /// # Errors
    /// [`ImageError::Invalid`], repeating the value and naming what is accepted.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self { user: UserRef::Id(0), group: None });
        }
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        // As Docker: a group alone is root with that group.
        if let ("", Some(group)) = (user, group) {
            return Ok(Self { user: UserRef::Id(0), group: Some(part(text, group)?) });
        }
        Ok(Self { user: part(text, user)?, group: group.map(|group| part(text, group)).transpose()? })
    }

    /// Refuses numbers above `max`, the highest id of the container.
    ///
    /// # Errors
    /// [`ImageError::Invalid`] naming the number and the limit.
    pub fn check_mapped(&self, max: u32) -> Result<()> {
        for part in [Some(&self.user), self.group.as_ref()].into_iter().flatten() {
            if let UserRef::Id(id) = part
                && *id > max
            {
                return Err(ImageError::invalid(
                    "user",
                    &id.to_string(),
                    format!("the highest id of a container is {max}"),
                ));
            }
        }
        Ok(())
    }
}

fn part(whole: &str, text: &str) -> Result<UserRef> {
    let refuse = |reason: &str| Err(ImageError::invalid("user", whole, reason));
    if text.is_empty() {
        return refuse("expected NAME|UID[:GROUP|GID], both parts not empty");
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.parse::<u32>() {
            Ok(id) if id <= MAX => Ok(UserRef::Id(id)),
            _ => refuse("a numeric user or group is at most 2147483647"),
        };
    }
    if text.len() > 255 {
        return refuse("a name has at most 255 bytes");
    }
    if text.starts_with(['-', '+']) {
        return refuse("numbers have no sign, and names do not begin with one");
    }
    let bytes = text.as_bytes();
    if matches!(bytes, [b'0', b'x' | b'X' | b'o' | b'O' | b'b' | b'B', ..]) {
        return refuse("numbers are decimal");
    }
    // Names are compared with fields of /etc/passwd, which can hold none of these.
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, ':' | '/' | ',')) {
        return refuse("names have no blanks, control characters, `:`, `,` or `/`");
    }
    Ok(UserRef::Name(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted() {
        let id = |n| UserRef::Id(n);
        let name = |s: &str| UserRef::Name(s.to_owned());
        for (text, user, group) in [
            ("", id(0), None),
            ("0", id(0), None),
            ("1000", id(1000), None),
            ("010", id(10), None),
            ("1000:1001", id(1000), Some(id(1001))),
            ("app", name("app"), None),
            (":app", id(0), Some(name("app"))),
            (":5", id(0), Some(id(5))),
            ("app:0", name("app"), Some(id(0))),
            ("1:www-data", id(1), Some(name("www-data"))),
            ("2147483647", id(0x7fff_ffff), None),
            ("1a", name("1a"), None),
        ] {
            assert_eq!(UserSpec::parse(text).unwrap(), UserSpec { user, group }, "{text}");
        }
        assert!(UserSpec::parse("65536:65536").unwrap().check_mapped(65_535).is_err());
        assert!(UserSpec::parse("1:65536").unwrap().check_mapped(65_535).is_err());
        assert!(UserSpec::parse("65535").unwrap().check_mapped(65_535).is_ok());
    }

    #[test]
    fn refused() {
        let long = "9".repeat(1 << 16);
        for bad in [
            "4294967296",
            "4294967295",
            "2147483648",
            "-1",
            "+1",
            "0x0",
            " 0",
            "0 ",
            "1000 ",
            "a b",
            "a:",
            ":",
            "a:b:c",
            "1:-1",
            "1:4294967296",
            "a\n",
            "a\0",
            "a/b",
            "0:0x0",
            &long,
        ] {
            let error = UserSpec::parse(bad).unwrap_err().to_string();
            assert!(error.contains("user"), "{error}");
        }
    }
}
