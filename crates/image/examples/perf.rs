#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "temporary")]
use std::os::fd::AsFd;
fn main() {
    let file = std::env::args().nth(1).unwrap();
    let dir = tempfile::tempdir_in(".").unwrap();
    let fd = std::fs::File::open(dir.path()).unwrap();
    let f = std::fs::File::open(file).unwrap();
    let o = bulkhead_image::LoadOptions::default();
    let b = bulkhead_image::Budget::default();
    let r = if f.metadata().unwrap().is_dir() {
        bulkhead_image::load_layout(f.as_fd(), fd.as_fd(), &b, &o)
    } else {
        bulkhead_image::load(f, fd.as_fd(), &b, &o)
    };
    match r {
        Ok(r) => println!("{}", serde_json::to_string(&r).unwrap()),
        Err(e) => println!("{e}"),
    }
}
