//! The shape of the workspace: which crate may know which, where `unsafe` may be, and how long a file may get.
//!
//! Every check is a function from texts to complaints. It is run on this repository, which must give none, and on a
//! wrong text, which must give one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Crates by their short name, and those of ours that each may depend on. Arrows point down only.
const ARROWS: [(&str, &[&str]); 13] = [
    ("cli", &["api", "audit", "engine", "policy", "secrets", "image", "net", "sandbox", "seccomp", "sys"]),
    ("api", &["engine", "policy"]),
    ("audit", &["engine", "seccomp", "secrets"]),
    // It compiles filters and holds descriptors itself for now.
    ("engine", &["sandbox", "registry", "trust", "image", "net", "secrets", "policy", "seccomp", "sys"]),
    ("policy", &[]),
    ("secrets", &["sys"]),
    ("registry", &["image"]),
    ("trust", &["image"]),
    ("image", &[]),
    ("net", &["sys"]),
    ("sandbox", &["sys", "seccomp"]),
    ("seccomp", &[]),
    ("sys", &[]),
];

/// Names of packages that speak to a network, encrypt for it, or wait asynchronously.
const NETWORK: [&str; 24] = [
    "actix-rt",
    "axum",
    "curl",
    "curl-sys",
    "embassy-executor",
    "h2",
    "hyper",
    "isahc",
    "mio",
    "native-tls",
    "openssl",
    "openssl-sys",
    "polling",
    "quinn",
    "reqwest",
    "rustls",
    "smol",
    "socket2",
    "tokio",
    "tower",
    "tungstenite",
    "ureq",
    "webpki",
    "futures-executor",
];

/// Lines of product code in one file.
const LONGEST: usize = 600;

fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the workspace is above its tests").to_path_buf()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Files below `dir`, without what is built.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut stack = vec![dir.to_path_buf()];
    while let Some(at) = stack.pop() {
        for entry in fs::read_dir(&at).unwrap_or_else(|e| panic!("{}: {e}", at.display())).flatten() {
            let name = entry.file_name();
            let kind = entry.file_type().expect("a file type");
            if kind.is_dir() && name != "target" && name != ".git" {
                stack.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    files(dir).into_iter().filter(|p| p.extension().is_some_and(|e| e == "rs")).collect()
}

/// Folders of the crates, by short name.
fn crates() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(repository().join("crates"))
        .expect("crates/")
        .flatten()
        .filter(|e| e.path().join("Cargo.toml").is_file())
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

// ---- manifests ------------------------------------------------------------------------------------------------------

/// `(section, key, value)` of every line of a manifest. Enough of TOML for manifests as they are written here.
fn entries(manifest: &str) -> Vec<(String, String, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in manifest.lines() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.split(']').next()) {
            section = name.trim_start_matches('[').replace('"', "");
        } else if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            found.push((section.clone(), key.trim().replace('"', ""), value.trim().to_owned()));
        }
    }
    found
}

/// The text in quotes after `key =` in an inline table.
fn inline(value: &str, key: &str) -> Option<String> {
    let (_, after) = value.split_once(&format!("{key} = \""))?;
    after.split('"').next().map(str::to_owned)
}

/// Short name of one of our packages: `bulkhead-sys` is `sys`, the package of the command is `cli`.
fn short(package: &str) -> Option<&str> {
    if package == "bulkhead" { Some("cli") } else { package.strip_prefix("bulkhead-") }
}

/// Our crates that a manifest names as dependencies of any kind, under whatever name. `shared` is the root manifest.
fn ours(manifest: &str, shared: &str) -> BTreeSet<String> {
    let renamed: BTreeMap<String, String> = entries(shared)
        .into_iter()
        .filter(|(section, ..)| section == "workspace.dependencies")
        .filter_map(|(_, key, value)| Some((key, inline(&value, "package")?)))
        .collect();
    let mut found = BTreeSet::new();
    for (section, key, value) in entries(manifest) {
        let parts: Vec<&str> = section.split('.').collect();
        let Some(at) = parts.iter().position(|p| p.ends_with("dependencies")) else { continue };
        // `[dependencies.name]` has the name in the section, and `package = "…"` on a line of its own.
        let name = match parts.get(at + 1) {
            Some(name) => (*name).to_owned(),
            None => key.split('.').next().unwrap_or_default().to_owned(),
        };
        let mut package = inline(&value, "package").or_else(|| renamed.get(&name).cloned()).unwrap_or(name);
        if parts.len() > at + 1 && key == "package" {
            package = value.trim_matches('"').to_owned();
        }
        // A path to a neighbour is an arrow, whatever it is called.
        let path = inline(&value, "path").or_else(|| (key == "path").then(|| value.trim_matches('"').to_owned()));
        let folder = path.as_deref().and_then(|p| p.trim_end_matches('/').rsplit('/').next()).map(str::to_owned);
        found.extend(folder);
        found.extend(short(&package).map(str::to_owned));
    }
    found
}

/// Arrows of crate `name` that the table does not have.
fn wrong_arrows(name: &str, manifest: &str, shared: &str) -> Vec<String> {
    let allowed = match ARROWS.iter().find(|(n, _)| *n == name) {
        Some((_, allowed)) => *allowed,
        None => return vec![format!("{name} is not in the table of crates")],
    };
    let wrong = ours(manifest, shared).into_iter().filter(|to| !allowed.contains(&to.as_str()));
    wrong.map(|to| format!("{name} must not depend on {to}")).collect()
}

#[test]
fn arrows_point_down() {
    let shared = read(&repository().join("Cargo.toml"));
    let mut wrong = Vec::new();
    for name in crates() {
        let manifest = read(&repository().join("crates").join(&name).join("Cargo.toml"));
        wrong.extend(wrong_arrows(&name, &manifest, &shared));
        let member = format!("\"crates/{name}\"");
        if !shared.contains(&member) {
            wrong.push(format!("{name} is not a member of the workspace"));
        }
    }
    assert!(crates().len() >= 6, "the crates were not found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_wrong_arrow_is_seen() {
    let root = "[workspace.dependencies]\nbulkhead-engine = { path = \"crates/engine\" }\n\
                pipes = { package = \"bulkhead-net\", path = \"crates/net\" }\n";
    for manifest in [
        "[dependencies]\nbulkhead-engine.workspace = true\n",
        "[dependencies]\nbulkhead-engine = { workspace = true }\n",
        "[dev-dependencies]\nbulkhead-engine.workspace = true\n",
        "[target.'cfg(unix)'.build-dependencies]\nbulkhead-engine.workspace = true\n",
        "[dependencies.bulkhead-engine]\nworkspace = true\n",
        "[dependencies.machine]\npackage = \"bulkhead-engine\"\n",
        "[dependencies]\nmachine = { package = \"bulkhead-engine\", version = \"1\" }\n",
        "[dependencies]\nmachine = { path = \"../engine\" }\n",
        "[dependencies]\npipes.workspace = true\n",
    ] {
        assert_eq!(wrong_arrows("sandbox", manifest, root).len(), 1, "{manifest}");
    }
    assert_eq!(wrong_arrows("misc", "", root), ["misc is not in the table of crates"]);
    let right = "[package]\nname = \"bulkhead-sandbox\"\n[dependencies]\nbulkhead-sys.workspace = true\nlibc = \"1\"\n";
    assert_eq!(wrong_arrows("sandbox", right, root), Vec::<String>::new());
}

#[test]
fn the_table_itself_has_no_circle() {
    for (at, (name, to)) in ARROWS.iter().enumerate() {
        for target in *to {
            let place = ARROWS.iter().position(|(n, _)| n == target);
            assert!(place.is_some_and(|p| p > at), "{name} to {target} does not point down");
        }
    }
}

// ---- lints ----------------------------------------------------------------------------------------------------------

/// What a crate's manifest must say about lints.
fn wrong_lints(name: &str, manifest: &str) -> Option<String> {
    let entries = entries(manifest);
    let shared = entries.contains(&("lints".to_owned(), "workspace".to_owned(), "true".to_owned()));
    let own = |key: &str, level: &str| {
        let is =
            |(s, k, v): &(String, String, String)| s.starts_with("lints.") && k == key && v.trim_matches('"') == level;
        entries.iter().any(is)
    };
    match (name, shared) {
        // The only crate with unsafe code has a table of its own.
        ("sys", false) if own("undocumented_unsafe_blocks", "deny") && own("unsafe_op_in_unsafe_fn", "deny") => None,
        ("sys", _) => Some("sys needs lints of its own about unsafe code".to_owned()),
        // Tests may panic.
        ("tests", false) if own("unsafe_code", "forbid") => None,
        (_, true) => None,
        (_, false) => Some(format!("{name} does not take over the workspace's lints")),
    }
}

#[test]
fn every_crate_takes_over_the_lints() {
    let shared = read(&repository().join("Cargo.toml"));
    let forbids = ("workspace.lints.rust".to_owned(), "unsafe_code".to_owned(), "\"forbid\"".to_owned());
    assert!(entries(&shared).contains(&forbids), "the workspace does not forbid unsafe code");
    let mut wrong: Vec<String> = crates()
        .iter()
        .filter_map(|name| wrong_lints(name, &read(&repository().join("crates").join(name).join("Cargo.toml"))))
        .collect();
    wrong.extend(wrong_lints("tests", &read(&repository().join("tests/Cargo.toml"))));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_crate_without_lints_is_seen() {
    assert!(wrong_lints("engine", "[package]\nname = \"bulkhead-engine\"\n").is_some());
    assert!(wrong_lints("engine", "[lints]\nworkspace = false\n").is_some());
    assert!(wrong_lints("sys", "[lints]\nworkspace = true\n").is_some());
    assert!(wrong_lints("tests", "[lints.rust]\nunsafe_code = \"warn\"\n").is_some());
    assert!(wrong_lints("engine", "[lints.rust]\nunsafe_code = \"forbid\"\n").is_some());
    assert_eq!(wrong_lints("engine", "[lints]\nworkspace = true\n"), None);
}

// ---- unsafe ---------------------------------------------------------------------------------------------------------

/// Source without comments, strings and character literals; lines stay where they are.
fn code_only(source: &str) -> String {
    let bytes: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    let is = |at: usize, text: &str| text.chars().enumerate().all(|(i, c)| bytes.get(at + i) == Some(&c));
    let blank = |out: &mut String, from: usize, to: usize| {
        out.extend(bytes.iter().take(to).skip(from).filter(|c| **c == '\n'));
        to
    };
    while let Some(c) = bytes.get(at) {
        let word_before = at > 0 && bytes.get(at - 1).is_some_and(|c| c.is_alphanumeric() || *c == '_');
        if is(at, "//") {
            let end = (at..bytes.len()).find(|i| bytes.get(*i) == Some(&'\n')).unwrap_or(bytes.len());
            at = blank(&mut out, at, end);
        } else if is(at, "/*") {
            let (mut depth, mut end) = (1, at + 2);
            while depth > 0 && end < bytes.len() {
                let step = if is(end, "/*") {
                    depth += 1;
                    2
                } else if is(end, "*/") {
                    depth -= 1;
                    2
                } else {
                    1
                };
                end += step;
            }
            at = blank(&mut out, at, end);
        } else if !word_before && (is(at, "r\"") || is(at, "r#") || is(at, "br\"") || is(at, "br#") || is(at, "cr#")) {
            let hashes_at = (at..bytes.len()).find(|i| matches!(bytes.get(*i), Some('#' | '"'))).unwrap_or(at);
            let hashes = bytes.iter().skip(hashes_at).take_while(|c| **c == '#').count();
            let quote = hashes_at + hashes;
            if bytes.get(quote) != Some(&'"') {
                // A raw identifier.
                out.push(*c);
                at += 1;
                continue;
            }
            let close = format!("\"{}", "#".repeat(hashes));
            let end = (quote + 1..bytes.len()).find(|i| is(*i, &close)).unwrap_or(bytes.len());
            at = blank(&mut out, at, end + close.len());
        } else if *c == '"' {
            let mut end = at + 1;
            while end < bytes.len() && bytes.get(end) != Some(&'"') {
                end += if bytes.get(end) == Some(&'\\') { 2 } else { 1 };
            }
            at = blank(&mut out, at, end + 1);
        } else if *c == '\'' && (bytes.get(at + 1) == Some(&'\\') || bytes.get(at + 2) == Some(&'\'')) {
            let skip = if bytes.get(at + 1) == Some(&'\\') { at + 3 } else { at + 2 };
            let end = (skip..bytes.len()).find(|i| bytes.get(*i) == Some(&'\'')).unwrap_or(bytes.len());
            at = blank(&mut out, at, end + 1);
        } else {
            out.push(*c);
            at += 1;
        }
    }
    out
}

/// Lines on which the word stands by itself, in code.
fn lines_with(source: &str, word: &str) -> Vec<usize> {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    let has = |line: &str| line.split(|c| !inside(c)).any(|w| w == word);
    code_only(source).lines().zip(1..).filter(|(line, _)| has(line)).map(|(_, number)| number).collect()
}

#[test]
fn unsafe_is_in_sys_only() {
    let sys = repository().join("crates/sys");
    let mut wrong = Vec::new();
    let mut in_sys = 0;
    for path in rust_files(&repository()) {
        let lines = lines_with(&read(&path), "unsafe");
        if path.starts_with(&sys) {
            in_sys += lines.len();
        } else {
            wrong.extend(lines.iter().map(|line| format!("{}:{line}: unsafe", path.display())));
        }
    }
    assert!(in_sys > 0, "the search finds nothing, not even in sys");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_unsafe_block_is_seen_and_the_word_is_not() {
    let source = "// unsafe\n/* unsafe /* unsafe */\nunsafe */\nlet a = \"unsafe \\\" unsafe\";\nlet b = r#\"unsafe \"\
                  unsafe\"#;\n#![forbid(unsafe_code)]\nlet c = '\"'; let d: &'static str = x;\nunsafe { e() }\n\
                  let f = '\\''; unsafe fn g() {}\n";
    assert_eq!(lines_with(source, "unsafe"), [8, 9]);
}

// ---- what is in the tree of the core --------------------------------------------------------------------------------

/// Packages of a lock file with their dependencies, by name. Versions of one package count as one.
fn locked(lock: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut packages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for block in lock.split("[[package]]").skip(1) {
        let Some(name) = block.lines().find_map(|l| l.strip_prefix("name = ")) else { continue };
        let list = block.split_once("dependencies = [").map_or("", |(_, rest)| rest.split(']').next().unwrap_or(""));
        let words = list.split(',').map(|d| d.trim().trim_matches('"')).filter(|d| !d.is_empty());
        let names = words.filter_map(|d| d.split(' ').next()).map(str::to_owned);
        packages.entry(name.trim_matches('"').to_owned()).or_default().extend(names);
    }
    packages
}

/// Everything that `package` is built of.
fn tree_of(lock: &str, package: &str) -> BTreeSet<String> {
    let packages = locked(lock);
    let mut seen = BTreeSet::new();
    let mut stack = vec![package.to_owned()];
    while let Some(name) = stack.pop() {
        if seen.insert(name.clone()) {
            stack.extend(packages.get(&name).into_iter().flatten().cloned());
        }
    }
    seen
}

fn network_in(lock: &str, package: &str) -> Vec<String> {
    let is_network = |name: &String| {
        let base = name.split(['-', '_']).next().unwrap_or_default();
        NETWORK.contains(&name.as_str())
            || base == "async"
            || ["tokio", "hyper", "rustls"].contains(&base) && !name.starts_with("bulkhead")
    };
    tree_of(lock, package).into_iter().filter(is_network).collect()
}

#[test]
fn the_core_has_no_network_code() {
    let lock = read(&repository().join("Cargo.lock"));
    for package in ["bulkhead-sandbox", "bulkhead-seccomp", "bulkhead-sys", "bulkhead-image", "bulkhead-net"] {
        let tree = tree_of(&lock, package);
        assert!(package == "bulkhead-seccomp" || tree.contains("rustix"), "{package}: the tree was not read");
        assert_eq!(network_in(&lock, package), Vec::<String>::new(), "{package}");
    }
    // Registries are spoken to without a runtime, and by one crate.
    let found = network_in(&lock, "bulkhead-registry");
    assert!(["rustls", "ureq"].iter().all(|name| found.iter().any(|f| f == name)), "{found:?}");
    assert!(!found.iter().any(|name| name.starts_with("tokio") || name.starts_with("async")), "{found:?}");
    let packages = locked(&lock);
    let users: Vec<&String> = packages.iter().filter(|(_, uses)| uses.contains("ureq")).map(|(name, _)| name).collect();
    assert_eq!(users, ["bulkhead-registry"]);
}

#[test]
fn network_code_behind_two_corners_is_seen() {
    let lock = "[[package]]\nname = \"bulkhead-sandbox\"\nversion = \"0.1.0\"\ndependencies = [\n \"a\",\n \"b 1.0.0\",\n]\n\n\
                [[package]]\nname = \"a\"\n\n[[package]]\nname = \"b\"\ndependencies = [\n \"async-io\",\n \"tokio-util\",\n]\n\n\
                [[package]]\nname = \"mio\"\n";
    assert_eq!(network_in(lock, "bulkhead-sandbox"), ["async-io", "tokio-util"]);
    assert_eq!(network_in(lock, "a"), Vec::<String>::new());
}

// ---- length of files ------------------------------------------------------------------------------------------------

/// Lines before an inline test module.
fn product_lines(source: &str) -> usize {
    let lines: Vec<&str> = source.lines().collect();
    let opens = |line: &str| line.trim().starts_with("mod ") && line.trim().ends_with('{');
    let inline_tests = |pair: &[&str]| matches!(pair, [a, b] if a.trim() == "#[cfg(test)]" && opens(b));
    lines.windows(2).position(inline_tests).unwrap_or(lines.len())
}

fn is_product(path: &Path) -> bool {
    let inside = path.strip_prefix(repository().join("crates")).unwrap_or(path);
    let in_sources = inside.components().nth(1).is_some_and(|c| c.as_os_str() == "src");
    in_sources && path.file_name().is_some_and(|n| n != "tests.rs")
}

#[test]
fn no_file_is_too_long() {
    let mut too_long = Vec::new();
    let mut lengths = Vec::new();
    for path in rust_files(&repository().join("crates")).into_iter().filter(|p| is_product(p)) {
        let lines = product_lines(&read(&path));
        lengths.push(lines);
        let shown = path.strip_prefix(repository()).unwrap_or(&path).display().to_string();
        if lines > LONGEST {
            too_long.push(format!("{shown}: {lines} lines"));
        } else if lines > LONGEST / 5 * 4 {
            println!("near the limit of {LONGEST} lines: {shown}, {lines}");
        }
    }
    lengths.sort_unstable();
    println!("{} files, {} lines in the median", lengths.len(), lengths.get(lengths.len() / 2).unwrap_or(&0));
    assert!(!lengths.is_empty(), "no file was found");
    assert!(too_long.is_empty(), "{too_long:#?}");
}

#[test]
fn tests_are_not_counted() {
    assert_eq!(product_lines("a\nb\n#[cfg(test)]\nmod tests {\nc\n}\n"), 2);
    assert_eq!(product_lines("a\n#[cfg(test)]\nmod tests;\nb\n"), 4);
    assert_eq!(product_lines(&"x\n".repeat(601)), 601);
}

// ---- the project speaks of itself alone -----------------------------------------------------------------------------

/// Places of a machine on which somebody develops, which mean nothing to a reader. Spelled in halves, so that this file
/// does not have them.
fn private_places() -> Vec<String> {
    [("/work/", "main"), ("/work/", "shared"), ("shared/", "reference"), ("shared/", "design"), ("/root/", ".cargo")]
        .iter()
        .map(|(a, b)| format!("{a}{b}"))
        .chain([format!("/home{}", "/runner")])
        .collect()
}

fn private_lines(text: &str) -> Vec<usize> {
    let places = private_places();
    text.lines().zip(1..).filter(|(l, _)| places.iter().any(|p| l.contains(p))).map(|(_, n)| n).collect()
}

#[test]
fn no_file_names_a_development_machine() {
    let mut wrong = Vec::new();
    let mut read_files = 0;
    for path in files(&repository()) {
        // What is no text names nothing.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        read_files += 1;
        wrong.extend(private_lines(&text).iter().map(|line| format!("{}:{line}", path.display())));
    }
    assert!(read_files > 50, "the files were not found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_private_place_is_seen() {
    let text = format!("fine\nsee {} for more\n", private_places()[0]);
    assert_eq!(private_lines(&text), [2]);
}
