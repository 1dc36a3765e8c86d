//! Tells the linker where the program begins: `bulkhead_sys::entry`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bin=bulkhead=-Wl,--entry=bulkhead_entry");
}
