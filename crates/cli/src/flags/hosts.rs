//! `--add-host`, `--dns` and its kin: lines of files that the container finds in `/etc`.

use std::net::IpAddr;

use super::Needed;

/// `NAME:ADDRESS` or `NAME=ADDRESS`; a version 6 address may stand in brackets.
///
/// # Errors
///
/// A name that is none, an address that is none, and the host's own address, which there is no way to.
pub fn add_host(text: &str) -> Result<(String, String), Needed> {
    let form = || Needed::from("NAME:ADDRESS is needed, like db:10.0.0.2 or db:[fd00::2]");
    // As for Docker, the first separator of either kind counts, and an equals sign is preferred.
    let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(form)?;
    if address == "host-gateway" {
        return Err("there is no way to the host: its own addresses are refused on every network".into());
    }
    let plain = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    let address: IpAddr = plain.parse().map_err(|_| form())?;
    Ok((domain(name)?, address.to_string()))
}

/// An address of a name server.
///
/// # Errors
///
/// Anything else.
pub fn dns(text: &str) -> Result<String, Needed> {
    let address: Result<IpAddr, _> = text.parse();
    address.map(|a| a.to_string()).map_err(|_| "an address like 10.0.0.53 or fd00::53 is needed".into())
}

/// A domain that names are looked for in; `.` takes all away.
///
/// # Errors
///
/// Anything else.
pub fn dns_search(text: &str) -> Result<String, Needed> {
    if text == "." { Ok(text.to_owned()) } else { domain(text) }
}

/// An option of `resolv.conf(5)`: one word.
///
/// # Errors
///
/// Anything else.
pub fn dns_option(text: &str) -> Result<String, Needed> {
    let good = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':' | b'.'));
    if good && !text.is_empty() && text.len() <= 64 {
        Ok(text.to_owned())
    } else {
        Err("an option of resolv.conf(5) is needed, like ndots:2".into())
    }
}

/// A name that is written into a file of lines and blanks: letters, digits, `-`, `_` and dots between parts.
fn domain(text: &str) -> Result<String, Needed> {
    let part = |part: &str| {
        let inner = part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        inner && !part.is_empty() && part.len() <= 63
    };
    let bare = text.strip_suffix('.').unwrap_or(text);
    if text.len() <= 253 && bare.split('.').all(part) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is no name: letters, digits, '-', '_' and '.' are needed, 253 at most").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_in_all_forms() {
        let pair = |a: &str, b: &str| Ok((a.to_owned(), b.to_owned()));
        assert_eq!(add_host("db:10.0.0.2"), pair("db", "10.0.0.2"));
        assert_eq!(add_host("db=10.0.0.2"), pair("db", "10.0.0.2"));
        assert_eq!(add_host("db:[fd00::2]"), pair("db", "fd00::2"));
        assert_eq!(add_host("a.b:fd00::2"), pair("a.b", "fd00::2"));
        for text in
            ["", "db", "db:", ":1.2.3.4", "db:x", "a b:1.2.3.4", "a\nb:1.2.3.4", "db:1.2.3.4\n1.1.1.1 x", "db:1.2.3"]
        {
            assert!(add_host(text).is_err(), "{text:?}");
        }
        assert!(add_host("x:host-gateway").unwrap_err().contains("no way to the host"));
    }

    #[test]
    fn nothing_breaks_out_of_a_line() {
        assert!(dns("10.0.0.53").is_ok() && dns("::1").is_ok());
        assert!(dns_search("example.org.").is_ok() && dns_search(".").is_ok() && dns_option("ndots:2").is_ok());
        for text in ["", "a b", "a\nnameserver 1.2.3.4", "1.2.3.4 5.6.7.8", "a\tb", "#x"] {
            assert!(dns(text).is_err() && dns_search(text).is_err() && dns_option(text).is_err(), "{text:?}");
        }
    }
}
