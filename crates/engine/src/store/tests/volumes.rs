use super::*;

fn volume(name: &str) -> NewVolume {
    NewVolume { name: name.to_owned(), created: 7, ..NewVolume::default() }
}

fn used(name: &str, target: &str, anonymous: bool) -> VolumeUse {
    let new = NewVolume { anonymous, ..volume(name) };
    VolumeUse { volume: name.to_owned(), target: target.to_owned(), anonymous, new: Some(new), ..VolumeUse::default() }
}

fn with(name: &str, volumes: Vec<VolumeUse>) -> NewContainer {
    NewContainer { volumes, ..named(name) }
}

fn listed(store: &Store) -> Vec<String> {
    store.list_volumes().unwrap().into_iter().map(|(record, _)| record.name).collect()
}

#[test]
fn a_volume_is_made_once_and_only_with_the_same_options() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let mut placed = Vec::new();
    let mut place = |name: &str| {
        placed.push(name.to_owned());
        Ok(())
    };
    assert!(store.create_volume(&volume("data"), &mut place).unwrap().1);
    assert!(!store.create_volume(&volume("data"), &mut place).unwrap().1);
    let mut other = volume("data");
    other.options.insert("type".to_owned(), "tmpfs".to_owned());
    assert!(matches!(store.create_volume(&other, &mut place), Err(StoreError::VolumeConflict { .. })));
    assert_eq!(placed, ["data"]);
    for bad in ["", ".x", "-x", "a/b", "a b", &"x".repeat(256)] {
        let refused = store.create_volume(&volume(bad), |_| Ok(()));
        assert!(matches!(refused, Err(StoreError::InvalidVolumeName { .. })), "{bad:?}");
    }
    // What cannot be put in place is not recorded.
    let full = store.create_volume(&volume("full"), |_| Err(std::io::Error::other("full")));
    assert!(matches!(full, Err(StoreError::Io { .. })));
    assert_eq!(listed(&store), ["data"]);
}

#[test]
fn a_container_and_its_volumes_come_and_go_together() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let uses = vec![used("data", "/d", false), used("data", "/again", false), used("aa", "/a", true)];
    let one = store.create_container(&with("one", uses.clone()), None).unwrap();
    assert_eq!(listed(&store), ["aa", "data"]);
    // A second container that cannot be leaves nothing.
    let failing = store.create_container_with(&with("two", vec![used("new", "/n", false)]), None, |_| {
        Err(std::io::Error::other("full"))
    });
    assert!(failing.is_err());
    assert!(store.find_container("two").is_err() && store.find_volume("new").is_err());
    let two = store.create_container(&with("two", uses), None).unwrap();
    let Err(StoreError::VolumeInUse { users, .. }) = store.remove_volume("data", |_| Ok(())) else { panic!("in use") };
    assert_eq!(users, [(one.id.clone(), "one".to_owned()), (two.id.clone(), "two".to_owned())]);
    // Anonymous volumes go with the last one that has them; others never.
    let mut retire = |_: &str| Ok(());
    assert_eq!(store.remove_container_with(&one.id, Some(&mut retire)).unwrap(), []);
    let gone = store.remove_container_with(&two.id, Some(&mut retire)).unwrap();
    // With their records: whoever removes them takes back what they hold of the file system.
    assert_eq!(gone.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["aa"]);
    assert_eq!(listed(&store), ["data"]);
    store.remove_volume("data", |_| Ok(())).unwrap();
    assert!(matches!(store.remove_volume("data", |_| Ok(())), Err(StoreError::NoSuchVolume { .. })));
}

#[test]
fn what_was_looked_at_must_still_be_there() {
    let scratch = Scratch::new();
    let store = scratch.open();
    store.create_volume(&volume("data"), |_| Ok(())).unwrap();
    let seen = |when| VolumeUse { seen: Some(when), new: None, ..used("data", "/d", false) };
    store.create_container(&with("one", vec![seen(7)]), None).unwrap();
    let replaced = store.create_container(&with("two", vec![seen(8)]), None);
    assert!(matches!(replaced, Err(StoreError::VolumeConflict { .. })));
    let gone = VolumeUse { volume: "gone".to_owned(), ..seen(7) };
    let missing = store.create_container(&with("two", vec![gone]), None);
    assert!(matches!(missing, Err(StoreError::NoSuchVolume { .. })));
    let alone = VolumeUse { exclusive: true, ..seen(7) };
    let held = store.create_container(&with("two", vec![alone]), None);
    assert!(matches!(held, Err(StoreError::VolumeHeld { holder, .. }) if holder == "one"));
}

#[test]
fn a_prune_takes_all_that_nobody_uses_or_nothing() {
    let scratch = Scratch::new();
    let store = scratch.open();
    for name in ["a1", "b2", "c3"] {
        store.create_volume(&volume(name), |_| Ok(())).unwrap();
    }
    store.create_container(&with("one", vec![used("b2", "/b", false)]), None).unwrap();
    let failing =
        store.prune_volumes(|_| true, |name| if name == "c3" { Err(std::io::Error::other("busy")) } else { Ok(()) });
    assert!(failing.is_err());
    assert_eq!(listed(&store), ["a1", "b2", "c3"]);
    let gone = store.prune_volumes(|record| record.name != "a1", |_| Ok(())).unwrap();
    assert_eq!(gone.iter().map(|record| record.name.as_str()).collect::<Vec<_>>(), ["c3"]);
    assert_eq!(listed(&store), ["a1", "b2"]);
}
