//! `commit`, `save`, `load`, `tag` and `history`: images out of containers, and archives out of images.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use bulkhead_tests::probe::{Kind, dir, entry, file, link};
use bulkhead_tests::{Bench, eventually, probe};

/// An image with the host's programs, reached through a bind: it has layers of its own, as `host` has not.
const USR: &str = "/usr:/usr:ro,exec";

fn base(bench: &Bench) {
    let mut temporary = dir("tmp");
    temporary.mode = 0o1777;
    let mut owned = file("etc/owned", "1000\n");
    owned.owner = 1000;
    let mut suid = file("etc/suid", "s");
    suid.mode = 0o4755;
    let entries = [
        temporary,
        dir("usr"),
        dir("etc"),
        dir("srv"),
        dir("deep"),
        dir("run"),
        file("deep/lower", "l"),
        file("etc/conf", "old\n"),
        owned,
        suid,
        link("bin", "usr/bin"),
        link("lib", "usr/lib"),
        link("lib64", "usr/lib64"),
        entry("etc/fifo", Kind::Fifo),
        entry("etc/device", Kind::Device(1, 3)),
    ];
    fs::write(bench.path("base.tar"), probe::archive(&entries)).unwrap();
    let tar = bench.path("base.tar");
    bench.say(&["import", "-c", "ENV A=image", "-c", "CMD [\"sh\"]", tar.to_str().unwrap(), "base:1"]).done();
}

const CHANGES: &str = "set -e; echo new > /etc/new; rm /etc/conf; rm -r /deep; mkdir /deep; echo u > /deep/upper; \
     chown 7:8 /etc/new; ln /etc/new /etc/hard; ln -s x /etc/sym; echo secret > /run/memory; echo t > /tmp/t; ";

fn changed(bench: &Bench, name: &str) {
    let script = format!("{CHANGES} touch /srv/.done; exec sleep 1000");
    bench
        .say(&["run", "-d", "--name", name, "-v", USR, "-e", "B=own", "-l", "k=v", "base:1", "sh", "-c", &script])
        .done();
    let ready = || bench.say(&["exec", name, "test", "-e", "/srv/.done"]).code == 0;
    assert!(eventually(20, ready), "{:?}", bench.say(&["logs", name]));
    bench.say(&["exec", name, "rm", "/srv/.done"]).done();
}

fn id_of(bench: &Bench, image: &str) -> String {
    let text = bench.say(&["inspect", image]).ok();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value.pointer("/0/Id").and_then(|id| id.as_str()).unwrap().to_owned()
}

fn assert_content(bench: &Bench, image: &str) {
    let script = "cat /etc/new; stat -c %u:%g /etc/new; stat -c %h /etc/hard; ls /deep; ls /etc/conf 2>/dev/null || \
                  echo gone; ls /run /tmp; echo $A $B; readlink /etc/sym";
    let seen = bench.say(&["run", "--rm", "-v", USR, image, "sh", "-c", script]).ok();
    let owner = if many_ids(bench) { "7:8" } else { "0:0" };
    assert_eq!(seen, format!("new\n{owner}\n2\nupper\ngone\n/run:\n\n/tmp:\nimage own\nx\n"));
}

fn many_ids(bench: &Bench) -> bool {
    bench.sh(&[], "wc -l < /proc/self/uid_map; cut -c21- /proc/self/uid_map").ok().contains("655")
}

#[test]
fn an_image_of_a_container_has_its_changes_and_nothing_else() {
    let bench = Bench::new();
    base(&bench);
    if !many_ids(&bench) {
        bulkhead_tests::skip("an_image_of_a_container_has_its_changes_and_nothing_else", "subordinate ids");
        return;
    }
    changed(&bench, "web");
    let words = ["commit", "-a", "Me <me@x>", "-m", "why", "-c", "LABEL extra=1", "-c", "USER 0", "web", "shop/web:1"];
    let id = bench.say(&words).ok();
    assert!(id.starts_with("sha256:") && id.trim().len() == 71, "{id}");
    assert_eq!(bench.say(&["exec", "web", "cat", "/etc/new"]).ok(), "new\n", "it goes on");
    assert_content(&bench, "shop/web:1");
    let text = bench.say(&["inspect", "shop/web:1"]).ok();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let config = value.pointer("/0/Config").unwrap();
    assert_eq!(config.pointer("/Labels/k").and_then(|v| v.as_str()), Some("v"));
    assert_eq!(config.pointer("/Labels/extra").and_then(|v| v.as_str()), Some("1"));
    assert_eq!(config.pointer("/Env").unwrap().to_string(), r#"["A=image","B=own"]"#);
    assert_eq!(value.pointer("/0/RootFS/Layers").and_then(|l| l.as_array()).map(Vec::len), Some(2));
    let history = bench.say(&["history", "--no-trunc", "--format", "{{.ID}} {{.Comment}}", "shop/web:1"]).ok();
    assert_eq!(history.lines().next(), Some(format!("{} why", id.trim()).as_str()), "{history}");
    assert_eq!(bench.say(&["history", "-q", "shop/web:1"]).ok().lines().count(), 2);
    // A stopped one gives the same layer; nothing changed gives no layer.
    bench.say(&["stop", "-t", "0", "web"]).done();
    bench.say(&["commit", "--pause=false", "web", "again:1"]).done();
    let layers = |image: &str| bench.look(image, "/RootFS/Layers").to_string();
    assert_eq!(layers("shop/web:1"), layers("again:1"), "the same changes are the same bytes");
    bench.say(&["rm", "web"]).done();
    bench.say(&["run", "-d", "--name", "same", "-v", USR, "base:1", "sleep", "1000"]).done();
    bench.say(&["commit", "same", "same:1"]).done();
    assert_eq!(layers("same:1"), layers("base:1"));
    bench.say(&["rm", "-f", "same"]).done();
    for words in [
        &["commit", "nobody"][..],
        &["commit", "-c", "FROM x", "same"],
        &["tag", "none:1", "x:1"],
        &["tag", "base:1", "Bad Name"],
        &["tag", "base:1", "host"],
        &["save", "-o", "/nonexistent/x", "base:1"],
        &["save", "-o", "/tmp", "none:1"],
        &["history", "none:1"],
    ] {
        bench.say(words).done_with(1);
    }
    bench.start(&["--name", "builtin"], "exec sleep 1000");
    let error = bench.say(&["commit", "builtin"]).fails(1);
    assert!(error.contains("host"), "{error}");
    bench.say(&["rm", "-f", "builtin"]).done();
}

fn save(bench: &Bench, name: &str, images: &[&str]) -> PathBuf {
    let path = bench.path(name);
    let said = bench.say(&[&["save", "-o", path.to_str().unwrap()], images].concat());
    assert_eq!((said.code, said.err.as_str()), (0, ""), "nothing was renamed");
    path
}

#[test]
fn what_is_saved_is_loaded_again_with_the_same_id() {
    let bench = Bench::new();
    base(&bench);
    changed(&bench, "web");
    bench.say(&["commit", "web", "shop/web:1"]).done();
    bench.say(&["rm", "-f", "web"]).done();
    bench.say(&["tag", "shop/web:1", "shop/web:2"]).done();
    bench.say(&["tag", "shop/web:1", "other"]).done();
    let path = save(&bench, "all.tar", &["shop/web", "base:1"]);
    let before = (id_of(&bench, "shop/web:1"), id_of(&bench, "base:1"));
    // The same again, also by way of standard output.
    let (piped, _) = bench.feed(&["save", "shop/web", "base:1"], b"");
    assert!(piped == fs::read(&path).unwrap(), "two archives of the same images differ");
    let fresh = Bench::new();
    let mut loaded: Vec<String> =
        fresh.say(&["load", "-i", path.to_str().unwrap()]).ok().lines().map(str::to_owned).collect();
    loaded.sort();
    assert_eq!(loaded, ["Loaded image: base:1", "Loaded image: shop/web:1", "Loaded image: shop/web:2"]);
    assert_eq!((id_of(&fresh, "shop/web:2"), id_of(&fresh, "base:1")), before);
    if many_ids(&fresh) {
        assert_content(&fresh, "shop/web:1");
    }
    let again = save(&fresh, "again.tar", &["shop/web", "base:1"]);
    assert!(fs::read(again).unwrap() == piped, "a loaded image is saved as other bytes");
    // By id there is no name.
    let by_id = save(&bench, "id.tar", &[&before.0]);
    let third = Bench::new();
    let said = third.say(&["load", "-i", by_id.to_str().unwrap()]).ok();
    assert_eq!(said, format!("Loaded image ID: {}\n", before.0));
    let podman = Command::new("podman").arg("--version").output().is_ok_and(|o| o.status.success());
    if podman && bulkhead_tests::is_root() {
        // Its run root may have 50 characters.
        let short = tempfile::Builder::new().prefix("bp").tempdir_in("/tmp").unwrap();
        let store = short.path().to_path_buf();
        let podman = |words: &[&str]| {
            let mut command = Command::new("podman");
            command.arg("--root").arg(store.join("root")).arg("--runroot").arg(store.join("run"));
            let output = command.args(["--storage-driver", "vfs"]).args(words).output().unwrap();
            assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        podman(&["load", "-i", path.to_str().unwrap()]);
        let ids = podman(&["images", "--no-trunc", "--format", "{{.ID}}"]);
        assert!(ids.contains(&before.0) && ids.contains(&before.1), "{ids}");
        podman(&["rmi", "-a", "-f"]);
        drop(fs::remove_dir_all(store));
        drop(short);
    }
}

/// A layer whose recipe is gone is packed anew: other bytes, another id, said aloud, and still an image.
#[test]
fn without_its_recipe_an_image_is_saved_under_another_id_and_says_so() {
    let bench = Bench::new();
    base(&bench);
    for layer in fs::read_dir(bench.path("root/layers")).unwrap().flatten() {
        fs::remove_file(layer.path().join("recipe")).unwrap();
    }
    let path = bench.path("s.tar");
    let said = bench.say(&["save", "-o", path.to_str().unwrap(), "base:1"]);
    assert!(said.code == 0 && said.err.contains("could not be made again"), "{said:?}");
    let fresh = Bench::new();
    fresh.say(&["load", "-i", path.to_str().unwrap()]).done();
    assert_ne!(id_of(&fresh, "base:1"), id_of(&bench, "base:1"));
    let again = fresh.path("s.tar");
    let said = fresh.say(&["save", "-o", again.to_str().unwrap(), "base:1"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(fs::read(again).unwrap() == fs::read(path).unwrap());
}

/// Killed at any moment, a commit is there or not, and the container it held still goes on.
#[test]
fn a_commit_that_is_killed_leaves_all_or_nothing() {
    let bench = Bench::new();
    base(&bench);
    changed(&bench, "web");
    let since = std::time::Instant::now();
    bench.say(&["commit", "web", "new:1"]).done();
    let whole = since.elapsed();
    bench.say(&["rmi", "new:1"]).done();
    let (mut made, layers) = (0, || fs::read_dir(bench.path("root/layers")).unwrap().count());
    for step in 0..16_u32 {
        let mut child = bench.command(&["commit", "web", "new:1"]).stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * step / 15);
        child.kill().unwrap();
        child.wait().unwrap();
        let settled = || {
            bench.say(&["ps", "-aq"]).done();
            fs::read_dir(bench.path("root/staging")).unwrap().count() == 0
        };
        assert!(eventually(5, settled), "at {step}/15");
        // Not frozen: it answers.
        assert_eq!(bench.say(&["exec", "web", "cat", "/etc/new"]).ok(), "new\n");
        let listed = bench.say(&["images", "-q", "new:1"]).ok().lines().count();
        assert_eq!(layers(), 1 + listed, "at {step}/15");
        if listed == 1 {
            made += 1;
            bench.say(&["rmi", "new:1"]).done();
        }
    }
    assert!(made < 16, "none was killed early");
    bench.say(&["rm", "-f", "web"]).done();
    bench.assert_empty();
}
