//! The reader against GNU tar and Python's tarfile: the same listing, or a refusal.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::let_underscore_must_use,
    reason = "a test that fails should stop with the value it found"
)]

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use bulkhead_image::Budget;
use bulkhead_image::archive::{EntryKind, TarReader};
use bulkhead_image::testing::{EntrySpec, Style, TarBuilder, pax_record};
use bulkhead_image::unpack::Whiteouts;
use common::Lab;

/// One line per entry: type, mode, owner, size, time, name, link.
fn ours(archive: &[u8]) -> Result<Vec<String>, String> {
    let mut tar = TarReader::new(archive, &Budget::default());
    let mut out = Vec::new();
    while let Some(entry) = tar.next_entry().map_err(|e| e.to_string())? {
        let kind = match entry.kind {
            EntryKind::File => '-',
            EntryKind::HardLink => 'h',
            EntryKind::Symlink => 'l',
            EntryKind::Directory => 'd',
            EntryKind::Fifo => 'p',
            EntryKind::CharDevice => 'c',
            EntryKind::BlockDevice => 'b',
        };
        let size = if matches!(entry.kind, EntryKind::CharDevice | EntryKind::BlockDevice) { 0 } else { entry.size };
        out.push(format!(
            "{kind} {:o} {}/{} {size} {} {} {}",
            entry.mode,
            entry.uid,
            entry.gid,
            entry.mtime.secs,
            entry.path.strip_suffix(b"/").unwrap_or(&entry.path).escape_ascii(),
            entry.link.escape_ascii(),
        ));
    }
    Ok(out)
}

const PYTHON: &str = r#"
import sys, tarfile, math
def esc(s):
    out = ""
    for b in s.encode("utf-8", "surrogateescape"):
        c = chr(b)
        out += {"\t": "\\t", "\n": "\\n", "\r": "\\r", "'": "\\'", '"': '\\"', "\\": "\\\\"}.get(c) or (c if 32 <= b < 127 else "\\x%02x" % b)
    return out
kinds = {b"0": "-", b"\0": "-", b"7": "-", b"1": "h", b"2": "l", b"5": "d", b"6": "p", b"3": "c", b"4": "b"}
t = tarfile.open(fileobj=sys.stdin.buffer, mode="r|", errorlevel=2, encoding="utf-8", errors="surrogateescape")
for m in t:
    link = m.linkname if m.type in (b"1", b"2") else ""
    size = m.size if m.isreg() else 0
    name = m.name[:-1] if m.name.endswith("/") else m.name
    print(kinds[m.type], "%o" % (m.mode & 0o7777), "%d/%d" % (m.uid, m.gid), size, math.floor(m.mtime), esc(name), esc(link))
"#;

fn pipe(program: &str, args: &[&str], input: &[u8]) -> Option<(bool, String)> {
    let mut child = Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().ok()?;
    writer.join().unwrap();
    Some((output.status.success(), String::from_utf8(output.stdout).unwrap()))
}

fn python(archive: &[u8]) -> Option<(bool, Vec<String>)> {
    let (ok, text) = pipe("python3", &["-c", PYTHON], archive)?;
    Some((ok, text.lines().map(|line| line.trim_end().to_owned()).collect()))
}

/// GNU tar's verbose listing, brought into our form.
fn gnu(archive: &[u8]) -> Option<(bool, Vec<String>)> {
    let args = ["--list", "--verbose", "--numeric-owner", "--full-time", "--quoting-style=c", "--file=-"];
    let (ok, text) = pipe("tar", &args, archive)?;
    Some((ok, text.lines().map(gnu_line).collect()))
}

fn gnu_line(line: &str) -> String {
    let mut rest = line;
    let mut word = || {
        let (word, tail) = rest.trim_start().split_once(' ').unwrap();
        rest = tail;
        word.to_owned()
    };
    let (mode, owner, size, date, time) = (word(), word(), word(), word(), word());
    let (kind, bits) = mode.split_at(1);
    // Contiguous files are files to everybody but their listing.
    let kind = if kind == "C" { "-" } else { kind };
    let octal = bits.as_bytes().chunks(3).enumerate().fold(0, |sum, (class, rwx)| {
        let set = |at: usize, set: &[u8]| u32::from(set.contains(&rwx[at]));
        let bits = set(0, b"r") << 2 | set(1, b"w") << 1 | set(2, b"xst");
        let special = set(2, b"sStT") << (9 + 2 - u32::try_from(class).unwrap());
        sum | bits << (6 - 3 * u32::try_from(class).unwrap()) | special
    });
    let size = if kind == "c" || kind == "b" { "0" } else { &size };
    let (name, tail) = unquote(rest.trim_start());
    let link =
        tail.strip_prefix(" -> ").or_else(|| tail.strip_prefix(" link to ")).map(|t| unquote(t).0).unwrap_or_default();
    let secs = seconds(&date, &time);
    format!("{kind} {octal:o} {owner} {size} {secs} {} {link}", name.strip_suffix('/').unwrap_or(&name))
        .trim_end()
        .to_owned()
}

/// A C string literal at the start of `text`, in the escapes that Rust uses, and what is behind it.
fn unquote(text: &str) -> (String, &str) {
    let mut bytes = Vec::new();
    let mut chars = text.strip_prefix('"').unwrap().char_indices();
    let body = &text[1..];
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (bytes.escape_ascii().to_string(), &body[at + 1..]),
            '\\' => {
                let (_, c) = chars.next().unwrap();
                let plain = match c {
                    'n' => Some(b'\n'),
                    't' => Some(b'\t'),
                    'r' => Some(b'\r'),
                    '0'..='7' => None,
                    other => Some(u8::try_from(other).unwrap()),
                };
                bytes.push(plain.unwrap_or_else(|| {
                    let mut digit = || chars.next().unwrap().1.to_digit(8).unwrap();
                    let value = c.to_digit(8).unwrap() * 64 + digit() * 8 + digit();
                    u8::try_from(value).unwrap()
                }));
            }
            other => bytes.extend(other.to_string().as_bytes()),
        }
    }
    panic!("no closing quote in {text}");
}

fn seconds(date: &str, time: &str) -> i64 {
    let number = |text: &str| text.split('.').next().unwrap().parse::<i64>().unwrap();
    let date: Vec<i64> = date.split('-').map(number).collect();
    let time: Vec<i64> = time.split(':').map(number).collect();
    let (year, month, day) = (date[0], date[1], date[2]);
    // Days from the civil calendar.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    days * 86_400 + time[0] * 3600 + time[1] * 60 + time[2]
}

fn sample(dir: &Path) {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let long = "long-".repeat(30);
    std::fs::create_dir_all(dir.join("a/b").join(&long).join("c")).unwrap();
    std::fs::write(dir.join("a/file"), vec![b'x'; 1234]).unwrap();
    std::fs::write(dir.join("a/empty"), "").unwrap();
    std::fs::write(dir.join("a/b").join(&long).join("c").join("n".repeat(120)), "deep").unwrap();
    std::fs::write(dir.join("a/new\nline \"quote\" back\\slash"), "x").unwrap();
    std::fs::write(dir.join("a/\u{e9}\u{4e2d}"), "x").unwrap();
    std::fs::write(dir.join("a/setid"), "x").unwrap();
    std::fs::set_permissions(dir.join("a/setid"), std::fs::Permissions::from_mode(0o6755)).unwrap();
    std::fs::set_permissions(dir.join("a/b"), std::fs::Permissions::from_mode(0o1777)).unwrap();
    std::fs::hard_link(dir.join("a/file"), dir.join("a/hard")).unwrap();
    symlink("file", dir.join("a/soft")).unwrap();
    symlink("t/".repeat(80), dir.join("a/soft-long")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, dir.join("a/pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
}

#[test]
fn archives_by_gnu_tar_in_all_its_formats() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let mut compared = 0;
    for format in ["v7", "oldgnu", "gnu", "ustar", "pax"] {
        for extra in [
            &[][..],
            &["--mtime=@-100000"],
            &["--mtime=@100000.5"],
            &["--owner=3000000", "--group=4000000"],
            &["--record-size=65536"],
        ] {
            let output = Command::new("tar")
                .current_dir(dir.path())
                .args(["--create", "--sort=name", "--file=-", &format!("--format={format}")])
                .args(extra)
                .arg("a")
                .output();
            let Ok(output) = output else {
                eprintln!("skipped: no tar program");
                return;
            };
            let list = ours(&output.stdout);
            if !output.status.success() {
                // The old formats have no room for some names; what tar did write is whole.
                assert!(matches!(format, "v7" | "ustar"), "{format} {extra:?}");
            }
            let list = list.unwrap_or_else(|e| panic!("{format} {extra:?}: {e}"));
            let list: Vec<_> = list.iter().map(|line| line.trim_end().to_owned()).collect();
            let (ok, theirs) = gnu(&output.stdout).unwrap();
            assert!(ok);
            assert_eq!(list, theirs, "{format} {extra:?}");
            if let Some((true, theirs)) = python(&output.stdout) {
                assert_eq!(list, theirs, "{format} {extra:?}");
            }
            assert!(list.len() > 5 || !output.status.success());
            compared += 1;
        }
    }
    assert_eq!(compared, 25);
}

/// Unpacked by us and by GNU tar: the same tree.
#[test]
fn trees_are_those_of_gnu_tar() {
    let dir = tempfile::tempdir().unwrap();
    let theirs = tempfile::tempdir().unwrap();
    sample(dir.path());
    let archive = dir.path().join("archive.tar");
    let create = ["--create", "--format=pax", "--file", "archive.tar", "a"];
    if !Command::new("tar").current_dir(dir.path()).args(create).status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: no tar program");
        return;
    }
    let extract = ["--extract", "--preserve-permissions", "--file"];
    let status = Command::new("tar").current_dir(theirs.path()).args(extract).arg(&archive).status().unwrap();
    assert!(status.success());
    let lab = Lab::new();
    lab.unpack(&std::fs::read(&archive).unwrap(), Whiteouts::NoLower).unwrap();
    let strip = |root: &Path| -> Vec<String> {
        let tree = common::snapshot(root);
        let no_inode = |text: &str| {
            let words: Vec<&str> = text.split(' ').collect();
            // Without "ino N".
            format!("{} {}", words[..5].join(" "), words[7..].join(" "))
        };
        tree.iter()
            .filter(|(path, _)| path.starts_with("a"))
            .map(|(path, text)| format!("{path:?} {}", no_inode(text)))
            .collect()
    };
    assert_eq!(strip(&lab.root()), strip(theirs.path()));
}

/// Hostile and odd archives: where we accept, both others see the same; where anybody differs, we refuse.
#[test]
fn odd_archives_are_seen_alike_or_refused() {
    let file = |path: &str| EntrySpec { data: b"content".to_vec(), ..EntrySpec::new(b'0', path) };
    let one = |spec: EntrySpec| TarBuilder::new().entry(spec).file("after", 0o644, "z").finish();
    let ext = |flag: u8, data: Vec<u8>| EntrySpec { data, ..EntrySpec::new(flag, "ext") };
    let inner = TarBuilder::new().file("hidden", 0o644, "h").unfinished();
    let mut corpus = vec![
        ("plain", one(file("x"))),
        ("v7", one(EntrySpec { style: Style::V7, ..file("x") })),
        ("gnu", one(EntrySpec { style: Style::Gnu, ..file(&"x".repeat(300)) })),
        ("pax", one(file(&"x".repeat(300)))),
        (
            "size 0 in header, PAX size",
            one(EntrySpec { size: Some(0), data: inner.clone(), ..file("x") }.pax("size", inner.len().to_string())),
        ),
        ("PAX size smaller", one(EntrySpec { data: inner.clone(), ..file("x") }.pax("size", "0"))),
        ("PAX size same", one(file("x").pax("size", "7"))),
        ("PAX size twice", one(file("x").pax("size", "7").pax("size", "0"))),
        ("PAX path twice", one(file("x").pax("path", "a").pax("path", "b"))),
        ("symlink with data", one(EntrySpec { data: inner.clone(), link: b"t".to_vec(), ..EntrySpec::new(b'2', "x") })),
        (
            "hard link with data",
            one(EntrySpec { data: inner.clone(), link: b"after".to_vec(), ..EntrySpec::new(b'1', "x") }),
        ),
        ("directory with data", one(EntrySpec { data: inner.clone(), ..EntrySpec::new(b'5', "x/") })),
        ("fifo with data", one(EntrySpec { data: inner.clone(), ..EntrySpec::new(b'6', "x") })),
        ("old file with slash", one(EntrySpec { flag: 0, style: Style::V7, data: Vec::new(), ..file("x/") })),
        ("file with slash", one(EntrySpec { data: Vec::new(), ..file("x/") })),
        ("contiguous", one(EntrySpec { flag: b'7', ..file("x") })),
        ("global size", TarBuilder::new().entry(ext(b'g', pax_record(b"size", b"0"))).entry(file("x")).finish()),
        ("global path", TarBuilder::new().entry(ext(b'g', pax_record(b"path", b"y"))).entry(file("x")).finish()),
        ("global comment", TarBuilder::new().entry(ext(b'g', pax_record(b"comment", b"y"))).entry(file("x")).finish()),
        (
            "PAX then GNU name",
            TarBuilder::new()
                .entry(ext(b'x', pax_record(b"path", b"p")))
                .entry(ext(b'L', b"g\0".to_vec()))
                .entry(file("x"))
                .finish(),
        ),
        (
            "GNU name then PAX",
            TarBuilder::new()
                .entry(ext(b'L', b"g\0".to_vec()))
                .entry(ext(b'x', pax_record(b"path", b"p")))
                .entry(file("x"))
                .finish(),
        ),
        ("GNU name without NUL", TarBuilder::new().entry(ext(b'L', b"long".to_vec())).entry(file("x")).finish()),
        ("GNU name with two NULs", TarBuilder::new().entry(ext(b'L', b"a\0b\0".to_vec())).entry(file("x")).finish()),
        ("lone zero block", TarBuilder::new().entry(file("x")).raw(&[0; 512]).entry(file("y")).finish()),
        (
            "two archives",
            [TarBuilder::new().entry(file("x")).finish(), TarBuilder::new().entry(file("y")).finish()].concat(),
        ),
        ("no end", TarBuilder::new().entry(file("x")).unfinished()),
        ("PAX path with NUL", one(file("x").pax("path", "a\0b"))),
        ("PAX length too long", TarBuilder::new().entry(ext(b'x', b"99 path=a\n".to_vec())).entry(file("x")).finish()),
        ("PAX length zero", TarBuilder::new().entry(ext(b'x', b"0 path=a\n".to_vec())).entry(file("x")).finish()),
        ("PAX empty path", one(file("x").pax("path", ""))),
        ("PAX fraction", one(file("x").pax("mtime", "5.999"))),
        ("PAX uid", one(file("x").pax("uid", "70000"))),
        ("unknown type", one(EntrySpec { flag: b'Z', ..file("x") })),
    ];
    // A header whose numbers are written in ways that readers read differently.
    for field in [
        &b"0000000007 "[..],
        b"       7   ",
        b"7\0\0\0\0\0\0\0\0\0\0",
        b"\0\0\0\0\0\0\0\0\0\0\x007",
        b"7 7        ",
        b"-7",
        b"0x7",
        b"  ",
    ] {
        let mut tar = TarBuilder::new().entry(file("x")).finish();
        tar[124..136].fill(0);
        tar[124..124 + field.len()].copy_from_slice(field);
        tar[148..156].fill(b' ');
        let sum: u32 = tar[..512].iter().map(|byte| u32::from(*byte)).sum();
        tar[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        corpus.push(("number", tar));
    }
    let mut accepted = Vec::new();
    for (what, tar) in corpus {
        let Ok(list) = ours(&tar) else { continue };
        accepted.push(what);
        let list: Vec<_> = list.iter().map(|line| line.trim_end().to_owned()).collect();
        if let Some((_, theirs)) = gnu(&tar) {
            assert_eq!(list, theirs, "GNU tar: {what}");
        }
        if let Some((_, theirs)) = python(&tar) {
            assert_eq!(list, theirs, "Python: {what}");
        }
    }
    for wanted in
        ["plain", "v7", "gnu", "pax", "PAX size same", "global comment", "old file with slash", "contiguous", "number"]
    {
        assert!(accepted.contains(&wanted), "{wanted} was refused");
    }
    for unwanted in ["PAX size smaller", "symlink with data", "two archives", "lone zero block", "PAX then GNU name"] {
        assert!(!accepted.contains(&unwanted), "{unwanted} was accepted");
    }
}
