//! Pull and push against Debian's registry on loopback: with and without a password, over TLS with an authority of its
//! own, after a cut connection, and many at a time.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bulkhead_tests::configured::Configured;
use bulkhead_tests::registry::{PASSWORD, Registry, Setup, USER, authority, layer, load};
use bulkhead_tests::{Bench, Said, skip};
use serde_json::Value;

fn ready(test: &str) -> bool {
    if let Some(missing) = Registry::missing() {
        skip(test, missing);
        return false;
    }
    true
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Layers of the store.
fn layers(bench: &Bench) -> usize {
    std::fs::read_dir(bench.path("root/layers")).map_or(0, Iterator::count)
}

fn digest_of(said: &str) -> String {
    let line = said.lines().find(|line| line.contains("sha256:")).unwrap();
    let at = line.find("sha256:").unwrap();
    line[at..at + 71].to_owned()
}

#[test]
fn what_is_pushed_is_pulled_again() {
    if !ready("what_is_pushed_is_pulled_again") {
        return;
    }
    let bench = Bench::new();
    let registry = Registry::start(&bench.path("registry"), &Setup::default());
    let name = registry.name("team/app:1");
    load(&bench, &name, vec![layer("low", 1, 300_000), layer("high", 2, 1000)]);
    let before = json(&bench.say(&["image", "inspect", &name]).ok());
    let said = bench.say(&["push", &name]).ok();
    assert!(said.starts_with(&format!("The push refers to repository [{}]\n", registry.name("team/app"))), "{said}");
    assert_eq!(said.matches(": Pushed").count(), 2, "{said}");
    let digest = digest_of(&said);
    assert!(said.lines().last().unwrap().starts_with(&format!("1: digest: {digest} size: ")), "{said}");
    let pinned = format!("{}@{digest}", registry.name("team/app"));
    assert_eq!(json(&bench.say(&["image", "inspect", &name]).ok())[0]["RepoDigests"][0], pinned.as_str());
    // What is there is not sent again, and what another repository of the registry has is taken from there.
    assert!(!bench.say(&["push", &name]).ok().contains(": Pushed"));
    let other = registry.name("other:2");
    bench.say(&["tag", &name, &other]).ok();
    assert_eq!(bench.say(&["push", &other]).ok().matches(": Mounted").count(), 2);
    assert_eq!(bench.say(&["push", "-q", &other]).ok().trim(), other);

    bench.say(&["rmi", "-f", before[0]["Id"].as_str().unwrap()]).ok();
    assert_eq!(layers(&bench), 0);
    let said = bench.say(&["pull", &name]).ok();
    for part in
        ["1: Pulling from team/app\n", ": Pulling fs layer\n", ": Pull complete\n", &format!("Digest: {digest}\n")]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.ends_with(&format!("Status: Downloaded newer image for {name}\n{name}\n")), "{said}");
    let after = json(&bench.say(&["image", "inspect", &name]).ok());
    for field in ["Id", "RootFS", "Config", "Created"] {
        assert_eq!(before[0][field], after[0][field], "{field}");
    }
    assert_eq!(after[0]["RepoDigests"][0], pinned.as_str());
    assert!(bench.say(&["pull", &name]).ok().contains("Status: Image is up to date for"));
    let found = std::fs::read_dir(bench.path("root/layers")).unwrap().flatten();
    let sizes: Vec<u64> =
        found.filter_map(|l| std::fs::metadata(l.path().join("fs/low")).ok()).map(|m| m.len()).collect();
    assert_eq!(sizes, [300_000]);
    // By its digest, without a tag.
    bench.say(&["rmi", &name]).ok();
    assert_eq!(bench.say(&["pull", "-q", &pinned]).ok().trim(), pinned);
    let listed = bench.say(&["images", "--digests", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}"]).ok();
    assert_eq!(listed.trim(), format!("{} <none> {digest}", registry.name("team/app")));
    let untagged = bench.say(&["rmi", &pinned]).ok();
    assert!(untagged.contains(&format!("Untagged: {pinned}")), "{untagged}");
    assert_eq!(layers(&bench), 0);

    // Looked at where it is.
    let shown = json(&bench.say(&["manifest", "inspect", &name]).ok());
    assert_eq!(shown["layers"].as_array().unwrap().len(), 2);
    let verbose = json(&bench.say(&["manifest", "inspect", "-v", &name]).ok());
    assert_eq!((&verbose["Descriptor"]["digest"], &verbose["Manifest"]), (&Value::from(digest.as_str()), &shown));
    let remote = json(&bench.say(&["image", "inspect", "--remote", &name]).ok());
    assert_eq!((&remote[0]["Id"], &remote[0]["RootFS"]), (&before[0]["Id"], &before[0]["RootFS"]));
    assert_eq!(layers(&bench), 0);
    let missing = bench.say(&["pull", &registry.name("team/nothing")]).fails(1);
    assert!(missing.contains("does not have team/nothing:latest") && missing.contains("hint:"), "{missing}");
    assert!(bench.say(&["push", &registry.name("never:1")]).fails(1).contains("no image is called"));
    // A container of an image that is not here.
    let (never, code) = (bench.say(&["run", "--rm", "--pull", "never", &name, "/x"]), 125);
    assert!(never.fails(code).contains("no such image"));
    let run = bench.say(&["run", "--rm", &name, "/nothing"]);
    assert_eq!(run.code, 127, "{run:?}");
    assert!(run.err.starts_with(&format!("Unable to find image '{name}' locally\n")), "{run:?}");
    assert!(run.err.contains(&format!("Digest: {digest}")), "{run:?}");
    let all = bench.say(&["pull", "-q", "--all-tags", &registry.name("other")]).ok();
    assert_eq!(all.trim(), other);
}

#[test]
fn who_has_no_password_gets_nothing() {
    if !ready("who_has_no_password_gets_nothing") {
        return;
    }
    let bench = Bench::new();
    let registry = Registry::start(&bench.path("registry"), &Setup { auth: true, ..Setup::default() });
    let name = registry.name("app:1");
    load(&bench, &name, vec![layer("f", 3, 1000)]);
    let files = bench.path("docker");
    let say = |words: &[&str], input: &str| -> Said {
        let mut command = bench.command(words);
        command.env("DOCKER_CONFIG", &files).env_remove("REGISTRY_AUTH_FILE").env_remove("XDG_RUNTIME_DIR");
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = piped.unwrap();
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        child.wait_with_output().unwrap().into()
    };
    let refused = say(&["push", &name], "").fails(1);
    assert!(
        refused.contains("denies access") && refused.contains(&format!("bulkhead login {}", registry.host)),
        "{refused}"
    );
    let words = ["login", "-u", USER, "--password-stdin", &registry.host];
    let wrong = say(&words, "wrong-pass\n").fails(1);
    assert!(wrong.contains("denies access") && !wrong.contains("wrong-pass"), "{wrong}");
    assert!(!files.join("config.json").exists(), "a password that was refused is not kept");
    let right = say(&words, &format!("{PASSWORD}\n"));
    assert!(right.err.contains("stored unencrypted") && !right.err.contains(PASSWORD), "{right:?}");
    assert_eq!(right.ok(), "Login Succeeded\n");
    let kept = files.join("config.json");
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!std::fs::read_to_string(&kept).unwrap().contains(PASSWORD), "as Docker has it: in base64");
    say(&["push", &name], "").ok();
    bench.say(&["rmi", &name]).ok();
    say(&["pull", "-q", &name], "").ok();
    assert!(say(&["login", &registry.host], "").ok().contains("existing credentials"));
    assert!(say(&["logout", &registry.host], "").ok().starts_with("Removing login credentials"));
    assert!(say(&["pull", &registry.name("app:2")], "").fails(1).contains("denies access"));
    // A helper that knows.
    let helper = bench.path("docker-credential-test");
    let answer = format!("{{\"ServerURL\":\"x\",\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}");
    std::fs::write(&helper, format!("#!/bin/sh\ncat >\"$0.asked\"; echo '{answer}'\n")).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(&kept, format!("{{\"credHelpers\":{{\"{}\":\"test\"}}}}", registry.host)).unwrap();
    let path = format!("{}:{}", bench.dir.path().display(), std::env::var("PATH").unwrap());
    let mut command = bench.command(&["manifest", "inspect", &name]);
    let said: Said = command.env("DOCKER_CONFIG", &files).env("PATH", path).output().unwrap().into();
    said.ok();
    assert_eq!(std::fs::read_to_string(bench.path("docker-credential-test.asked")).unwrap(), registry.host);
}

#[test]
fn a_registry_with_an_authority_of_its_own() {
    if !ready("a_registry_with_an_authority_of_its_own") {
        return;
    }
    let configured = Configured::new("");
    let bench = &configured.bench;
    let keys = bench.path("keys");
    authority(&keys);
    let registry = Registry::start(&bench.path("registry"), &Setup { tls: Some(keys.clone()), ..Setup::default() });
    let name = registry.name("app:1");
    load(bench, &name, vec![layer("f", 4, 1000)]);
    let unknown = configured.say(&["push", &name]).fails(1);
    assert!(
        unknown.contains("no trusted connection") && unknown.contains("authority that is not trusted"),
        "{unknown}"
    );
    assert!(unknown.contains(&format!("certs.d/{}/ca.crt", registry.host)), "{unknown}");
    // Trust in one registry: a place for it alone.
    let place = bench.path("etc/bulkhead/certs.d").join(&registry.host);
    std::fs::create_dir_all(&place).unwrap();
    std::fs::copy(keys.join("ca.crt"), place.join("ca.crt")).unwrap();
    configured.say(&["push", &name]).ok();
    bench.say(&["rmi", &name]).ok();
    configured.say(&["pull", "-q", &name]).ok();
    // Who asks for our certificate as well gets it.
    let both = Setup { tls: Some(keys.clone()), clients: true, ..Setup::default() };
    let strict = Registry::start(&bench.path("strict"), &both);
    let own = bench.path("etc/bulkhead/certs.d").join(&strict.host);
    std::fs::create_dir_all(&own).unwrap();
    std::fs::copy(keys.join("ca.crt"), own.join("ca.crt")).unwrap();
    let same = strict.name("app:1");
    bench.say(&["tag", &name, &same]).ok();
    let unnamed = configured.say(&["push", &same]).fails(1);
    assert!(unnamed.contains(&strict.host), "{unnamed}");
    for (from, to) in [("server.crt", "client.cert"), ("server.key", "client.key")] {
        std::fs::copy(keys.join(from), own.join(to)).unwrap();
    }
    configured.say(&["push", &same]).ok();
    bench.say(&["rmi", &same]).ok();
    std::fs::write(place.join("ca.crt"), "rubbish").unwrap();
    assert!(configured.say(&["pull", &name]).fails(1).contains("has no certificate"));
    std::fs::remove_dir_all(&place).unwrap();
    assert!(configured.say(&["pull", &name]).fails(1).contains("no trusted connection"));
}

#[test]
fn mirrors_are_asked_first_and_left_when_they_have_nothing() {
    if !ready("mirrors_are_asked_first_and_left_when_they_have_nothing") {
        return;
    }
    let text = |source: &str, mirrors: &str| {
        format!("[registries.\"hub.example\"]\nlocation = \"{source}\"\nmirrors = [{mirrors}]\n")
    };
    let configured = Configured::new("");
    let bench = &configured.bench;
    let source = Registry::start(&bench.path("one"), &Setup::default());
    let mirror = Registry::start(&bench.path("two"), &Setup::default());
    load(bench, "hub.example/app:1", vec![layer("f", 5, 1000)]);
    std::fs::write(configured.file(), text(&format!("{}/team", source.host), "")).unwrap();
    configured.say(&["push", "hub.example/app:1"]).ok();
    bench.say(&["rmi", "hub.example/app:1"]).ok();
    let both = format!("\"127.0.0.1:1\", \"{}/cache\"", mirror.host);
    std::fs::write(configured.file(), text(&format!("{}/team", source.host), &both)).unwrap();
    let shown = configured.say(&["config", "show"]).ok();
    assert!(shown.contains("registries.hub.example") && shown.contains("mirror=127.0.0.1:1"), "{shown}");
    let said = configured.say(&["pull", "hub.example/app:1"]);
    assert!(said.err.contains("the mirror 127.0.0.1:1 was left"), "{said:?}");
    assert!(said.err.contains(&format!("the mirror {} was left", mirror.host)), "{said:?}");
    said.ok();
    // The mirror has it now, and the registry is gone.
    let at_mirror = mirror.name("cache/app:1");
    bench.say(&["tag", "hub.example/app:1", &at_mirror]).ok();
    bench.say(&["push", &at_mirror]).ok();
    bench.say(&["rmi", "hub.example/app:1"]).ok();
    bench.say(&["rmi", &at_mirror]).ok();
    drop(source);
    configured.say(&["pull", "-q", "hub.example/app:1"]).ok();
    assert_eq!(bench.say(&["images", "-q"]).ok().lines().count(), 1);
    std::fs::write(configured.file(), "[registries.\"hub.example\"]\nmirors = []\n").unwrap();
    assert!(configured.say(&["images"]).fails(1).contains("unknown key \"mirors\""));
}

/// Passes bytes on to a registry, and ends each of the first answers that are long after so many bytes.
struct Cutter {
    host: String,
    cuts: Arc<AtomicUsize>,
}

impl Cutter {
    fn start(to: &str, cuts: usize, after: usize) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let left = Arc::new(AtomicUsize::new(cuts));
        let (to, count) = (to.to_owned(), Arc::clone(&left));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&to) else { return };
                let count = Arc::clone(&count);
                let (mut up, mut down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || {
                    drop(std::io::copy(&mut up, &mut down));
                    drop(down.shutdown(Shutdown::Write));
                });
                std::thread::spawn(move || pass(server, client, &count, after));
            }
        });
        Self { host, cuts: left }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, cuts: &AtomicUsize, after: usize) {
    let mut buffer = [0; 8192];
    let mut passed = 0;
    while let Ok(n) = from.read(&mut buffer) {
        if n == 0 || to.write_all(&buffer[..n]).is_err() {
            break;
        }
        passed += n;
        let one_more = |left: usize| left.checked_sub(1);
        if passed > after && cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).is_ok() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Both));
    drop(from.shutdown(Shutdown::Both));
}

#[test]
fn a_cut_connection_is_taken_up_where_it_was() {
    if !ready("a_cut_connection_is_taken_up_where_it_was") {
        return;
    }
    let bench = Bench::new();
    let registry = Registry::start(&bench.path("registry"), &Setup::default());
    let size = 3_000_000;
    load(&bench, &registry.name("app:1"), vec![layer("f", 6, size)]);
    bench.say(&["push", &registry.name("app:1")]).ok();
    bench.say(&["rmi", &registry.name("app:1")]).ok();
    let cutter = Cutter::start(&registry.host, 2, 1_000_000);
    let name = format!("{}/app:1", cutter.host);
    bench.say(&["pull", &name]).ok();
    assert_eq!(cutter.cuts.load(Ordering::SeqCst), 0, "it was not cut");
    let found = std::fs::read_dir(bench.path("root/layers")).unwrap().flatten().next().unwrap();
    assert_eq!(std::fs::metadata(found.path().join("fs/f")).unwrap().len(), size as u64);
    bench.say(&["system", "fsck"]).ok();
}

#[test]
fn eight_at_a_time_share_their_layers() {
    if !ready("eight_at_a_time_share_their_layers") {
        return;
    }
    let bench = Bench::new();
    let registry = Registry::start(&bench.path("registry"), &Setup::default());
    let shared = [layer("a", 7, 400_000), layer("b", 8, 200_000)];
    let names: Vec<String> = (0..8).map(|i| registry.name(&format!("app:{i}"))).collect();
    for (i, name) in names.iter().enumerate() {
        let own = layer(&format!("own{i}"), 100 + i as u64, 1000);
        load(&bench, name, vec![shared[0].clone(), shared[1].clone(), own]);
    }
    bench.say(&["push", "--all-tags", &registry.name("app")]).ok();
    for name in &names {
        bench.say(&["rmi", name]).ok();
    }
    assert_eq!(layers(&bench), 0);
    let children: Vec<_> = names
        .iter()
        .map(|name| bench.command(&["pull", "-q", name]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
        .collect();
    for child in children {
        Said::from(child.wait_with_output().unwrap()).ok();
    }
    assert_eq!((layers(&bench), bench.say(&["images", "-q"]).ok().lines().count()), (10, 8));
    bench.say(&["system", "fsck"]).ok();
}

#[test]
fn other_programs_read_what_is_pushed_and_the_other_way() {
    let test = "other_programs_read_what_is_pushed_and_the_other_way";
    if !ready(test) {
        return;
    }
    if !Path::new("/usr/bin/skopeo").exists() {
        skip(test, "the package skopeo");
        return;
    }
    let bench = Bench::new();
    let registry = Registry::start(&bench.path("registry"), &Setup::default());
    let name = registry.name("app:1");
    load(&bench, &name, vec![layer("f", 9, 5000), layer("g", 10, 100)]);
    bench.say(&["push", &name]).ok();
    let skopeo = |words: &[&str]| -> Said {
        let mut command = Command::new("skopeo");
        // Not the machine's policy, and no credentials of anybody.
        command.arg("--insecure-policy").args(words).env("REGISTRY_AUTH_FILE", bench.path("none.json"));
        command.env("TMPDIR", bench.dir.path()).env("HOME", bench.dir.path());
        command.output().unwrap().into()
    };
    let seen = json(&skopeo(&["inspect", "--tls-verify=false", &format!("docker://{name}")]).ok());
    assert_eq!(seen["Layers"].as_array().unwrap().len(), 2);
    // Copied by skopeo into Docker's forms, both ways of saying the same.
    let to = format!("docker://{}", registry.name("copied:1"));
    let from = format!("docker://{name}");
    let words = ["copy", "-q", "--format", "v2s2", "--src-tls-verify=false", "--dest-tls-verify=false", &from, &to];
    skopeo(&words).ok();
    let id = json(&bench.say(&["image", "inspect", &name]).ok())[0]["Id"].clone();
    bench.say(&["rmi", &name]).ok();
    bench.say(&["pull", "-q", &registry.name("copied:1")]).ok();
    let shown = json(&bench.say(&["manifest", "inspect", &registry.name("copied:1")]).ok());
    assert_eq!(shown["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    // Docker's form has a configuration of the same layers.
    let pulled = json(&bench.say(&["image", "inspect", &registry.name("copied:1")]).ok());
    assert_eq!(pulled[0]["RootFS"]["Layers"].as_array().unwrap().len(), 2);
    assert!(id.as_str().unwrap().starts_with("sha256:"));
}
