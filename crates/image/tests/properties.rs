//! Random input: no panic, no escape, and what was written is read.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::let_underscore_must_use,
    reason = "a test that fails should stop with the value it found"
)]

mod common;

use bulkhead_image::archive::{EntryKind, TarReader};
use bulkhead_image::config::{ImageDocument, UserSpec};
use bulkhead_image::testing::{EntrySpec, Style, TarBuilder, gzip, zstd};
use bulkhead_image::unpack::Whiteouts;
use bulkhead_image::{Budget, ImportOptions, Reference, import, load};
use common::Lab;
use proptest::prelude::*;

fn read_all(bytes: &[u8]) -> bulkhead_image::Result<u64> {
    let mut tar = TarReader::new(bytes, &Budget::default());
    let mut entries = 0;
    while tar.next_entry()?.is_some() {
        entries += 1;
    }
    Ok(entries)
}

fn spec() -> impl Strategy<Value = EntrySpec> {
    let path = prop::collection::vec(prop::collection::vec(1_u8..=255, 1..60), 1..6)
        .prop_map(|parts| parts.join(&b'/'))
        .prop_filter("slashes at the end mean directories", |path| path.last() != Some(&b'/'));
    let style = prop_oneof![Just(Style::Pax), Just(Style::Gnu)];
    let kind = prop_oneof![Just(b'0'), Just(b'5'), Just(b'2'), Just(b'1'), Just(b'6')];
    (path, kind, prop::collection::vec(any::<u8>(), 0..2000), 0_u32..0o10000, 0_u64..1 << 40, 0..1_u64 << 33, style)
        .prop_map(|(path, flag, data, mode, uid, mtime, style)| EntrySpec {
            data: if flag == b'0' { data } else { Vec::new() },
            link: if matches!(flag, b'1' | b'2') { path.iter().rev().copied().collect() } else { Vec::new() },
            mode,
            uid,
            gid: uid / 2,
            mtime,
            style,
            ..EntrySpec::new(flag, path)
        })
}

/// Entries whose names lead in and out of one another.
fn hostile() -> impl Strategy<Value = EntrySpec> {
    let name = prop_oneof![
        "[abc]",
        "[abc]/[abc]",
        "[abc]/[abc]/[abc]",
        "\\.\\./[abc]",
        "[abc]/\\.\\.",
        "\\.wh\\.[abc]",
        "[abc]/\\.wh\\.[abc]",
        "[abc]/\\.wh\\.\\.wh\\.\\.opq",
        "/[abc]",
        "\\./[abc]/",
        "\\.\\./scratch/canary",
        "[abc]/canary",
        "[abc]/scratch/tree/new",
    ];
    let link = prop_oneof![
        "[abc]",
        "\\.\\.",
        "\\.\\./\\.\\.",
        "/",
        "[abc]/[abc]",
        "\\.\\./scratch",
        "\\.\\./scratch/canary",
        "/[abc]",
        "\\.",
        "/proc/self/root",
        "\\.\\./\\.\\./\\.\\./\\.\\./tmp",
    ];
    let kind = prop_oneof![Just(b'0'), Just(b'5'), Just(b'2'), Just(b'2'), Just(b'1'), Just(b'6'), Just(b'3')];
    (name, link, kind, 0_u32..0o10000).prop_map(|(name, link, flag, mode)| EntrySpec {
        link: if matches!(flag, b'1' | b'2') { link.into_bytes() } else { Vec::new() },
        data: if flag == b'0' && !name.contains(".wh.") { b"data".to_vec() } else { Vec::new() },
        mode,
        ..EntrySpec::new(flag, name)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_is_read(specs in prop::collection::vec(spec(), 0..8)) {
        let archive = specs.iter().cloned().fold(TarBuilder::new(), TarBuilder::entry).finish();
        let budget = Budget::default();
        let mut tar = TarReader::new(&*archive, &budget);
        for spec in &specs {
            let entry = tar.next_entry().unwrap().unwrap();
            let kind = match spec.flag {
                b'0' => EntryKind::File,
                b'1' => EntryKind::HardLink,
                b'2' => EntryKind::Symlink,
                b'5' => EntryKind::Directory,
                _ => EntryKind::Fifo,
            };
            prop_assert_eq!((&entry.path, &entry.link, entry.kind), (&spec.path, &spec.link, kind));
            prop_assert_eq!((entry.mode, entry.uid, entry.gid), (spec.mode, spec.uid, spec.gid));
            prop_assert_eq!(entry.mtime.secs, i64::try_from(spec.mtime).unwrap());
            prop_assert_eq!(tar.read_data(1 << 20).unwrap(), spec.data.clone());
        }
        prop_assert!(tar.next_entry().unwrap().is_none());
    }

    #[test]
    fn random_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        prop_assert!(read_all(&bytes).is_err() || bytes.iter().all(|byte| *byte == 0));
        let lab = Lab::new();
        prop_assert!(load(&*bytes, lab.staging(), &Budget::default(), &common::options()).is_err());
        lab.assert_empty();
    }

    #[test]
    fn spoiled_archives_do_not_panic(
        specs in prop::collection::vec(spec(), 1..5),
        spoil in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        pack in 0..3,
    ) {
        let mut archive = specs.into_iter().fold(TarBuilder::new(), TarBuilder::entry).finish();
        if pack == 1 { archive = gzip(&archive); }
        if pack == 2 { archive = zstd(&archive); }
        for (at, byte) in spoil {
            let at = at.index(archive.len());
            archive[at] = byte;
        }
        drop(read_all(&archive));
        let lab = Lab::new();
        let options = ImportOptions { ids: common::ids(), ..ImportOptions::default() };
        drop(import(&*archive, lab.staging(), &Budget { bytes: 1 << 24, ..Budget::default() }, &options));
        lab.assert_untouched();
    }

    #[test]
    fn hostile_names_never_leave(specs in prop::collection::vec(hostile(), 1..12)) {
        for whiteouts in [Whiteouts::Overlay, Whiteouts::Literal] {
            // One at a time as well, so that one refusal does not hide what the rest would do.
            let lab = Lab::new();
            let all = specs.iter().cloned().fold(TarBuilder::new(), TarBuilder::entry).finish();
            drop(lab.unpack(&all, whiteouts));
            for spec in &specs {
                drop(lab.unpack(&TarBuilder::new().entry(spec.clone()).finish(), whiteouts));
            }
            lab.assert_untouched();
        }
    }

    #[test]
    fn texts_are_parsed_or_refused(text in "\\PC{0,40}", plain in "[a-z0-9:@/._-]{0,60}") {
        for text in [&text, &plain] {
            if let Ok(reference) = Reference::parse(text) {
                prop_assert_eq!(Reference::parse(&reference.to_string()).unwrap(), reference.clone());
                prop_assert_eq!(Reference::parse(&reference.familiar()).unwrap(), reference);
            }
            drop(UserSpec::parse(text));
            drop(ImageDocument::parse("x", text.as_bytes()));
        }
    }
}
