//! Files that engines read or write for convenience, prepared by an image.

use std::time::{Duration, Instant};

use bulkhead_tests::canary::{Canary, SONG};
use bulkhead_tests::probe::{Entry, Kind, Lab, dir, entry, file, link};

const FILES: [&str; 9] = [
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/passwd",
    "etc/group",
    "etc/mtab",
    "etc/localtime",
    "etc/machine-id",
    "run/secrets",
];

fn case(lab: &Lab, canary: &Canary, name: &str, entries: &[Entry]) {
    let made = lab.image(name, entries);
    if made.code != 0 {
        assert!(!bulkhead_tests::is_root() && name.starts_with("device"), "{made:?}");
        return;
    }
    for flags in [&["-u", "user"][..], &["-u", "1000:extra"], &["--hostname", "other"]] {
        let begin = Instant::now();
        let said = lab.run(flags, name, &["look", "2"]);
        assert!(begin.elapsed() < Duration::from_secs(5), "{name} {flags:?} took {:?}", begin.elapsed());
        assert!([0, 125].contains(&said.code), "{name} {flags:?}: {said:?}");
        assert!(!said.out.contains(SONG) && !said.err.contains(SONG), "{name} {flags:?}: {said:?}");
    }
    canary.assert_untouched(name);
}

/// Each such file as a link to the host, a FIFO, a device, a directory (CVE-2024-9341, CVE-2024-9676, CVE-2024-5154,
/// CVE-2024-3154): the container starts or is refused within seconds, and nothing of the host is read or written.
#[test]
fn strange_magic_files_neither_hang_nor_leak() {
    let lab = Lab::new();
    let canary = Canary::new(lab.bench.dir.path(), "canary");
    // Control: who opens a FIFO the plain way waits, and who follows the link reads the canary.
    let mut reader = std::process::Command::new("cat").arg(canary.path.join("fifo")).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert!(reader.try_wait().unwrap().is_none(), "the FIFO does not block");
    reader.kill().unwrap();
    reader.wait().unwrap();
    let target = canary.path.join("canary").to_string_lossy().into_owned();
    assert!(std::fs::read_to_string(&target).unwrap().contains(SONG));

    case(&lab, &canary, "link", &FILES.map(|f| link(f, &target)));
    case(&lab, &canary, "relative", &FILES.map(|f| link(f, &format!("../../../../../..{target}"))));
    case(&lab, &canary, "fifo", &FILES.map(|f| entry(f, Kind::Fifo)));
    case(&lab, &canary, "fifo-link", &FILES.map(|f| link(f, &canary.path.join("fifo").to_string_lossy())));
    case(&lab, &canary, "device", &FILES.map(|f| entry(f, Kind::Device(1, 5))));
    case(&lab, &canary, "directory", &FILES.map(dir));
    case(&lab, &canary, "etc-link", &[link("etc", &canary.path.join("etc").to_string_lossy())]);
    case(&lab, &canary, "loop", &FILES.map(|f| link(f, &format!("/{f}"))));
    case(&lab, &canary, "zero", &FILES.map(|f| link(f, "/dev/zero")));
    let long = format!("user:x:1000:{}\n", "x,".repeat(8 << 20));
    case(&lab, &canary, "long", &[file("etc/passwd", &long), file("etc/group", &long)]);
}

/// A running container replaces its own files before somebody enters it by name (CVE-2024-9676).
#[test]
fn files_replaced_by_the_container_do_not_hang_exec() {
    let lab = Lab::new();
    let canary = Canary::new(lab.bench.dir.path(), "canary");
    let script = format!(
        "rm /etc/passwd /etc/group; mkfifo /etc/passwd; ln -s {} /etc/group; echo done; sleep 60",
        canary.path.join("canary").display()
    );
    lab.bench.say(&["run", "-d", "--name", "ff", "host", "sh", "-c", &script]).done();
    assert!(bulkhead_tests::eventually(10, || lab.bench.say(&["logs", "ff"]).ok().contains("done")));
    for user in ["root", "nobody", "0", "1000:users", "1000"] {
        let begin = Instant::now();
        let said = lab.bench.say(&["exec", "-u", user, "ff", "true"]);
        assert!(begin.elapsed() < Duration::from_secs(5), "{user} took {:?}", begin.elapsed());
        assert!([0, 1].contains(&said.code), "{user}: {said:?}");
        assert!(!said.err.contains(SONG), "{said:?}");
    }
    lab.remove("ff");
    canary.assert_untouched("exec by name");
}

/// Directories that are filled anew at every start are looked up in the image's layers, which may hold links to the
/// host: neither names nor contents of the host may come in that way (CVE-2024-9341).
#[test]
fn volatile_directories_do_not_follow_links_of_the_image() {
    let lab = Lab::new();
    let canary = Canary::new(lab.bench.dir.path(), "canary");
    // The same path inside, so that the link leads somewhere there too.
    let parts: Vec<&str> = canary.path.iter().skip(1).filter_map(|p| p.to_str()).collect();
    let way = |last: &[&str]| -> Vec<Entry> {
        let all = [&parts, last].concat();
        (1..=all.len()).map(|n| dir(&all[..n].join("/"))).filter(|e| e.path != "tmp").collect()
    };
    // Control: joined strings see the host.
    std::os::unix::fs::symlink(&canary.path, lab.bench.path("var")).unwrap();
    assert!(lab.bench.path("var/tmp/secret").is_dir());
    for (n, entries) in [
        vec![link("var", &canary.text())],
        [way(&[]), vec![link("var", &canary.text())]].concat(),
        [way(&["tmp"]), vec![link("var", &canary.text())]].concat(),
        vec![link("var", &canary.path.join("a").to_string_lossy())],
        vec![dir("var"), link("var/tmp", &canary.path.join("tmp").to_string_lossy())],
        vec![link("run", &canary.path.join("tmp").to_string_lossy())],
        vec![link("tmp", &canary.path.join("tmp").to_string_lossy())],
    ]
    .iter()
    .enumerate()
    {
        let image = format!("volatile-{n}");
        lab.image(&image, entries).done();
        for place in ["/var/tmp", "/run", "/tmp", "/var"] {
            let said = lab.run(&["-w", place], &image, &["look", "0"]);
            assert!([0, 125].contains(&said.code), "{said:?}");
            assert!(!said.out.contains("secret"), "{image} {place} shows the host: {}", said.out);
        }
    }
    canary.assert_untouched("volatile directories");
}

/// A working directory that passes through a link of the image is made inside, or not at all (CVE-2026-55686).
#[test]
fn a_working_directory_is_made_inside_only() {
    let lab = Lab::new();
    let canary = Canary::new(lab.bench.dir.path(), "canary");
    // Control: joined strings make it on the host.
    let own = Canary::new(lab.bench.dir.path(), "own");
    std::os::unix::fs::symlink(&own.path, lab.bench.path("a")).unwrap();
    std::fs::create_dir_all(lab.bench.path("a/new/er")).unwrap();
    assert!(!own.changes().is_empty());

    lab.image("w", &[link("a", &canary.text()), link("up", "../../../../../../..")]).done();
    for place in ["/a", "/a/new", "/a/new/er", "/up", &format!("/up{}/new", canary.text()), "/x/../../../a/new"] {
        let said = lab.run(&["-w", place], "w", &["look", "1"]);
        assert!([0, 125].contains(&said.code), "{place}: {said:?}");
        let tar = lab.bench.path("w.tar");
        let change = format!("WORKDIR {place}");
        let image = lab.bench.say(&["import", "-c", &change, &tar.to_string_lossy(), "w2"]);
        if image.code == 0 {
            let said = lab.run(&[], "w2", &["look", "1"]);
            assert!([0, 125].contains(&said.code), "{place}: {said:?}");
        }
        canary.assert_untouched(place);
    }
}
