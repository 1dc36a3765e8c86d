//! What an image has at the place of a volume: it arrives in an empty one exactly, and nothing else does.

use std::fs;
use std::process::Command;

use bulkhead_tests::Bench;
use bulkhead_tests::canary::{Canary, SONG};
use bulkhead_tests::probe::{Entry, Kind, Lab, dir, entry, file, link};

fn owned(mut entry: Entry, owner: u32, mode: u32) -> Entry {
    (entry.owner, entry.mode) = (owner, mode);
    entry
}

fn show(bench: &Bench, volume: &str) -> String {
    let script = "cd /x; find . | LC_ALL=C sort | while read f; do stat -c '%n %F %u:%g %a %Y' $f; done; \
                  find . -type l -exec readlink {} +; find . -type f | LC_ALL=C sort | xargs cat";
    bench.sh(&["-v", &format!("{volume}:/x:ro,nocopy")], script).ok()
}

fn done(lab: &Lab) {
    lab.bench.say(&["volume", "prune", "-af"]).done();
    assert_eq!(fs::read_dir(lab.bench.path("root/volumes")).unwrap().count(), 0);
    lab.bench.assert_empty();
}

#[test]
fn an_empty_volume_gets_what_the_image_has_there() {
    let lab = Lab::new();
    let many = lab.many_ids();
    let (uid, gid) = if many { (77, 77) } else { (0, 0) };
    let content = [
        dir("srv"),
        owned(dir("srv/data"), uid, 0o2751),
        owned(file("srv/data/text", "of the image\n"), uid, 0o640),
        owned(file("srv/data/suid", "set\n"), 0, 0o4755),
        owned(dir("srv/data/sub"), uid, 0o700),
        file("srv/data/sub/deep", "below\n"),
        link("srv/data/link", "/etc/passwd"),
        entry("srv/data/pipe", Kind::Fifo),
        owned(dir("empty"), uid, 0o711),
        file("srv/beside", "not in it\n"),
    ];
    lab.image("full", &content).done();
    lab.run(&["-v", "v:/srv/data", "-v", "e:/empty", "-v", "n:/srv/data/none:nocopy"], "full", &["state"]).done();
    let when = 1_700_000_000;
    let directory = |owner: u32, mode: &str| format!("directory {owner}:{owner} {mode} {when}");
    let seen = show(&lab.bench, "v");
    // "none" was made as the place of the third volume, after the content came.
    let seen: Vec<&str> = seen.lines().filter(|l| !l.starts_with("./none ")).collect();
    let regular = |name: &str, owner: u32, mode: &str| format!("./{name} regular file {owner}:{owner} {mode} {when}");
    assert!(seen[0].starts_with(&format!(". directory {uid}:{gid} 2751 ")), "{seen:#?}");
    assert_eq!(
        seen[1..],
        [
            format!("./link symbolic link 0:0 777 {when}"),
            format!("./pipe fifo 0:0 644 {when}"),
            format!("./sub {}", directory(uid, "700")),
            regular("sub/deep", 0, "644"),
            regular("suid", 0, "4755"),
            regular("text", uid, "640"),
            "/etc/passwd".to_owned(),
            "below".to_owned(),
            "set".to_owned(),
            "of the image".to_owned(),
        ]
    );
    assert!(show(&lab.bench, "e").starts_with(&format!(". directory {uid}:{gid} 711 ")));
    // A volume with something in it stays what it is; one that was emptied is filled again.
    lab.bench.sh(&["-v", "v:/x:nocopy"], "rm /x/text; echo mine > /x/mine").done();
    lab.run(&["-v", "v:/srv/data"], "full", &["state"]).done();
    let seen = show(&lab.bench, "v");
    assert!(seen.contains("mine") && !seen.contains("of the image"), "{seen}");
    lab.bench.sh(&["-v", "v:/x:nocopy"], "rm -rf /x/*").done();
    lab.run(&["-v", "v:/srv/data"], "full", &["state"]).done();
    assert!(show(&lab.bench, "v").contains("of the image"));
    lab.run(&["-v", "bare:/srv/data:nocopy"], "full", &["state"]).done();
    assert_eq!(show(&lab.bench, "bare").lines().count(), 1);
    done(&lab);
}

#[test]
fn hard_links_and_attributes_arrive() {
    let lab = Lab::new();
    let rootfs = lab.bench.path("rootfs");
    for name in ["proc", "sys", "dev", "etc", "data/sub"] {
        fs::create_dir_all(rootfs.join(name)).unwrap();
    }
    lab.install(&rootfs.join("probe"), 0o755);
    fs::write(rootfs.join("data/a"), "linked\n").unwrap();
    fs::hard_link(rootfs.join("data/a"), rootfs.join("data/sub/b")).unwrap();
    fs::write(rootfs.join("data/noted"), "x").unwrap();
    let noted = Command::new("setfattr").args(["-n", "user.note", "-v", "v"]).arg(rootfs.join("data/noted")).status();
    let noted = noted.is_ok_and(|s| s.success());
    let archive = lab.bench.path("linked.tar");
    bulkhead_tests::life::tar(&rootfs, &archive, &["--xattrs"]);
    lab.bench.say(&["import", archive.to_str().unwrap(), "linked"]).done();
    lab.run(&["-v", "v:/data"], "linked", &["state"]).done();
    let seen = lab.bench.sh(&["-v", "v:/x"], "stat -c '%h' /x/a; [ /x/a -ef /x/sub/b ] && echo same").ok();
    assert_eq!(seen, "2\nsame\n");
    if noted {
        let place = lab.bench.path("root/volumes/v/data/noted");
        let found = Command::new("getfattr").args(["--only-values", "-n", "user.note"]).arg(place).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "v");
    }
    done(&lab);
}

#[test]
fn volumes_of_the_image_are_made_without_a_word() {
    let lab = Lab::new();
    let content = [dir("srv"), dir("srv/own"), file("srv/own/f", "of the image\n"), dir("other")];
    let tar = lab.bench.path("own.tar");
    fs::write(&tar, bulkhead_tests::probe::archive(&lab.entries(&content))).unwrap();
    let words = ["import", "-c", "VOLUME /srv/own /other", tar.to_str().unwrap(), "own"];
    lab.bench.say(&words).done();
    lab.bench.say(&["run", "--name", "aa", "own", "/probe", "state"]).done();
    let targets = |name: &str| {
        let mounts = lab.bench.look(name, "/Mounts");
        let of_volumes = mounts.as_array().unwrap().iter().filter(|m| m["Type"] == "volume");
        let mut all: Vec<String> = of_volumes.map(|m| m["Destination"].as_str().unwrap().to_owned()).collect();
        all.sort();
        all
    };
    assert_eq!(targets("aa"), ["/other", "/srv/own"]);
    assert_eq!(lab.bench.sh(&["--volumes-from", "aa"], "cat /srv/own/f").ok(), "of the image\n");
    lab.bench.say(&["run", "--name", "bb", "-v", "v:/other", "--tmpfs", "/srv/own", "own", "/probe", "state"]).done();
    assert_eq!(targets("bb"), ["/other"]);
    lab.bench.say(&["rm", "-v", "aa", "bb"]).done();
    assert_eq!(lab.bench.say(&["volume", "ls", "-q"]).ok(), "v\n");
    done(&lab);
}

#[test]
fn links_of_a_hostile_image_lead_nowhere_else() {
    let lab = Lab::new();
    let canary = Canary::new(lab.bench.dir.path(), "canary");
    let out = canary.text();
    let up = format!("{}{}", "../".repeat(9), out.trim_start_matches('/'));
    let content = [
        link("direct", &out),
        link("climb", &up),
        dir("way"),
        link("way/middle", &out),
        dir("data"),
        link("data/inner", &out),
        link("data/file", &format!("{out}/canary")),
        link("loop", "loop"),
    ];
    lab.image("hostile", &content).done();
    // The control: who follows these links on the host arrives at the canaries.
    let layers = fs::read_dir(lab.bench.path("root/layers")).unwrap().flatten().map(|e| e.path().join("fs"));
    let found = layers.filter(|l| fs::read_to_string(l.join("direct/canary")).is_ok_and(|t| t.contains(SONG))).count();
    assert_eq!(found, 1, "the links of the image are as they were made");
    for (name, target) in [
        ("a", "/direct"),
        ("b", "/climb"),
        ("c", "/way/middle/a"),
        ("d", "/data"),
        ("e", "/direct/etc"),
        ("f", "/loop"),
    ] {
        // A target that cannot be is refused; what is refused has copied nothing either.
        let said = lab.run(&["-v", &format!("{name}:{target}")], "hostile", &["state"]);
        assert!(said.code == 0 || said.code == 125, "{target}: {}", said.err);
        let place = lab.bench.path(&format!("root/volumes/{name}/data"));
        if place.exists() {
            let text = Command::new("grep").args(["-r", SONG]).arg(&place).output().unwrap().stdout;
            assert_eq!(String::from_utf8_lossy(&text), "", "{target}");
        }
    }
    let links = lab.bench.sh(&["-v", "d:/x"], "readlink /x/inner /x/file").ok();
    assert_eq!(links, format!("{out}\n{out}/canary\n"), "links are copied as links");
    assert_eq!(canary.changes(), [""; 0]);
    done(&lab);
}

#[test]
fn who_fills_a_volume_at_once_fills_it_once() {
    let lab = Lab::new();
    let mut content = vec![dir("data")];
    content.extend((0..50).map(|i| file(&format!("data/f{i}"), "x\n")));
    lab.image("many", &content).done();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| lab.run(&["-v", "v:/data"], "many", &["state"]).done());
        }
    });
    assert_eq!(lab.bench.sh(&["-v", "v:/x:nocopy"], "ls /x | wc -l").ok().trim(), "50");
    assert_eq!(fs::read_dir(lab.bench.path("root/volumes/v")).unwrap().count(), 1);
    // A volume that another container has mounted is filled where it sees it.
    lab.bench.say(&["run", "-d", "--name", "watcher", "-v", "w:/w", "host", "sleep", "100"]).done();
    lab.run(&["-v", "w:/data"], "many", &["state"]).done();
    assert_eq!(lab.bench.say(&["exec", "watcher", "sh", "-c", "ls /w | wc -l"]).ok().trim(), "50");
    assert_eq!(fs::read_dir(lab.bench.path("root/volumes/w")).unwrap().count(), 1);
    lab.bench.say(&["rm", "-f", "watcher"]).done();
    done(&lab);
}
