use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bulkhead_trust::{Accept, Name};

use super::super::read;
use super::super::{Config, ConfigError};

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const KEY: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

fn told(text: &str) -> String {
    read::parse(Path::new("/etc/x"), text, true).map(|_| "taken".to_owned()).unwrap_or_else(|e| e.to_string())
}

#[test]
fn a_rule_that_cannot_hold_is_refused_by_file_field_and_value() {
    for (text, said) in [
        (
            "[[trust]]\nimages = \"alpine\"\naccept = \"any\"",
            "/etc/x:2: trust.images: \"alpine\" cannot be used: a registry like",
        ),
        ("[[trust]]\nimages = 3\naccept = \"any\"", "/etc/x:2: trust.images: 3 cannot be used"),
        (
            "[[trust]]\nimages = \"*\"\naccept = \"yes\"",
            "/etc/x:3: trust.accept: \"yes\" cannot be used: one of \"signed\"",
        ),
        ("[[trust]]\naccept = \"any\"", "/etc/x:2: trust.images is missing"),
        ("[[trust]]\nimages = \"*\"", "/etc/x:2: trust.accept is missing"),
        ("[[trust]]\nimages = \"*\"\naccept = \"signed\"", "trust.keys is missing"),
        ("[[trust]]\nimages = \"*\"\naccept = \"signed\"\nkeys = []", "trust.keys is missing"),
        ("[[trust]]\nimages = \"*\"\naccept = \"listed\"", "trust.digests is missing"),
        (
            "[[trust]]\nimages = \"*\"\naccept = \"listed\"\ndigests = [\"sha256:00\"]",
            "/etc/x:4: trust.digests: [\"sha256:00\"] cannot be used",
        ),
        (
            "[[trust]]\nimages = \"*\"\naccept = \"any\"\nkeys = [\"/k\"]",
            "trust.keys: it has no effect with accept = \"any\"",
        ),
        (
            "[[trust]]\nimages = \"*\"\naccept = \"signed\"\nkeys = [\"k\"]",
            "trust.keys: [\"k\"] cannot be used: a list of absolute",
        ),
        ("[[trust]]\nimages = \"*\"\naccept = \"any\"\npinned = \"yes\"", "trust.pinned: \"yes\" cannot be used"),
        ("[[trust]]\nimages = \"*\"\naccept = \"any\"\nkey = 1", "unknown field \"key\" of [[trust]]"),
        ("[trust]\nimages = \"*\"", "written as sections [[trust]]"),
        ("trust = 1", "written as sections [[trust]]"),
        ("trust = [1]", "written as sections [[trust]]"),
        (
            "[[trust]]\nimages = \"ghcr.io\"\naccept = \"any\"\n[[trust]]\nimages = \"GHCR.io:443\"\naccept = \"none\"",
            "/etc/x:5: trust.images: \"GHCR.io:443\" has a rule in line 2 already",
        ),
    ] {
        let told = told(text);
        assert!(told.contains(said), "{text}\n{told}");
    }
    let good = format!("[[trust]]\nimages = \"*\"\naccept = \"listed\"\ndigests = [\"sha256:{HEX}\"]\npinned = true");
    assert_eq!(told(&good), "taken");
}

fn loaded(dir: &Path, system: &str, own: &str) -> Result<Config, ConfigError> {
    let uid = rustix::process::geteuid().as_raw();
    let file = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        path
    };
    let (system, own) = (file("system.toml", system), file("own.toml", own));
    // Both are the same user's here; the system's must be root's.
    let mut config = Config { uid, ..Config::default() };
    config.take_system(read::file(&system, uid, true)?.unwrap());
    config.take_own(read::file(&own, uid, false)?.unwrap())?;
    Ok(config)
}

#[test]
fn a_users_rules_come_on_top_of_the_administrators() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let key = dir.path().join("k.pub");
    std::fs::write(&key, KEY).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let signed = format!("[[trust]]\nimages = \"ghcr.io\"\naccept = \"signed\"\nkeys = [{key:?}]\n");
    let loose =
        "[[trust]]\nimages = \"ghcr.io/team\"\naccept = \"any\"\n[[trust]]\nimages = \"quay.io\"\naccept = \"none\"\n";
    let config = loaded(dir.path(), &signed, loose).unwrap();
    let of = |text: &str| {
        let name = Name::of(&text.parse().unwrap());
        config.trust.rules(Some(&name)).iter().map(|rule| rule.accept).collect::<Vec<_>>()
    };
    assert_eq!(of("ghcr.io/team/app"), [Accept::Signed, Accept::Any]);
    assert_eq!(of("quay.io/x"), [Accept::Nothing]);
    assert_eq!(of("alpine"), []);
    let rule = config.trust.all().next().unwrap();
    assert_eq!(super::shown(rule), format!("signed keys={}", key.display()));

    // A key that others could have exchanged is worth nothing, nor is one that is not there.
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o666)).unwrap();
    let told = loaded(dir.path(), &signed, "").unwrap_err();
    assert!(
        told.to_string().contains("system.toml:2: trust.keys: ") && told.to_string().contains("mode 0666"),
        "{told}"
    );
    assert!(told.hint.unwrap().contains("chmod go-w"));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&key, "ssh-ed25519 AAAA").unwrap();
    let told = loaded(dir.path(), &signed, "").unwrap_err().to_string();
    assert!(told.contains("k.pub\" cannot be used: it does not begin with a PEM block"), "{told}");
    std::fs::remove_file(&key).unwrap();
    let told = loaded(dir.path(), &signed, "").unwrap_err().to_string();
    assert!(told.contains("there is no such file"), "{told}");
}
