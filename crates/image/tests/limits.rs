//! Bombs and truncation: bounded, clean, and explained.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::let_underscore_must_use,
    reason = "a test that fails should stop with the value it found"
)]

mod common;

use std::io::{self, Read};
use std::time::{Duration, Instant};

use bulkhead_image::archive::TarReader;
use bulkhead_image::testing::{
    EntrySpec, ImageSpec, Style, TarBuilder, docker_archive, docker_archive_files, gzip, oci_files, pax_record, zstd,
};
use bulkhead_image::unpack::Whiteouts;
use bulkhead_image::{Budget, ImportOptions, import, load};
use common::{Lab, ids, options};

fn import_options() -> ImportOptions {
    ImportOptions { ids: ids(), ..ImportOptions::default() }
}

/// Peak memory of this process, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn refused(lab: &Lab, input: impl Read + Send, budget: &Budget, word: &str) {
    let error = import(input, lab.staging(), budget, &import_options()).unwrap_err().to_string();
    assert!(error.contains(word), "{word}: {error}");
    lab.assert_empty();
    lab.assert_untouched();
}

#[test]
fn bombs_meet_a_limit_by_name() {
    let lab = Lab::new();
    let small = Budget { bytes: 1 << 20, entries: 1000, time: Duration::from_secs(20), ..Budget::default() };
    // A file larger than allowed is refused by its header, before its content.
    let huge = |size, style| {
        let spec = EntrySpec { size: Some(size), style, ..EntrySpec::new(b'0', "huge") };
        TarBuilder::new().entry(spec).unfinished()
    };
    refused(&lab, &*huge(2 << 20, Style::Pax), &small, "`bytes`");
    refused(&lab, &*huge(10 << 30, Style::Pax), &small, "`bytes`");
    refused(&lab, &*huge(1 << 61, Style::Gnu), &small, "`bytes`");
    refused(&lab, &*huge(u64::MAX, Style::Pax), &small, "out of range");
    // Zeros that compress a thousandfold.
    let zeros = TarBuilder::new().file("zeros", 0o644, vec![0; 8 << 20]).finish();
    refused(&lab, &*gzip(&zeros), &small, "`bytes`");
    refused(&lab, &*zstd(&zeros), &small, "`bytes`");
    // Many files of nothing.
    let header = TarBuilder::new().file("empty", 0o644, "").unfinished();
    refused(&lab, &*header.repeat(2000), &small, "`entries`");
    let implied: TarBuilder =
        (0..20).fold(TarBuilder::new(), |tar, n| tar.file(format!("{n}/{}x", "d/".repeat(100)), 0o644, ""));
    refused(&lab, &*implied.finish(), &small, "`entries`");
    // Deep directories.
    refused(&lab, &*TarBuilder::new().dir("d/".repeat(100_000), 0o755).finish(), &small, "`path`");
    refused(&lab, &*TarBuilder::new().dir("d/".repeat(1000), 0o755).finish(), &small, "`depth`");
    // Large extended headers, one and many.
    let pax = EntrySpec { size: Some(1 << 30), ..EntrySpec::new(b'x', "x") };
    refused(&lab, &*TarBuilder::new().entry(pax).unfinished(), &small, "`header`");
    let long = EntrySpec { size: Some(1 << 30), ..EntrySpec::new(b'L', "x") };
    refused(&lab, &*TarBuilder::new().entry(long).unfinished(), &small, "`header`");
    let data = pax_record(b"comment", &[b'c'; 60_000]);
    let many = TarBuilder::new().entry(EntrySpec { data, ..EntrySpec::new(b'g', "g") }).unfinished().repeat(100);
    refused(&lab, &*many, &Budget { headers: 1 << 20, ..small.clone() }, "`headers`");
    // Names of directories, which have to be remembered.
    let dirs = (0..900).fold(TarBuilder::new(), |tar, n| tar.dir(format!("{n:0200}"), 0o755));
    refused(&lab, &*dirs.finish(), &Budget { directories: 10_000, ..small.clone() }, "`directories`");
    // Streams without an end.
    refused(&lab, io::repeat(0), &small, "padding");
    refused(&lab, io::repeat(b'a'), &small, "checksum");
    refused(&lab, header.repeat(4).chain(io::repeat(b'x')), &small, "checksum");
    // A zstd frame that wants 2 GiB of window: magic number, descriptor, window.
    refused(&lab, &[0x28, 0xb5, 0x2f, 0xfd, 0, (31 - 10) << 3, 1, 0, 0][..], &small, "zstd");
    assert!(peak() < 256 << 10, "peak memory {} KiB", peak());
}

trait Chained {
    fn chain(self, rest: impl Read + Send) -> impl Read + Send;
}

impl Chained for Vec<u8> {
    fn chain(self, rest: impl Read + Send) -> impl Read + Send {
        Read::chain(io::Cursor::new(self), rest)
    }
}

#[test]
fn unsupported_compression_is_named() {
    let lab = Lab::new();
    for (magic, name) in [(&b"\xfd7zXZ\0\0"[..], "xz"), (b"BZh91AY&SY", "bzip2"), (b"PK\x03\x04xx", "zip")] {
        refused(&lab, magic, &Budget::default(), name);
        refused(&lab, magic, &Budget::default(), "recompress with gzip or zstd");
    }
    // An archive within an archive within an archive is the caller's to unpack, not ours.
    let noise: Vec<u8> = (0..64_u8).flat_map(|n| bulkhead_image::Digest::of(&[n]).hex().into_bytes()).collect();
    let tar = TarBuilder::new().file("a", 0o644, noise).finish();
    refused(&lab, &*gzip(&gzip(&tar)), &Budget::default(), "not a tar archive");
}

#[test]
fn members_and_frames_may_be_many() {
    let tar = TarBuilder::new().file("a", 0o644, vec![7; 100_000]).finish();
    let (one, two) = tar.split_at(3000);
    let lab = Lab::new();
    let expected = import(&*tar, lab.staging(), &Budget::default(), &import_options()).unwrap();
    for pack in [gzip, zstd] {
        let lab = Lab::new();
        let packed = [pack(one), pack(two)].concat();
        let report = import(&*packed, lab.staging(), &Budget::default(), &import_options()).unwrap();
        assert_eq!(report.image.layers[0].diff_id, expected.image.layers[0].diff_id);
        assert_ne!(report.image.layers[0].blob_digest, expected.image.layers[0].blob_digest);
    }
}

#[test]
fn slow_input_runs_out_of_time() {
    struct Slow(Vec<u8>, usize);
    impl Read for Slow {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            std::thread::sleep(Duration::from_millis(5));
            let byte = self.0[self.1 % self.0.len()];
            self.1 += 1;
            buf[0] = byte;
            Ok(1)
        }
    }
    let lab = Lab::new();
    let budget = Budget { time: Duration::from_millis(200), ..Budget::default() };
    let start = Instant::now();
    refused(&lab, Slow(TarBuilder::new().file("a", 0o644, "x").finish(), 0), &budget, "`time`");
    assert!(start.elapsed() < Duration::from_secs(5));
}

fn layer() -> Vec<u8> {
    TarBuilder::new()
        .dir("d", 0o755)
        .file("d/one", 0o644, vec![b'1'; 5000])
        .entry(EntrySpec { data: vec![b'2'; 3000], ..EntrySpec::new(b'0', "n".repeat(150)) })
        .symlink("link", "d")
        .file("link/two", 0o600, vec![b'3'; 2000])
        .hardlink("three", "d/one")
        .finish()
}

/// Every 1 KiB, and at every block of the plain form.
#[test]
fn truncated_layers_are_errors_at_every_point() {
    let whole = layer();
    for (packed, step) in [(whole.clone(), 512), (whole.clone(), 1024), (gzip(&whole), 64), (zstd(&whole), 64)] {
        let lab = Lab::new();
        for end in (0..packed.len()).step_by(step) {
            let cut = &packed[..end];
            let error = import(cut, lab.staging(), &Budget::default(), &import_options()).unwrap_err().to_string();
            assert!(error.contains("byte") && error.contains("entry") && error.contains("truncated"), "{end}: {error}");
            lab.assert_empty();
        }
        lab.assert_untouched();
        import(&*packed, lab.staging(), &Budget::default(), &import_options()).unwrap();
    }
}

#[test]
fn truncated_images_are_errors_at_every_point() {
    let images = [ImageSpec::new("docker.io/library/a:1", vec![layer()])];
    for files in [docker_archive_files(&images), oci_files(&images)] {
        let whole = docker_archive(&files);
        let lab = Lab::new();
        for end in (0..whole.len()).step_by(1024) {
            let error = load(&whole[..end], lab.staging(), &Budget::default(), &options()).unwrap_err().to_string();
            assert!(error.contains("truncated"), "{end}: {error}");
            lab.assert_empty();
        }
        lab.assert_untouched();
        load(&*whole, lab.staging(), &Budget::default(), &options()).unwrap();
    }
}

#[test]
fn flipped_bits_in_compressed_layers_are_found() {
    let whole = layer();
    for packed in [gzip(&whole), zstd(&whole)] {
        let expected = import(&*whole, Lab::new().staging(), &Budget::default(), &import_options()).unwrap();
        for at in (0..packed.len()).step_by(7) {
            let mut bad = packed.clone();
            bad[at] ^= 0x10;
            let lab = Lab::new();
            // Some bits carry no content, such as the time in a gzip header.
            if let Ok(report) = import(&*bad, lab.staging(), &Budget::default(), &import_options()) {
                assert!(
                    report.image.layers[0].diff_id == expected.image.layers[0].diff_id || packed[0] != 0x1f,
                    "{at}"
                );
            }
            lab.assert_untouched();
        }
    }
}

#[test]
fn ambiguous_archives_are_refused() {
    let file = |path: &str| TarBuilder::new().file(path, 0o644, "x");
    let end = [0; 1024];
    let with = |spec: EntrySpec| TarBuilder::new().entry(spec).finish();
    let entry = |flag| EntrySpec::new(flag, "x");
    let data = |flag| EntrySpec { data: b"x".to_vec(), link: b"y".to_vec(), ..EntrySpec::new(flag, "x") };
    let mut damaged = file("x").finish();
    damaged[0] = b'y';
    let mut negative = file("x").unfinished();
    negative[124..136].fill(0xff);
    for (what, tar) in [
        ("size in PAX and header differ", with(data(b'0').pax("size", "0"))),
        ("size smaller in header", with(EntrySpec { size: Some(0), ..data(b'0') }.pax("size", "1"))),
        ("PAX size negative", with(data(b'0').pax("size", "-1"))),
        ("records twice", with(data(b'0').pax("path", "a").pax("path", "b"))),
        (
            "PAX garbage",
            TarBuilder::new()
                .entry(EntrySpec { data: b"junk".to_vec(), ..entry(b'x') })
                .raw(&file("x").finish())
                .finish(),
        ),
        ("two PAX headers", {
            let pax =
                TarBuilder::new().entry(EntrySpec { data: pax_record(b"path", b"a"), ..entry(b'x') }).unfinished();
            TarBuilder::new().raw(&pax).raw(&pax).raw(&file("x").finish()).unfinished()
        }),
        (
            "PAX without entry",
            TarBuilder::new().entry(EntrySpec { data: pax_record(b"path", b"a"), ..entry(b'x') }).finish(),
        ),
        (
            "global path",
            TarBuilder::new()
                .entry(EntrySpec { data: pax_record(b"path", b"a"), ..entry(b'g') })
                .raw(&file("x").finish())
                .unfinished(),
        ),
        ("PAX and GNU names", {
            let pax = EntrySpec { data: pax_record(b"path", b"a"), ..entry(b'x') };
            let gnu = EntrySpec { data: b"b\0".to_vec(), ..entry(b'L') };
            TarBuilder::new().entry(pax).entry(gnu).raw(&file("x").finish()).unfinished()
        }),
        (
            "long name with a tail",
            TarBuilder::new()
                .entry(EntrySpec { data: b"b\0c".to_vec(), ..entry(b'L') })
                .raw(&file("x").finish())
                .unfinished(),
        ),
        ("link with data", with(data(b'2'))),
        ("hard link with data", with(data(b'1'))),
        ("directory with data", with(data(b'5'))),
        ("device with data", with(data(b'3'))),
        ("file with slash", with(EntrySpec::new(b'0', "x/"))),
        ("link without target", with(entry(b'2'))),
        ("no name", with(EntrySpec::new(b'0', ""))),
        ("GNU sparse", with(entry(b'S'))),
        ("PAX sparse", with(entry(b'0').pax("GNU.sparse.major", "1").pax("GNU.sparse.minor", "0"))),
        ("multi-volume", with(entry(b'M'))),
        ("unknown type", with(entry(b'Z'))),
        (
            "lone zero block",
            TarBuilder::new().raw(&file("x").unfinished()).raw(&end[..512]).raw(&file("y").finish()).unfinished(),
        ),
        ("data behind the end", TarBuilder::new().raw(&file("x").finish()).raw(&file("y").finish()).unfinished()),
        ("no end", file("x").unfinished()),
        ("half an end", TarBuilder::new().raw(&file("x").unfinished()).raw(&end[..512]).unfinished()),
        ("checksum", damaged),
        ("negative size", negative),
        ("empty", Vec::new()),
    ] {
        let lab = Lab::new();
        assert!(lab.unpack(&tar, Whiteouts::Overlay).is_err(), "{what} was accepted");
    }
    assert!(TarReader::new(&end[..], &Budget::default()).next_entry().unwrap().is_none(), "an empty archive is one");
}
