use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::keys::find;
use super::merge::default_of;
use super::read;
use super::{Config, ConfigError, KEYS, Row, Source, Value, detach_keys, rows, settle};
use crate::request::{ContainerRequest, ProfileName};
use crate::store::Paths;

fn system(text: &str) -> Result<Config, ConfigError> {
    both(text, "", 0)
}

fn both(system: &str, own: &str, uid: u32) -> Result<Config, ConfigError> {
    let mut config = Config { uid, ..Config::default() };
    config.take_system(read::parse(Path::new("/etc/bulkhead/config.toml"), system, true)?);
    config.take_own(read::parse(Path::new("/home/a/.config/bulkhead/config.toml"), own, false)?)?;
    Ok(config)
}

#[test]
fn every_key_has_a_default_that_it_would_take() {
    for key in KEYS.iter().filter(|key| !matches!(key.name, "container.memory" | "storage.root" | "storage.run")) {
        let value = default_of(key).unwrap_or_else(|| panic!("{}", key.name));
        assert_eq!(key.kind.show(&value), key.default, "{}", key.name);
    }
}

/// What is shown as the default is what a container gets without any file.
#[test]
fn the_defaults_that_are_shown_are_the_ones_in_force() {
    let request = ContainerRequest { image: "a".into(), ..ContainerRequest::default() };
    let resources = crate::resolve::resources(&request).unwrap();
    let number = |name: &str| match default_of(find(name).unwrap()) {
        Some(Value::Number(n)) => n,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(resources.pids.map(i64::try_from), Some(Ok(number("container.pids_limit"))));
    assert_eq!(i64::try_from(crate::resolve::SHM_SIZE), Ok(number("container.shm_size")));
    assert_eq!(crate::containers::STOP_GRACE, number("container.stop_timeout"));
    let limits = crate::monitor::log::LogLimits::default();
    assert_eq!(i64::try_from(limits.size), Ok(number("log.max_size")));
    assert_eq!(i64::from(limits.files), number("log.max_file"));
    let reserve = bulkhead_sandbox::facts::Reserve::default();
    for (name, percent) in [("memory", reserve.memory), ("pids", reserve.pids), ("cpu", reserve.cpu)] {
        assert_eq!(i64::try_from(percent), Ok(number(&format!("reserve.{name}"))));
    }
    assert!(!request.init);
    assert_eq!(default_of(find("container.init").unwrap()), Some(Value::Switch(false)));
    let Some(Value::Ulimits(shown)) = default_of(find("container.ulimits").unwrap()) else { panic!() };
    let limit = |n: Option<u64>| n.unwrap_or(u64::MAX);
    let set = crate::resolve::rlimits(&request).unwrap();
    assert_eq!(set.into_iter().map(|l| (l.name, limit(l.soft), limit(l.hard))).collect::<Vec<_>>(), shown);
}

#[test]
fn an_empty_configuration_is_the_defaults() {
    let config = system("").unwrap();
    assert_eq!(config.profile(), ProfileName::Default);
    assert_eq!(config.log(), crate::monitor::log::LogLimits::default());
    assert_eq!(config.reserve(), bulkhead_sandbox::facts::Reserve::default());
    assert_eq!(config.detach_keys(), [16, 17]);
    let request = ContainerRequest { image: "a".into(), ..ContainerRequest::default() };
    assert_eq!(settle(&config, &request).unwrap(), request);
}

#[test]
fn values_are_filled_in_where_nothing_was_asked() {
    let config = system(
        "[container]\nprofile = \"strict\"\npids_limit = 50\nmemory = \"64m\"\nshm_size = 4096\ninit = true\n\
         stop_timeout = -1\nulimits = [\"nofile=10:20\", \"core=0\"]\n[log]\nmax_size = \"1m\"\nmax_file = 5\n\
         [reserve]\nmemory = 50\n[client]\ndetach_keys = \"ctrl-a,d\"\n",
    )
    .unwrap();
    assert_eq!(config.profile(), ProfileName::Strict);
    assert_eq!((config.log().size, config.log().files), (1 << 20, 5));
    assert_eq!(config.reserve().memory, 50);
    assert_eq!(config.detach_keys(), [1, b'd']);
    let mut request = ContainerRequest::default();
    request.limits.ulimits = vec![("nofile".to_owned(), 1, 2)];
    let whole = settle(&config, &request).unwrap();
    assert_eq!((whole.limits.pids, whole.limits.memory, whole.limits.shm_size), (Some(50), Some(64 << 20), Some(4096)));
    assert_eq!((whole.init, whole.stop_timeout), (true, Some(-1)));
    assert_eq!(whole.limits.ulimits, [("nofile".to_owned(), 1, 2), ("core".to_owned(), 0, 0)]);
    request.limits.memory = Some(7 << 20);
    assert_eq!(settle(&config, &request).unwrap().limits.memory, Some(7 << 20));
}

#[test]
fn every_mistake_is_named_with_file_line_key_and_what_is_accepted() {
    for (text, line, wanted) in [
        ("[container]\npids_limit = 0", 2, "container.pids_limit: 0 cannot be used: a whole number from 1, or -1"),
        ("[container]\npids_limit = \"1\"", 2, "container.pids_limit: \"1\" cannot be used"),
        ("\n[container]\nprofile = \"loose\"", 3, "one of \"strict\", \"default\", \"compat\" is needed"),
        ("[container]\nmemory = \"1m\"", 2, "at least 6m"),
        ("[container]\nmemory = 1.5", 2, "a number with a fraction cannot be used"),
        ("[container]\nulimits = [\"files=1\"]", 2, "nofile=1024:65536"),
        ("[container]\nulimits = [1]", 2, "a list of other things than text cannot be used"),
        ("[container]\ninit = \"yes\"", 2, "true or false is needed"),
        ("[reserve]\nmemory = 96", 2, "a whole number from 1 to 95 is needed"),
        ("[storage]\nroot = \"data\"", 2, "an absolute path"),
        ("[storage]\nroot = \"/a/../b\"", 2, "an absolute path"),
        ("[client]\ndetach_keys = \"ctrl-\"", 2, "ctrl-p,ctrl-q"),
        ("[container]\npid_limit = 1", 2, "unknown key \"container.pid_limit\""),
        ("pids_limit = 1", 1, "unknown key \"pids_limit\""),
        ("[containers]\npids_limit = 1", 1, "unknown section \"containers\""),
        ("container = 1", 1, "unknown key \"container\""),
        ("locked = \"container\"", 1, "locked: a list"),
        ("locked = [\"container.pids\"]", 1, "unknown key \"container.pids\""),
        ("locked = [\"storage\"]", 1, "cannot be pinned"),
        ("[container\n", 1, "it is not TOML"),
        ("[container]\npids_limit = 1\npids_limit = 2\n", 3, "it is not TOML"),
        ("[container]\npids_limit = 99999999999999999999", 2, "cannot be used"),
    ] {
        let error = system(text).unwrap_err();
        assert_eq!(error.line, Some(line), "{text}: {error}");
        assert!(error.to_string().starts_with(&format!("/etc/bulkhead/config.toml:{line}: ")), "{error}");
        assert!(error.to_string().contains(wanted), "{text}: {error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    let hint = |text: &str| system(text).unwrap_err().hint.unwrap_or_default();
    assert_eq!(hint("[container]\npid_limit = 1"), "did you mean container.pids_limit?");
    assert_eq!(hint("pids-limit = 1"), "did you mean container.pids_limit?");
    assert_eq!(hint("[container]\nmax_size = 1"), "did you mean log.max_size?");
    assert!(hint("[net]\nx = 1").contains("container, log, reserve, network, registry, storage, client, registries"));
}

#[test]
fn a_user_has_his_own_values_but_for_what_is_pinned() {
    let config = both("[container]\nmemory = \"64m\"\n", "[container]\nmemory = \"1g\"\n", 1000).unwrap();
    let entry = config.entry("container.memory").unwrap();
    assert_eq!(entry.value, Value::Number(1 << 30));
    assert_eq!(entry.source, Source::File("/home/a/.config/bulkhead/config.toml".into(), 2));
    let error =
        both("locked = [\"container.memory\"]\n[container]\nmemory = \"64m\"\n", "[container]\nmemory = 1\n", 1000);
    // What is wrong by itself is told first; what is right and pinned is refused too.
    assert!(error.unwrap_err().to_string().contains("at least 6m"));
    let error = both("locked = [\"container\"]\n", "\n[container]\nmemory = \"1g\"\n", 1000).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/home/a/.config/bulkhead/config.toml:3: container.memory is pinned by /etc/bulkhead/config.toml:1"
    );
    let error = both("", "locked = [\"container\"]", 1000).unwrap_err();
    assert!(error.to_string().contains("only the system's file"), "{error}");
    // Root's places say nothing about a user's, and his own do.
    let config = both("[storage]\nroot = \"/srv\"\n", "", 1000).unwrap();
    assert_eq!(config.place("storage.root"), None);
    assert_eq!(system("[storage]\nroot = \"/srv\"\n").unwrap().place("storage.root"), Some("/srv".into()));
}

#[test]
fn what_is_pinned_may_be_made_stricter_and_not_looser() {
    let text = "locked = [\"container\"]\n[container]\nprofile = \"default\"\npids_limit = 100\nmemory = \"64m\"\n\
                shm_size = \"1m\"\nstop_timeout = 5\nulimits = [\"nofile=100:200\"]\n";
    type Change = fn(&mut ContainerRequest);
    let cases: [(Change, Change, &str); 6] = [
        (|r| r.profile = ProfileName::Strict, |r| r.profile = ProfileName::Compat, "--profile compat"),
        (|r| r.limits.pids = Some(99), |r| r.limits.pids = Some(-1), "--pids-limit -1"),
        (|r| r.limits.memory = Some(32 << 20), |r| r.limits.memory = Some(65 << 20), "--memory 68157440"),
        (|r| r.limits.shm_size = Some(1), |r| r.limits.shm_size = Some(2 << 20), "--shm-size 2097152"),
        (|r| r.stop_timeout = Some(0), |r| r.stop_timeout = Some(-1), "--stop-timeout -1"),
        (
            |r| r.limits.ulimits = vec![("nofile".to_owned(), 1, 200), ("nproc".to_owned(), 1, 9)],
            |r| r.limits.ulimits = vec![("nofile".to_owned(), 1, 201)],
            "--ulimit nofile=1:201",
        ),
    ];
    let config = both(text, "", 1000).unwrap();
    let root = system(text).unwrap();
    for (stricter, looser, named) in cases {
        let with = |change: Change| {
            let mut request = ContainerRequest::default();
            change(&mut request);
            request
        };
        assert!(settle(&config, &with(stricter)).is_ok(), "{named}");
        let error = settle(&config, &with(looser)).unwrap_err().to_string();
        assert!(
            error.contains(named) && error.contains("pinned") && error.contains("/etc/bulkhead/config.toml:1"),
            "{error}"
        );
        assert!(settle(&root, &with(looser)).is_ok(), "root is the administrator: {named}");
    }
    // A key can be pinned at its default.
    let config = both("locked = [\"container.profile\"]", "", 1000).unwrap();
    let request = ContainerRequest { profile: ProfileName::Compat, ..ContainerRequest::default() };
    assert!(settle(&config, &request).is_err());
}

#[test]
fn files_that_others_could_write_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let uid = rustix::process::geteuid().as_raw();
    let path = dir.path().join("config.toml");
    let missing = dir.path().join("none.toml");
    let load = |path: &PathBuf| Config::load_from(&missing, Some(path), uid);
    std::fs::write(&path, "[container]\ninit = true\n").unwrap();
    let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(&path, 0o600);
    let config = load(&path).unwrap();
    assert_eq!(config.files, [(missing.clone(), false), (path.clone(), true)]);
    assert!(config.entry("container.init").is_some());
    for open in [0o620, 0o602, 0o666] {
        mode(&path, open);
        let error = load(&path).unwrap_err();
        assert!(error.to_string().contains("may write it") && error.hint.is_some(), "{error}");
    }
    mode(&path, 0o644);
    mode(dir.path(), 0o777);
    assert!(load(&path).unwrap_err().to_string().contains("may write it"));
    mode(dir.path(), 0o700);
    // Not this user's, and not root's.
    let error = Config::load_from(&missing, Some(&path), uid + 1);
    assert_eq!(error.is_ok(), uid == 0);
    // A directory, a FIFO: no waiting, no reading.
    assert!(load(&dir.path().to_path_buf()).is_err());
    let fifo = dir.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    assert!(load(&fifo).unwrap_err().to_string().contains("not a file"));
}

#[test]
fn what_is_shown_names_value_default_and_source() {
    let paths = Paths { root: "/r".into(), run: "/s".into() };
    let usual = Paths { root: "/var/lib/bulkhead".into(), run: "/run/bulkhead".into() };
    let config = both("locked = [\"container.pids_limit\"]\n[container]\npids_limit = 7\n", "", 1000).unwrap();
    let all = rows(&config, &paths, &usual);
    assert_eq!(all.len(), KEYS.len());
    let row = |name: &str| all.iter().find(|r: &&Row| r.key == name).cloned().unwrap();
    let pids = row("container.pids_limit");
    assert_eq!((pids.value.as_str(), pids.default.as_str()), ("7", "1024"));
    assert_eq!(pids.source, "/etc/bulkhead/config.toml:3");
    assert_eq!(pids.locked, "/etc/bulkhead/config.toml:1");
    assert_eq!(row("container.memory").value, "none");
    assert_eq!(row("container.memory").source, "default");
    assert_eq!(row("storage.root").default, "/var/lib/bulkhead");
}

#[test]
fn key_sequences() {
    assert_eq!(detach_keys("ctrl-p,ctrl-q"), Some(vec![16, 17]));
    assert_eq!(
        detach_keys("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_,a,Z"),
        Some(vec![0, 27, 28, 29, 30, 31, 97, 90])
    );
    assert_eq!(detach_keys(""), Some(Vec::new()));
    for text in ["ctrl-", "ctrl-P", "ctrl-pp", "ab", ",", "1", "ctrl-`", "é"] {
        assert_eq!(detach_keys(text), None, "{text}");
    }
}

/// The page has every key with its default, and no other.
#[test]
fn the_documentation_has_this_table() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let text = std::fs::read_to_string(page).unwrap();
    let rows: Vec<&str> = text.lines().filter(|l| l.starts_with("| `") && l.matches('|').count() == 5).collect();
    let wanted: Vec<String> = KEYS
        .iter()
        .map(|key| {
            let default = if key.default.is_empty() { "see below" } else { key.default };
            let pin = if key.scope == super::Scope::Lockable { "yes" } else { "no" };
            format!("| `{}` | `{default}` | {pin} | {} |", key.name, key.about)
        })
        .collect();
    assert_eq!(rows, wanted);
}

#[test]
fn registries_have_sections_of_their_own() {
    let text = "[registries.\"docker.io\"]\nmirrors = [\"m.example:5000/hub\"]\n[registries.\"r.lan:5000\"]\ninsecure = true\n";
    let config = both(text, "[registries.\"docker.io\"]\nlocation = \"own.example\"\n", 1000).unwrap();
    let all = config.registries();
    assert_eq!((all.len(), all["r.lan:5000"].insecure), (2, true));
    // As a whole: the administrator's mirrors are not mixed with the user's place.
    assert_eq!((all["docker.io"].mirrors.len(), all["docker.io"].location.as_deref()), (0, Some("own.example")));
    assert_eq!(system(text).unwrap().registries()["docker.io"].mirrors, ["m.example:5000/hub"]);
    let says = |text: &str| system(text).unwrap_err().to_string();
    for (wrong, wanted) in [
        ("[registries]\n\"docker.io\" = 1\n", "registries.\"docker.io\": a section"),
        ("[registries.\"docker.io\"]\nmirror = []\n", "unknown key \"mirror\" of registries.\"docker.io\""),
        ("[registries.\"docker.io\"]\nmirrors = \"x\"\n", "registries.\"docker.io\".mirrors: a list like"),
        ("[registries.\"docker.io\"]\ninsecure = 1\n", "insecure: true or false is needed"),
        ("[registries.\"docker.io\"]\nmirrors = [\"https://x\"]\n", "expected HOST[:PORT][/PATH]"),
        ("[registries.\"a b\"]\ninsecure = true\n", "expected HOST[:PORT]"),
    ] {
        assert!(says(wrong).contains(wanted), "{wrong}: {}", says(wrong));
    }
    let pinned = format!("locked = [\"registries\"]\n{text}");
    let error = both(&pinned, "[registries.\"x.example\"]\ninsecure = true\n", 1000).unwrap_err().to_string();
    assert!(error.contains("registries is pinned by /etc/bulkhead/config.toml:1"), "{error}");
    assert_eq!(both(&pinned, "", 1000).unwrap().registries().len(), 2);
}

#[test]
fn patience_with_registries_is_what_is_shown() {
    let limits = bulkhead_registry::Limits::default();
    let shown = system("").unwrap().registry_limits();
    assert_eq!(shown, limits);
    let number = |name: &str| match default_of(find(name).unwrap()) {
        Some(Value::Number(n)) => u64::try_from(n).unwrap(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(number("registry.parallel"), u64::try_from(limits.parallel).unwrap());
    assert_eq!(number("registry.attempts"), u64::from(limits.attempts));
    assert_eq!(number("registry.timeout"), limits.silence.as_secs());
    assert_eq!(number("registry.min_speed"), limits.least_speed);
    let own =
        system("[registry]\nparallel = 2\nattempts = 1\ntimeout = 7\nmin_speed = \"1m\"\n").unwrap().registry_limits();
    assert_eq!((own.parallel, own.attempts, own.silence.as_secs(), own.least_speed), (2, 1, 7, 1 << 20));
}
