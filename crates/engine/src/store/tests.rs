use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::request::ContainerRequest;

mod networks;
mod volumes;

/// A store of its own below the temporary directory, deleted at the end.
struct Scratch(Paths, PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("bulkhead-store-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let top = std::env::temp_dir().join(name);
        Scratch(Paths { root: top.join("root"), run: top.join("run") }, top)
    }

    fn open(&self) -> Store {
        Store::open(&self.0).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.1));
    }
}

fn hex(digit: char) -> String {
    digit.to_string().repeat(64)
}

fn named(name: &str) -> NewContainer {
    NewContainer { name: Some(name.to_owned()), created: 7, ..NewContainer::default() }
}

fn with_id(name: &str, id: &str) -> NewContainer {
    NewContainer { id: Some(id.to_owned()), ..named(name) }
}

fn wish() -> Option<RangeWish<'static>> {
    Some(RangeWish { pool: RangePool { start: 100_000, count: 64 }, forbidden: &[], beside: None })
}

fn image(id: char, chains: &[char], references: &[&str]) -> NewImage {
    let layer =
        |c: &char| NewLayer { chain_id: format!("sha256:{}", hex(*c)), diff_id: hex('d'), bytes: 10, entries: 2 };
    NewImage {
        id: format!("sha256:{}", hex(id)),
        config_json: "{}".to_owned(),
        created: 5,
        size: 20,
        layers: chains.iter().map(layer).collect(),
        references: references.iter().map(|text| (*text).to_owned()).collect(),
        ..NewImage::default()
    }
}

#[test]
fn directories_are_private_and_the_database_too() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let store = scratch.open();
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let paths = store.paths();
    for dir in [paths.root.clone(), paths.run.clone(), paths.layers(), paths.blobs(), paths.staging()] {
        assert_eq!(mode(dir), 0o700);
    }
    assert_eq!(mode(paths.db()), 0o600);
}

#[test]
fn a_directory_others_can_write_to_is_refused_and_left_alone() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    std::fs::create_dir_all(&scratch.0.root).unwrap();
    std::fs::set_permissions(&scratch.0.root, std::fs::Permissions::from_mode(0o1777)).unwrap();
    let error = Store::open(&scratch.0).unwrap_err();
    assert!(matches!(error, StoreError::OpenDirectory { mode: 0o1777, .. }), "{error}");
    assert_eq!(std::fs::metadata(&scratch.0.root).unwrap().permissions().mode() & 0o7777, 0o1777);
}

#[test]
fn a_file_in_the_place_of_a_directory_is_refused() {
    let scratch = Scratch::new();
    std::fs::create_dir_all(&scratch.1).unwrap();
    std::fs::write(&scratch.0.run, "").unwrap();
    assert!(matches!(Store::open(&scratch.0), Err(StoreError::NotADirectory { .. })));
}

#[test]
fn a_directory_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let scratch = Scratch::new();
    std::fs::create_dir_all(&scratch.0.root).unwrap();
    std::os::unix::fs::chown(&scratch.0.root, Some(4242), None).unwrap();
    assert!(matches!(Store::open(&scratch.0), Err(StoreError::ForeignOwner { owner: 4242, .. })));
    // A link that somebody else made is not followed, even to a directory of ours.
    std::fs::remove_dir(&scratch.0.root).unwrap();
    std::fs::create_dir(scratch.1.join("ours")).unwrap();
    std::os::unix::fs::symlink(scratch.1.join("ours"), &scratch.0.root).unwrap();
    std::os::unix::fs::lchown(&scratch.0.root, Some(4242), None).unwrap();
    assert!(matches!(Store::open(&scratch.0), Err(StoreError::ForeignOwner { owner: 4242, .. })));
}

#[test]
fn a_container_keeps_what_was_asked_over_a_reopening() {
    let scratch = Scratch::new();
    let request = ContainerRequest { image: "alpine".to_owned(), tty: true, ..ContainerRequest::default() };
    let store = scratch.open();
    let record = store.create_container(&NewContainer { request, ..named("web") }, wish()).unwrap();
    assert_eq!(record.id.len(), 64);
    assert_eq!(record.range, Some(IdRange { start: 100_000, count: SLOT }));
    store.set_spec(&record.id, b"{\"a\":1}", true).unwrap();
    drop(store);
    let store = scratch.open();
    let found = store.find_container("web").unwrap();
    assert_eq!(found, ContainerRecord { spec: Some(b"{\"a\":1}".to_vec()), ready: true, ..record });
    assert_eq!(store.find_container("/web").unwrap().id, found.id);
    assert_eq!(store.list_containers().unwrap(), [found]);
}

#[test]
fn a_name_is_taken_once_and_free_after_the_removal() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let first = store.create_container(&named("web"), wish()).unwrap();
    let error = store.create_container(&named("web"), wish()).unwrap_err();
    assert!(matches!(&error, StoreError::NameInUse { holder, .. } if *holder == first.id), "{error}");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    store.remove_container(&first.id).unwrap();
    let error = store.remove_container(&first.id).unwrap_err();
    assert_eq!(error.to_string(), format!("No such container: {}", first.id));
    let again = store.create_container(&named("web"), wish()).unwrap();
    assert_eq!(again.range, first.range);
    assert!(matches!(store.create_container(&named("a b"), None), Err(StoreError::InvalidName { .. })));
}

#[test]
fn a_failed_creation_takes_nothing() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let none = RangeWish { pool: RangePool { start: 0, count: 0 }, forbidden: &[], beside: None };
    assert!(matches!(store.create_container(&named("web"), Some(none)), Err(StoreError::NoRangeLeft { .. })));
    let unknown = NewContainer { image_id: Some(hex('9')), ..named("web") };
    assert!(matches!(store.create_container(&unknown, wish()), Err(StoreError::NoSuchImage { .. })));
    assert_eq!(store.list_containers().unwrap(), []);
    assert_eq!(store.create_container(&named("web"), wish()).unwrap().range.unwrap().start, 100_000);
}

#[test]
fn lookups_by_name_id_and_prefix() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let (one, two) = (format!("abc1{}", "0".repeat(60)), format!("abc2{}", "0".repeat(60)));
    store.create_container(&with_id("one", &one), None).unwrap();
    store.create_container(&with_id("two", &two), None).unwrap();
    // A name that looks like the start of an id wins over the id.
    store.create_container(&with_id("abc2", &hex('e')), None).unwrap();
    assert_eq!(store.find_container("abc1").unwrap().name, "one");
    assert_eq!(store.find_container("ABC1").unwrap().name, "one");
    assert_eq!(store.find_container(&two).unwrap().name, "two");
    assert_eq!(store.find_container("abc2").unwrap().name, "abc2");
    let error = store.find_container("abc").unwrap_err();
    assert_eq!(error.to_string(), "Multiple IDs found with provided prefix: abc");
    for missing in ["", "/", "web", "abcd", "%", &hex('f'), &format!("{}0", hex('e'))] {
        let error = store.find_container(missing).unwrap_err();
        assert_eq!(error.to_string(), format!("No such container: {missing}"));
    }
}

#[test]
fn generated_names_differ() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let new = NewContainer::default();
    let mut names: Vec<String> = (0..50).map(|_| store.create_container(&new, None).unwrap().name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 50);
}

#[test]
fn threads_race_for_names_and_ranges() {
    let scratch = Scratch::new();
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let paths = scratch.0.clone();
            std::thread::spawn(move || race(&paths, worker))
        })
        .collect();
    let won: usize = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
    check_race(&scratch.open(), won, 4);
}

/// Ten names that everybody wants, and ten of one's own; returns how many of the former were won.
fn race(paths: &Paths, worker: u32) -> usize {
    let store = Store::open(paths).unwrap();
    let mut won = 0;
    for round in 0..10 {
        match store.create_container(&named(&format!("shared-{round}")), wish()) {
            Ok(_) => won += 1,
            Err(StoreError::NameInUse { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        store.create_container(&named(&format!("own-{worker}-{round}")), wish()).unwrap();
    }
    won
}

fn check_race(store: &Store, won: usize, workers: usize) {
    assert_eq!(won, 10);
    let mut starts: Vec<u32> =
        store.list_containers().unwrap().iter().map(|record| record.range.unwrap().start).collect();
    starts.sort_unstable();
    // No slot twice, and none left out.
    let expected: Vec<u32> = (0u32..).map(|slot| 100_000 + slot * SLOT).take(10 + workers * 10).collect();
    assert_eq!(starts, expected);
}

/// The other side of [`processes_race_for_names_and_ranges`]: does nothing unless that test starts it.
#[test]
fn race_child() {
    let (Some(top), Some(worker)) = (std::env::var_os("STORE_RACE_TOP"), std::env::var("STORE_RACE_WORKER").ok())
    else {
        return;
    };
    let top = PathBuf::from(top);
    let paths = Paths { root: top.join("root"), run: top.join("run") };
    let won = race(&paths, worker.parse().unwrap());
    std::fs::write(top.join(format!("won-{worker}")), won.to_string()).unwrap();
}

#[test]
fn processes_race_for_names_and_ranges() {
    let scratch = Scratch::new();
    std::fs::create_dir_all(&scratch.1).unwrap();
    let program = std::env::current_exe().unwrap();
    let start = |worker: &str| {
        std::process::Command::new(&program)
            .args(["--exact", "store::tests::race_child"])
            .env("STORE_RACE_TOP", &scratch.1)
            .env("STORE_RACE_WORKER", worker)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let children = ["0", "1"].map(start);
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let won =
        |worker| std::fs::read_to_string(scratch.1.join(format!("won-{worker}"))).unwrap().parse::<usize>().unwrap();
    check_race(&scratch.open(), won(0) + won(1), 2);
}

/// The other side of [`a_killed_writer_leaves_nothing`]: holds a transaction open until it is killed.
#[test]
fn kill_child() {
    let Some(top) = std::env::var_os("STORE_KILL_TOP").map(PathBuf::from) else {
        return;
    };
    let store = Store::open(&Paths { root: top.join("root"), run: top.join("run") }).unwrap();
    store.create_container(&named("kept"), wish()).unwrap();
    let stop = store.add_image_with(&image('a', &['1'], &["x:1"]), |_| {
        std::fs::write(top.join("inside"), "").unwrap();
        std::thread::sleep(Duration::from_secs(60));
        Ok(())
    });
    drop(stop);
}

#[test]
fn a_killed_writer_leaves_nothing() {
    let scratch = Scratch::new();
    std::fs::create_dir_all(&scratch.1).unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::kill_child"])
        .env("STORE_KILL_TOP", &scratch.1)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !scratch.1.join("inside").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the child ended too early");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let store = scratch.open();
    assert_eq!(store.find_container("kept").unwrap().range.unwrap().start, 100_000);
    assert_eq!(store.list_images().unwrap(), []);
    assert_eq!(store.known_layers().unwrap(), Vec::<String>::new());
    store.create_container(&named("next"), wish()).unwrap();
}

#[test]
fn a_damaged_database_gives_one_clear_error() {
    let scratch = Scratch::new();
    drop(scratch.open());
    for suffix in ["", "-wal", "-shm"] {
        drop(std::fs::remove_file(scratch.0.root.join(format!("bulkhead.db{suffix}"))));
    }
    std::fs::write(scratch.0.db(), "this is not a database, it is a letter to my aunt. ".repeat(100)).unwrap();
    let error = Store::open(&scratch.0).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().ends_with("bulkhead.db\" is damaged"), "{error}");
    assert!(error.hint().unwrap().contains("backup"));
}

#[test]
fn a_database_of_the_future_is_not_touched() {
    let scratch = Scratch::new();
    let store = scratch.open();
    store.conn.pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    assert!(matches!(Store::open(&scratch.0), Err(StoreError::TooNew { found: 99, .. })));
}

#[test]
fn images_are_found_by_reference_id_and_prefix() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let added = store.add_image(&image('a', &['1', '2'], &["docker.io/library/x:1"])).unwrap();
    assert!(added.new);
    assert_eq!(added.new_layers, [hex('1'), hex('2')]);
    let again = store.add_image(&image('a', &['1', '2'], &["docker.io/library/x:1"])).unwrap();
    assert_eq!((again.new, again.new_layers.len(), again.moved.len()), (false, 0, 0));
    store.add_image(&image('b', &['1', '3'], &[])).unwrap();
    let by = |written: &str, canonical| store.resolve_image(written, canonical).map(|image| image.id);
    assert_eq!(by("x:1", Some("docker.io/library/x:1")).unwrap(), hex('a'));
    assert_eq!(by("aaa", Some("docker.io/library/aaa:latest")).unwrap(), hex('a'));
    assert_eq!(by("sha256:bb", None).unwrap(), hex('b'));
    assert_eq!(by(&hex('b'), None).unwrap(), hex('b'));
    assert_eq!(by("y", None).unwrap_err().to_string(), "No such image: y");
    let found = store.resolve_image("aa", None).unwrap();
    assert_eq!(found.layers, [hex('1'), hex('2')]);
    assert_eq!((found.size, found.created, found.references.len()), (20, 5, 1));
    assert_eq!(store.tag(&hex('b'), "docker.io/library/x:1").unwrap(), Some(hex('a')));
    assert_eq!(store.list_images().unwrap().len(), 2);
    assert!(matches!(store.tag(&hex('c'), "z:1"), Err(StoreError::NoSuchImage { .. })));
}

#[test]
fn an_image_goes_with_its_last_reference_and_only_when_unused() {
    let scratch = Scratch::new();
    let store = scratch.open();
    store.add_image(&image('a', &['1', '2'], &["x:1", "x:2"])).unwrap();
    store.add_image(&image('b', &['1', '3'], &["y:1"])).unwrap();
    let remove = |written: &str, force| store.remove_image(written, Some(written), force);
    assert!(matches!(remove("aaaa", false), Err(StoreError::ImageHasReferences { .. })));
    let first = remove("x:1", false).unwrap();
    assert_eq!((first.untagged.len(), first.deleted, first.free_layers.len()), (1, None, 0));
    let user = NewContainer { image_id: Some(hex('a')), ..named("web") };
    let container = store.create_container(&user, None).unwrap();
    for (written, force) in [("x:2", false), ("aaaa", true)] {
        let error = remove(written, force).unwrap_err();
        assert!(matches!(&error, StoreError::ImageInUse { container_name, .. } if container_name == "web"), "{error}");
    }
    store.remove_container(&container.id).unwrap();
    let second = remove("x:2", false).unwrap();
    assert_eq!(second.deleted, Some(hex('a')));
    assert_eq!(second.free_layers, [hex('2')]);
    assert_eq!(store.known_layers().unwrap(), [hex('1'), hex('3')]);
}

#[test]
fn a_layer_callback_that_fails_undoes_the_change() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let full = || Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
    assert!(matches!(store.add_image_with(&image('a', &['1'], &["x:1"]), |_| full()), Err(StoreError::Io { .. })));
    assert_eq!(store.known_layers().unwrap(), Vec::<String>::new());
    store.add_image(&image('a', &['1'], &["x:1"])).unwrap();
    assert!(store.remove_image_with("x:1", Some("x:1"), false, |_| full()).is_err());
    assert_eq!(store.list_images().unwrap()[0].references, ["x:1"]);
}

#[test]
fn ids_are_random_hex() {
    let (one, two) = (new_id().unwrap(), new_id().unwrap());
    assert_ne!(one, two);
    assert_eq!(hex_digest(&one), Some(one));
}

/// Whoever shares a user namespace holds its ids too: they are free when the last holder is gone, and not before.
#[test]
fn a_range_is_held_by_all_who_live_in_it() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let make = |beside: Option<&str>| {
        let wish = RangeWish { beside, ..wish().unwrap() };
        store.create_container(&NewContainer::default(), Some(wish)).unwrap()
    };
    let first = make(None);
    let second = make(Some(&first.id));
    assert_eq!(second.range, first.range);
    store.remove_container(&first.id).unwrap();
    let third = make(None);
    assert_ne!(third.range, second.range, "still held by the second");
    assert_eq!(store.find_container(&second.id).unwrap().range, second.range);
    store.remove_container(&second.id).unwrap();
    store.remove_container(&third.id).unwrap();
    assert_eq!(make(None).range, first.range, "free again");
    let gone = RangeWish { beside: Some(&first.id), ..wish().unwrap() };
    assert!(matches!(
        store.create_container(&NewContainer::default(), Some(gone)),
        Err(StoreError::NoSuchContainer { .. })
    ));
}

/// What the first version wrote is read: fields that came later have their defaults.
#[test]
fn requests_of_the_first_version_are_read() {
    let text = r#"{"image":"a","args":[],"entrypoint":null,"name":null,"env":[],"labels":[],"user":null,"group_add":[],
        "workdir":null,"hostname":null,"stdin":false,"tty":false,"detach":true,"auto_remove":false,"init":false,
        "read_only":false,"profile":"default","privileged":false,"cap_add":[],"cap_drop":[],
        "security":{"no_new_privileges":null,"seccomp":"builtin","apparmor":null,"selinux":[],"unmask_kernel_paths":false},
        "mounts":[{"type":"tmpfs","target":"/m","size":null,"mode":null,"exec":false,"read_only":false},
            {"type":"bind","source":"/a","target":"/b","read_only":true,"exec":false,"create_source":false}],
        "sysctls":[],"limits":{"memory":null,"memory_swap":null,"memory_reservation":null,"milli_cpus":null,
        "cpu_shares":null,"cpuset_cpus":null,"cpuset_mems":null,"pids":null,"blkio_weight":null,"device_rates":[],
        "shm_size":null,"ulimits":[],"oom_score_adj":null,"unified":[]},"network":null,"publish":[],"stop_signal":null,
        "stop_timeout":null}"#;
    let read: ContainerRequest = serde_json::from_str(text).unwrap();
    assert_eq!(read.mounts.len(), 2);
    let resources = r#"{"memory":1,"swap":0,"memory_reservation":null,"milli_cpus":null,"cpu_shares":null,
        "cpuset_cpus":null,"cpuset_mems":null,"pids":7,"pids_required":true,"blkio_weight":null,"device_rates":[],
        "hugetlb":[],"unified":[]}"#;
    let read: bulkhead_sandbox::spec::Resources = serde_json::from_str(resources).unwrap();
    assert_eq!((read.pids, read.swappiness), (Some(7), None));
    let tmpfs =
        r#"{"tmpfs":{"target":"/m","size":1,"mode":511,"flags":{"read_only":false,"exec":false},"directories":[]}}"#;
    let read: Result<bulkhead_sandbox::spec::Mount, _> = serde_json::from_str(tmpfs);
    assert!(
        read.is_ok()
            || serde_json::from_str::<bulkhead_sandbox::spec::Mount>(&tmpfs.replace("\"tmpfs\"", "\"Tmpfs\"")).is_ok(),
        "{read:?}"
    );
}

#[test]
fn an_image_is_known_by_digests_and_goes_with_the_last_name() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let digest = |name: &str, of: char| format!("{name}@sha256:{}", hex(of));
    let mut new = image('a', &['1', '2'], &["docker.io/library/x:1"]);
    new.digests = vec![digest("docker.io/library/x", 'f')];
    new.blobs = vec![LayerBlob {
        chain_id: hex('1'),
        place: "registry-1.docker.io/library/x".to_owned(),
        digest: format!("sha256:{}", hex('e')),
        size: 7,
        media: "m".to_owned(),
    }];
    store.add_image(&new).unwrap();
    store.add_image(&new).unwrap();
    assert_eq!(store.blobs_of(&hex('1')).unwrap().len(), 1);
    let name = digest("docker.io/library/x", 'f');
    assert_eq!(store.resolve_image("x", Some(&name)).unwrap().id, hex('a'));
    // Pushed to another registry.
    let other = digest("r.example/x", 'd');
    store.remember_pushed(&hex('a'), &other, &[]).unwrap();
    assert_eq!(store.resolve_image("", Some(&other)).unwrap().digests, [name.clone(), other.clone()]);
    // A digest goes alone while there is another name.
    let removed = store.remove_image("", Some(&other), false).unwrap();
    assert_eq!((removed.untagged, removed.deleted), (vec![other], None));
    let removed = store.remove_image("", Some("docker.io/library/x:1"), false).unwrap();
    assert_eq!((removed.untagged.len(), removed.deleted), (2, Some(hex('a'))));
    assert!(store.blobs_of(&hex('1')).unwrap().is_empty(), "what registries have of a layer goes with it");
    // One that has only a digest.
    new.references.clear();
    store.add_image(&new).unwrap();
    let removed = store.remove_image("", Some(&name), false).unwrap();
    assert_eq!((removed.untagged, removed.deleted), (vec![name], Some(hex('a'))));
    assert!(store.dangling_rows().unwrap().is_empty());
}
