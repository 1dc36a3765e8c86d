use std::fs::File;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::Budget;
use crate::archive::{Entry, TarReader};

fn options() -> PackOptions {
    PackOptions { owners: Owners::Keep, overlay: false, skip: HashSet::new() }
}

fn pack(dir: &Path, options: PackOptions) -> Result<Vec<u8>> {
    let mut meter = Meter::new(&Budget { bytes: 1 << 20, ..Budget::default() });
    let mut packer = Packer::new(Vec::new(), options, &mut meter);
    packer.content(File::open(dir).unwrap().as_fd())?;
    packer.finish().map(|(out, _)| out)
}

fn entries(bytes: &[u8]) -> Vec<Entry> {
    let mut reader = TarReader::new(bytes, &Budget::default());
    std::iter::from_fn(|| reader.next_entry().unwrap()).collect()
}

fn names_of(bytes: &[u8]) -> Vec<String> {
    entries(bytes).iter().map(|e| String::from_utf8_lossy(&e.path).into_owned()).collect()
}

#[test]
fn every_kind_is_written_in_order_and_nothing_is_followed_or_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir_all(at("b/deep")).unwrap();
    std::fs::write(at("b/file"), "hello").unwrap();
    std::fs::set_permissions(at("b/file"), PermissionsExt::from_mode(0o4755)).unwrap();
    std::fs::hard_link(at("b/file"), at("c-hard")).unwrap();
    symlink("/etc", at("a-link")).unwrap();
    symlink("/proc/self/root", at("b/deep/magic")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    std::fs::write(at("name\n\x1b[31m"), "").unwrap();
    let bytes = pack(dir.path(), options()).unwrap();
    assert_eq!(
        names_of(&bytes),
        ["a-link", "b/", "b/deep/", "b/deep/magic", "b/file", "c-hard", "fifo", "name\n\x1b[31m"]
    );
    let all = entries(&bytes);
    assert_eq!((all[4].mode, all[4].size), (0o4755, 5));
    assert_eq!((all[5].kind, &*all[5].link), (EntryKind::HardLink, &b"b/file"[..]));
    assert_eq!(&*all[0].link, b"/etc");
    assert_eq!(bytes, pack(dir.path(), options()).unwrap(), "the same tree gives the same bytes");
    drop(socket);
}

#[test]
fn marks_of_an_overlay_become_those_of_an_image_and_its_attributes_stay_behind() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir_all(at("made/etc")).unwrap();
    std::fs::create_dir(at("opaque")).unwrap();
    std::fs::write(at("opaque/x"), "").unwrap();
    std::fs::write(at("made/etc/hosts"), "").unwrap();
    let attribute = |name: &str, key: &str, value: &[u8]| {
        let file = File::open(at(name)).unwrap();
        rustix::fs::fsetxattr(&file, key, value, rustix::fs::XattrFlags::empty()).is_ok()
    };
    if !attribute("opaque", "user.overlay.opaque", b"y") {
        return;
    }
    assert!(attribute("opaque/x", "user.mine", b"v") && attribute("opaque/x", "user.overlay.origin", b"secret"));
    let whiteout =
        rustix::fs::mknodat(rustix::fs::CWD, at("gone"), FileType::CharacterDevice, rustix::fs::Mode::empty(), 0);
    whiteout.unwrap();
    let skip: HashSet<_> = [b"made/etc/hosts".to_vec(), b"made".to_vec()].into();
    let bytes = pack(dir.path(), PackOptions { overlay: true, skip: skip.clone(), ..options() }).unwrap();
    assert_eq!(names_of(&bytes), [".wh.gone", "made/", "made/etc/", "opaque/", "opaque/.wh..wh..opq", "opaque/x"]);
    assert_eq!(entries(&bytes)[5].xattrs, [(b"user.mine".to_vec(), b"v".to_vec())]);
    let skip = skip.into_iter().chain([b"made/etc".to_vec(), b"opaque".to_vec()]).collect();
    let bytes = pack(dir.path(), PackOptions { overlay: true, skip, ..options() }).unwrap();
    assert_eq!(names_of(&bytes), [".wh.gone", "opaque/", "opaque/.wh..wh..opq", "opaque/x"]);
    // As a plain tree it is what it is.
    let plain = entries(&pack(dir.path(), options()).unwrap());
    assert_eq!(plain[0].kind, EntryKind::CharDevice);
    assert!(plain.iter().all(|e| e.xattrs.iter().all(|(name, _)| !name.starts_with(b"user.overlay"))));
    std::fs::write(at(".wh.trick"), "").unwrap();
    let error = pack(dir.path(), PackOptions { overlay: true, ..options() }).unwrap_err().to_string();
    assert!(error.contains(".wh.trick"), "{error}");
}

#[test]
fn giants_and_pits_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = File::create(dir.path().join("sparse")).unwrap();
    file.set_len(1 << 40).unwrap();
    let error = pack(dir.path(), options()).unwrap_err().to_string();
    assert!(error.contains("`bytes`"), "{error}");
    std::fs::remove_file(dir.path().join("sparse")).unwrap();
    let mut at = crate::fsops::make_dir(File::open(dir.path()).unwrap().as_fd(), b"p").unwrap();
    for _ in 0..DEPTH + 2 {
        at = crate::fsops::make_dir(at.as_fd(), b"p").unwrap();
    }
    let error = pack(dir.path(), options()).unwrap_err().to_string();
    assert!(error.contains("`depth`"), "{error}");
    crate::fsops::remove(File::open(dir.path()).unwrap().as_fd(), b"p").unwrap();
}
