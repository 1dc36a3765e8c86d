//! Compiles the built-in system call filters, so that no start has to.

use std::fmt::Write as _;

use bulkhead_seccomp::defaults::{compat_profile, default_profile, strict_profile};
use bulkhead_seccomp::{Arch, Context, Profile, compile};

/// The eight capabilities of the default, Docker's fourteen, and the one that lets the unpacking process mark deleted
/// files; as bits.
const DEFAULT: u64 = 0x4fb;
const DOCKER: u64 = 0xa804_25fb;
const MKNOD: u64 = 1 << 27;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let arch = match std::env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "aarch64" => Arch::Aarch64,
        _ => Arch::X86_64,
    };
    type Builtin = (&'static str, fn() -> Profile, &'static [u64]);
    let all: [Builtin; 3] = [
        ("default", default_profile, &[DEFAULT, 0]),
        ("strict", strict_profile, &[0, MKNOD]),
        ("compat", compat_profile, &[DOCKER, 0]),
    ];
    let mut text = String::from("pub(super) static COMPILED: &[super::Compiled] = &[\n");
    for (name, profile, sets) in all {
        for caps in sets {
            // The built-in profiles do not look at the kernel's version; a test holds them to it.
            let filter = profile().resolve(&Context { arch, caps: *caps, kernel: (6, 12) })?;
            write!(text, "({name:?}, {caps}, &[")?;
            for i in compile(&filter)?.insns() {
                write!(text, "({},{},{},{}),", i.code, i.jt, i.jf, i.k)?;
            }
            text.push_str("]),\n");
        }
    }
    text.push_str("];\n");
    std::fs::write(std::path::Path::new(&std::env::var("OUT_DIR")?).join("filters.rs"), text)?;
    Ok(())
}
