//! Names of users.

/// Name of a user as `/etc/passwd` of the host has it, or `#` and the number. Other sources of names are not asked: a
/// static program has no resolver for them.
pub(super) fn name(uid: u32) -> String {
    let users = std::fs::read("/etc/passwd").unwrap_or_default();
    find(&String::from_utf8_lossy(&users), uid).unwrap_or_else(|| format!("#{uid}"))
}

fn find(users: &str, uid: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse::<u32>().ok()? == uid && !name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let users = "# a comment\nroot:x:0:0::/:/bin/sh\n:x:7::\nbroken\nann:x:1000:1000:Ann:/home/ann:/bin/sh\n";
        assert_eq!(find(users, 1000).as_deref(), Some("ann"));
        assert_eq!(find(users, 7), None);
        assert_eq!(name(4_294_967_294), "#4294967294");
    }
}
