//! The verdict of every call, held against files: a changed default is a reviewed diff.
//! `UPDATE_GOLDEN=1 cargo test` rewrites them.

#![allow(clippy::unwrap_used, reason = "a failure is the result of the test")]

use bulkhead_seccomp::defaults::{compat_profile, default_profile, strict_profile};
use bulkhead_seccomp::{Arch, Context, Profile, explain};
use std::path::Path;

fn check(name: &str, profile: &Profile, native: Arch) {
    let context = Context { arch: native, caps: 0, kernel: (6, 12) };
    let filter = profile.resolve(&context).unwrap();
    let tables = filter.arches().iter().map(|part| explain::verdict_table(&filter, part.arch()));
    let table: String = tables.collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}-{native}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    for (line, (is, was)) in table.lines().zip(golden.lines()).enumerate() {
        assert_eq!(is, was, "{} line {}", path.display(), line + 1);
    }
    assert_eq!(table.lines().count(), golden.lines().count(), "{}", path.display());
}

#[test]
fn default_tables() {
    check("default", &default_profile(), Arch::X86_64);
    check("default", &default_profile(), Arch::Aarch64);
}

#[test]
fn strict_tables() {
    check("strict", &strict_profile(), Arch::X86_64);
    check("strict", &strict_profile(), Arch::Aarch64);
}

#[test]
fn compat_tables() {
    check("compat", &compat_profile(), Arch::X86_64);
    check("compat", &compat_profile(), Arch::Aarch64);
}
