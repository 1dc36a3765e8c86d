use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::runc::state::Record;

/// A root of a test's own.
fn root() -> (Global, PathBuf) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("bulkhead-runc-place-{}-{number}", std::process::id()));
    (Global { given_root: Some(dir.clone()), ..Global::default() }, dir)
}

#[test]
fn an_id_is_made_once() {
    let (global, dir) = root();
    let made: Vec<_> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8).map(|_| scope.spawn(|| Place::make(&global, "web"))).collect();
        tries.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    let errors: Vec<_> = made.iter().filter_map(|made| made.as_ref().err()).map(|e| e.message.as_str()).collect();
    assert_eq!(errors, [TAKEN; 7]);
    assert_eq!(std::fs::metadata(dir.join("web")).unwrap().mode() & 0o7777, 0o700);
    assert!(Place::make(&global, "../x").unwrap_err().message.contains("invalid container ID"));
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_record_comes_back_as_it_was_written() {
    let (global, dir) = root();
    assert_eq!(Record::load(&global, "web").unwrap_err().message, "container does not exist");
    let place = Place::make(&global, "web").unwrap();
    assert_eq!(Record::load(&global, "web").unwrap_err().message, "container does not exist");
    let mut record = Record::new("web");
    record.pid = Some(7);
    record.annotations.insert("k".to_owned(), "\u{1}é".to_owned());
    record.grants.push(bulkhead_sandbox::spec::Grant::Mounts);
    // A file of a killed writer with our number is in the way.
    std::fs::write(dir.join(format!("web/.record.json.{}", std::process::id())), "half").unwrap();
    record.write(&place).unwrap();
    place.write_config(br#"{"ociVersion":"1.2.0"}"#).unwrap();
    assert_eq!(Record::load(&global, "web").unwrap(), record);
    assert_eq!(place.read_config().unwrap().oci_version, "1.2.0");
    let names = std::fs::read_dir(dir.join("web")).unwrap().count();
    assert_eq!((names, std::fs::metadata(dir.join("web/record.json")).unwrap().mode() & 0o777), (2, 0o600));
    place.remove().unwrap();
    assert_eq!(Place::open(&global, "web").unwrap_err().message, "container does not exist");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn what_is_no_record_is_refused_with_its_path() {
    let (global, dir) = root();
    let place = Place::make(&global, "web").unwrap();
    let fails = |bytes: &[u8]| {
        place.write(RECORD, bytes).unwrap();
        Record::load(&global, "web").unwrap_err().message
    };
    assert!(fails(b"").contains("web/record.json"));
    assert!(fails(b"{\"version\":2}").contains("form 2"));
    assert!(fails(b"{\"version\":1,\"id\":\"web\"}").contains("missing field"));
    let mut other = Record::new("web");
    other.id = "other".to_owned();
    assert!(fails(&serde_json::to_vec(&other).unwrap()).contains("\"other\""));
    place.write("big", &[0; 100]).unwrap();
    assert!(place.read("big", 99).unwrap_err().message.contains("more than 99 bytes"));
    assert_eq!(place.read("big", 100).unwrap().unwrap().len(), 100);
    assert_eq!(place.read("none", 1).unwrap(), None);
    std::fs::remove_file(dir.join("web/record.json")).unwrap();
    symlink("/etc/passwd", dir.join("web/record.json")).unwrap();
    assert!(Record::load(&global, "web").is_err());
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn places_of_others_are_not_entered() {
    let (global, dir) = root();
    drop(Place::make(&global, "web").unwrap());
    symlink("web", dir.join("link")).unwrap();
    std::fs::write(dir.join("file"), "").unwrap();
    for name in ["link", "file", "none"] {
        assert_eq!(Place::open(&global, name).unwrap_err().message, "container does not exist", "{name}");
    }
    std::fs::set_permissions(dir.join("web"), std::fs::Permissions::from_mode(0o720)).unwrap();
    assert!(Place::open(&global, "web").unwrap_err().message.contains("can be written by others"));
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_lock_waits_and_sees_a_removal() {
    let (global, dir) = root();
    drop(Place::make(&global, "web").unwrap());
    let (place, first) = Place::locked(&global, "web", Use::Shared).unwrap();
    let second = Place::locked(&global, "web", Use::Shared).unwrap();
    drop(first);
    let order = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let locked = Place::locked(&global, "web", Use::Exclusive);
            (locked.map(drop).unwrap_err().message, order.load(Ordering::SeqCst))
        });
        std::thread::sleep(std::time::Duration::from_millis(100));
        place.remove().unwrap();
        // Another container has the id, and not the lock that was waited for.
        drop(Place::make(&global, "web").unwrap());
        order.store(1, Ordering::SeqCst);
        drop(second);
        assert_eq!(waits.join().unwrap(), ("container does not exist".to_owned(), 1));
    });
    assert!(Place::locked(&global, "web", Use::Exclusive).is_ok());
    std::fs::remove_dir_all(dir).unwrap();
}
