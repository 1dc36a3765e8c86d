//! Copies, exports and commits of a container that wants them to reach the host.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bulkhead_tests::canary::{Canary, SONG, host_mounts};
use bulkhead_tests::eventually;
use bulkhead_tests::probe::{Entry, Kind, Lab, archive, dir, entry, file, link};

/// How often each way is copied while names are swapped.
const COPIES: usize = 60;

fn swaps(dir: &Path) -> u64 {
    fs::read_to_string(dir.join("counter")).ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0)
}

/// A directory with `a`, which has a file `canary` of its own, and `b`, a link to the canaries.
fn swapped(lab: &Lab, name: &str, target: &Path) -> std::path::PathBuf {
    let dir = lab.bench.path(name);
    fs::create_dir_all(dir.join("a")).unwrap();
    fs::write(dir.join("a/canary"), "inside").unwrap();
    std::os::unix::fs::symlink(target, dir.join("b")).unwrap();
    dir
}

/// A path that is a directory and a link to the host by turns (CVE-2018-15664, CVE-2026-41568): what is copied out is
/// never the host's, what is copied in never lands there.
#[test]
fn a_swapped_path_is_copied_from_and_to_the_container_only() {
    let lab = Lab::new();
    let canary = Canary::new(lab.bench.dir.path(), "canary");
    // Control: whoever looks and then uses the path reads the canary, and writes beside it.
    let open = Canary::new(lab.bench.dir.path(), "open");
    let weak = swapped(&lab, "weak", &open.path);
    let mut swapper = Command::new(lab.bench.path("probe"))
        .args(["swap", &weak.to_string_lossy(), "a", "b", "2000000", "20000", "counter"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut read = false;
    while (!read || open.changes().is_empty()) && Instant::now() < deadline {
        for round in 0..200 {
            if weak.join("a").symlink_metadata().is_ok_and(|m| m.is_dir()) {
                read |= fs::read_to_string(weak.join("a/canary")).is_ok_and(|t| t.contains(SONG));
                drop(fs::write(weak.join(format!("a/new-{round}")), "x"));
            }
        }
    }
    swapper.kill().unwrap();
    swapper.wait().unwrap();
    assert!(read && !open.changes().is_empty(), "the race was never won against a stub");

    let shared = swapped(&lab, "shared", &canary.path);
    let volume = format!("{}:/vol", shared.display());
    let mounts = host_mounts();
    lab.start("swapper", &["-v", &volume], &["swap", "/vol", "a", "b", "100000000", "120000", "counter"]);
    assert!(eventually(10, || swaps(&shared) > 100), "the swapper does not run");
    let (first, source) = (swaps(&shared), lab.bench.path("source"));
    fs::create_dir_all(source.join("sub")).unwrap();
    fs::write(source.join("canary"), "from the host").unwrap();
    fs::write(source.join("sub/x"), "x").unwrap();
    let (mut out, mut back) = (0, 0);
    for n in 0..COPIES {
        let to = lab.bench.path("taken");
        let path = ["swapper:/vol/a/canary", "swapper:/vol/a", "swapper:/vol/a/.", "swapper:/vol"][n % 4];
        let flags: &[&str] = if n % 2 == 0 { &["cp", "-q"] } else { &["cp", "-q", "-L"] };
        let said = lab.bench.say(&[flags, &[path, to.to_str().unwrap()]].concat());
        out += u32::from(said.code == 0);
        let packed = bulkhead_tests::canary::listing(&to);
        assert!(!packed.contains(SONG), "{path}: {packed}");
        drop(fs::remove_dir_all(&to).or_else(|_| fs::remove_file(&to)));
        let (from, path) =
            [("canary", "/vol/a/canary"), ("", "/vol/a"), ("/.", "/vol/a"), ("sub", "/vol/a/new")][n % 4];
        let from = format!("{}/{from}", source.display());
        let said = lab.bench.say(&["cp", "-q", &from, &format!("swapper:{path}")]);
        back += u32::from(said.code == 0);
    }
    let during = swaps(&shared) - first;
    lab.remove("swapper");
    eprintln!("{during} swaps, {out} copied out, {back} copied in");
    assert!(during > 2000 && out > 5 && back > 5, "{during} swaps, {out} copied out, {back} copied in");
    assert_eq!(host_mounts(), mounts);
    canary.assert_untouched("copies while names are swapped");
}

/// Links of every kind, in a container that runs and in one that does not: they lead inside, or nowhere.
#[test]
fn links_lead_nowhere_out_of_the_container() {
    let lab = Lab::new();
    let canary = Canary::new(lab.bench.dir.path(), "canary");
    let absolute = canary.text();
    let dots = format!("../../../../../../../../../..{absolute}");
    // Control: joined strings do follow them.
    let naive = lab.bench.path("naive");
    std::os::unix::fs::symlink(&dots, &naive).unwrap();
    assert!(fs::read_to_string(naive.join("canary")).unwrap().contains(SONG), "the canaries are blind");
    let links: Vec<(&str, &str)> = vec![
        ("abs", &absolute),
        ("dots", &dots),
        ("magic", "/proc/self/root"),
        ("parent", "/proc/1/root"),
        ("cwd", "/proc/self/cwd"),
        ("fd", "/proc/self/fd"),
        ("loop", "loop"),
    ];
    let entries: Vec<Entry> = links.iter().map(|(name, to)| link(name, to)).collect();
    lab.image("links", &entries).done();
    let source = lab.bench.path("source");
    fs::write(&source, "from the host").unwrap();
    lab.bench.say(&["run", "-d", "--name", "linked", "links", "/probe", "sleep", "1000"]).done();
    for round in ["running", "ended"] {
        if round == "ended" {
            lab.bench.say(&["stop", "-t", "0", "linked"]).done();
        }
        for (name, _) in &links {
            for path in
                [format!("/{name}"), format!("/{name}/canary"), format!("/{name}/."), format!("/{name}{absolute}/a")]
            {
                for flags in [&["cp"][..], &["cp", "-L"]] {
                    let from = format!("linked:{path}");
                    let (bytes, said) = lab.bench.feed(&[flags, &[&from, "-"]].concat(), b"");
                    let has = bytes.windows(SONG.len()).any(|w| w == SONG.as_bytes());
                    assert!(!has, "{round} {path}: {}", said.err);
                }
                let said = lab.bench.say(&["cp", source.to_str().unwrap(), &format!("linked:{path}")]);
                assert!(matches!(said.code, 0 | 1), "{round} {path}: {said:?}");
            }
        }
        let (bytes, said) = lab.bench.feed(&["export", "linked"], b"");
        assert_eq!(said.code, 0, "{said:?}");
        assert!(!bytes.windows(SONG.len()).any(|w| w == SONG.as_bytes()), "{round}: export");
    }
    lab.remove("linked");
    canary.assert_untouched("copies through links");
}

/// Unpacks as an engine would that joins strings.
fn naive_unpack(root: &Path, entries: &[Entry]) {
    for e in entries {
        let path = root.join(&e.path);
        let done = match &e.kind {
            Kind::Directory => {
                fs::create_dir_all(&path).and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(e.mode)))
            }
            Kind::File(content) => fs::write(&path, content),
            Kind::Link(to) => std::os::unix::fs::symlink(to, &path),
            Kind::Fifo | Kind::Device(..) => Ok(()),
        };
        done.unwrap_or_default();
    }
}

/// Archives that were made to leave the directory they are unpacked in (CVE-2021-41089, CVE-2023-0778).
#[test]
fn hostile_archives_stay_where_they_are_unpacked() {
    let lab = Lab::new();
    let canary = Canary::new(lab.bench.dir.path(), "canary");
    let absolute = canary.text();
    let open = Canary::new(lab.bench.dir.path(), "open");
    let mut wide = dir("a");
    wide.mode = 0o777;
    let cases = |target: &str| -> Vec<Vec<Entry>> {
        vec![
            vec![link("a", target), file("a/new", "x")],
            vec![link("a", target), wide.clone(), file("a/canary", "x")],
            vec![link("a", ".."), link("a/b", target), file("a/b/new", "x")],
            vec![file(&format!("../../../../../../../..{target}/new"), "x")],
            vec![file(&format!("{target}/new"), "x")],
            vec![link("c", &format!("{target}/canary")), file("c", "x")],
            vec![entry("null", Kind::Device(1, 3)), entry("disk", Kind::Device(8, 0)), entry("p", Kind::Fifo)],
        ]
    };
    // Control: they do leave one that joins strings.
    for (n, case) in cases(&open.text()).iter().enumerate() {
        let root = lab.bench.path(&format!("naive-{n}"));
        fs::create_dir(&root).unwrap();
        naive_unpack(&root, case);
    }
    assert!(open.changes().len() > 2, "the cases are harmless: {:?}", open.changes());
    lab.bench.say(&["run", "-d", "--name", "target", "probe", "/probe", "sleep", "1000"]).done();
    for round in ["running", "ended"] {
        if round == "ended" {
            lab.bench.say(&["stop", "-t", "0", "target"]).done();
        }
        for (n, case) in cases(&absolute).iter().enumerate() {
            let (_, said) = lab.bench.feed(&["cp", "-", "target:/root"], &archive(case));
            assert!(matches!(said.code, 0 | 1), "{round} {n}: {said:?}");
        }
    }
    canary.assert_untouched("hostile archives");
    // What came of them is copied out again: links stay links, devices are not made.
    let out = lab.bench.path("out");
    lab.bench.say(&["cp", "-q", "target:/root", out.to_str().unwrap()]).done();
    assert!(!out.join("null").exists() && !out.join("disk").exists());
    assert!(!bulkhead_tests::canary::listing(&out).contains(SONG));
    lab.remove("target");
    canary.assert_untouched("what came of hostile archives");
}

/// A set-user-id program of a container is no set-user-id program of the host, and one with capabilities has none.
#[test]
fn privileges_stay_in_the_container() {
    let lab = Lab::new();
    let mut suid = file("suid", "program");
    suid.mode = 0o6755;
    lab.image("suid", &[suid.clone()]).done();
    lab.bench.say(&["run", "-d", "--name", "suid", "suid", "/probe", "sleep", "1000"]).done();
    // Control: the bits are there, and as an archive they come out.
    let (bytes, _) = lab.bench.feed(&["cp", "suid:/suid", "-"], b"");
    assert_eq!(&bytes[100..107], b"0006755");
    for flags in [&["cp", "-q"][..], &["cp", "-q", "-a"]] {
        let to = lab.bench.path("out");
        let said = lab.bench.say(&[flags, &["suid:/suid", to.to_str().unwrap()]].concat());
        if said.code == 0 {
            assert_eq!(fs::metadata(&to).unwrap().mode() & 0o7777, 0o755);
            fs::remove_file(to).unwrap();
        } else {
            assert!(!bulkhead_tests::is_root(), "{said:?}");
        }
    }
    lab.remove("suid");
}

/// The copying process starts no program, and finds none of its own in the container (CVE-2019-14271, CVE-2022-1227,
/// CVE-2026-41567): an image without anything but the probe is copied, compressed or not.
#[test]
fn nothing_found_in_the_container_takes_part() {
    let lab = Lab::new();
    // Each would leave a mark if it ran.
    let names =
        ["bin/sh", "bin/tar", "usr/bin/xz", "usr/bin/gzip", "usr/bin/unpigz", "usr/bin/zstd", "lib/libnss_files.so.2"];
    let mut entries =
        vec![dir("bin"), dir("usr"), dir("usr/bin"), dir("lib"), file("etc/nsswitch.conf", "passwd: evil\n")];
    for name in names {
        let mut script = file(name, "#!/probe touch\n");
        script.mode = 0o755;
        entries.push(script);
    }
    lab.image("traps", &entries).done();
    lab.bench.say(&["run", "-d", "--name", "traps", "traps", "/probe", "sleep", "1000"]).done();
    let before = lab.bench.say(&["diff", "traps"]).ok();
    let packed = archive(&[file("fresh", "x")]);
    let tar = lab.bench.path("in.tar");
    fs::write(&tar, &packed).unwrap();
    let zipped = Command::new("gzip").arg("-c").arg(&tar).output().unwrap().stdout;
    for bytes in [&packed, &zipped] {
        let (_, said) = lab.bench.feed(&["cp", "-", "traps:/root"], bytes);
        assert_eq!(said.code, 0, "{said:?}");
    }
    lab.bench.feed(&["export", "traps"], b"").1.done();
    let after = lab.bench.say(&["diff", "traps"]).ok();
    assert_eq!(after, format!("{before}C /root\nA /root/fresh\n"));
    // A compression that is not understood is refused, whatever the container has for it.
    let (_, said) = lab.bench.feed(&["cp", "-", "traps:/root"], b"\xfd7zXZ\0\0\0\0");
    assert!(said.fails(1).contains("xz"));
    lab.remove("traps");
}
