//! Tells the linker where the program begins, `bulkhead_sys::entry`, and which functions lie side by side.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=start.ld");
    println!("cargo::rustc-link-arg-bin=bulkhead=-Wl,--entry=bulkhead_entry");
    // The static program is linked by one that knows this kind of script.
    if std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "musl") {
        let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bin=bulkhead=-Wl,-T,{folder}/start.ld");
    }
}
