use super::*;
use crate::cgroup::devices::tests::run;

fn asked(allow: bool, kind: &str, major: i64, minor: i64, access: &str) -> DeviceCgroup {
    let number = |n| (n != -2).then_some(n);
    DeviceCgroup { allow, kind: kind.into(), major: number(major), minor: number(minor), access: access.into() }
}

/// What the rules mean: for each letter the last rule that is about it decides.
fn meant(list: &DeviceList, kind: Kind, major: u32, minor: u32, wanted: u8) -> bool {
    [MKNOD, READ, WRITE].into_iter().filter(|bit| wanted & bit != 0).all(|bit| {
        let last = list.rules.iter().rev().find(|r| {
            r.kind.is_none_or(|k| k == kind)
                && r.major.is_none_or(|n| n == major)
                && r.minor.is_none_or(|n| n == minor)
                && r.bits & bit != 0
        });
        last.is_some_and(|r| r.allow)
    })
}

/// The device controller of version 1 as `security/device_cgroup.c` has it: matching of a request, and what a write
/// to either file does to the list.
#[derive(Default)]
struct Kernel {
    allow: bool,
    exceptions: Vec<(Key, u8)>,
}

impl Kernel {
    fn write(&mut self, allow: bool, value: &str) {
        if value == "a" {
            *self = Self { allow, exceptions: Vec::new() };
            return;
        }
        let parsed = V1List::read(value).unwrap();
        let (key, bits) = parsed.exceptions.into_iter().next().unwrap();
        let found = self.exceptions.iter().position(|(k, _)| *k == key);
        match (allow == self.allow, found) {
            (true, Some(i)) => self.exceptions[i].1 &= !bits,
            (true, None) => {}
            (false, Some(i)) => self.exceptions[i].1 |= bits,
            (false, None) => self.exceptions.push((key, bits)),
        }
        self.exceptions.retain(|(_, bits)| *bits != 0);
    }

    fn may(&self, kind: Kind, major: u32, minor: u32, wanted: u8) -> bool {
        let about =
            |(k, _): &&(Key, u8)| k.0 == kind && k.1.is_none_or(|n| n == major) && k.2.is_none_or(|n| n == minor);
        if self.allow {
            // Any letter of any exception refuses.
            !self.exceptions.iter().filter(about).any(|(_, bits)| bits & wanted != 0)
        } else {
            // One exception has to hold all letters.
            self.exceptions.iter().filter(about).any(|(_, bits)| wanted & !bits == 0)
        }
    }
}

fn kernel_after(list: &DeviceList) -> Option<Kernel> {
    let target = V1List::of(list).ok()?;
    let mut kernel = Kernel { allow: true, ..Kernel::default() };
    let from = V1List { allow: true, exceptions: BTreeMap::new() };
    for (allow, value) in target.writes_from(&from) {
        kernel.write(allow, &value);
    }
    Some(kernel)
}

const NUMBERS: [(u32, u32); 6] = [(1, 3), (1, 4), (8, 3), (10, 200), (136, 9), (5, 2)];

/// Every request against every device of interest: `(kind, major, minor, wanted)`.
fn requests() -> impl Iterator<Item = (Kind, u32, u32, u8)> {
    [Kind::Block, Kind::Char].into_iter().flat_map(|kind| {
        NUMBERS.into_iter().flat_map(move |(major, minor)| (1..=ALL).map(move |wanted| (kind, major, minor, wanted)))
    })
}

#[test]
fn the_program_means_what_the_rules_mean_for_every_pair_of_rules() {
    let kinds = ["a", "b", "c"];
    let numbers = [(-1, -1), (1, -1), (-1, 3), (1, 3)];
    let accesses = ["rwm", "r", "wm"];
    let mut single = Vec::new();
    for allow in [false, true] {
        for kind in kinds {
            for (major, minor) in numbers {
                single.extend(accesses.map(|access| asked(allow, kind, major, minor, access)));
            }
        }
    }
    let (mut lists, mut refused) = (0, 0);
    for first in &single {
        for second in &single {
            let list = DeviceList::of(&[first.clone(), second.clone()]).unwrap();
            let program = program(&list);
            let kernel = kernel_after(&list);
            lists += 1;
            refused += i32::from(kernel.is_none());
            for (kind, major, minor, wanted) in requests() {
                let number = if kind == Kind::Block { 1 } else { 2 };
                let meant = meant(&list, kind, major, minor, wanted);
                let told = run(&program, number, wanted.into(), major, minor);
                assert_eq!(told, meant, "v2 {list:?} {kind:?} {major}:{minor} {wanted}");
                if let Some(kernel) = &kernel {
                    // Letters of two exceptions do not add up on version 1: it may refuse more, never less.
                    let may = kernel.may(kind, major, minor, wanted);
                    assert!(meant || !may, "v1 {list:?} {kind:?} {major}:{minor} {wanted}");
                    if wanted.count_ones() == 1 {
                        assert_eq!(may, meant, "v1 {list:?} {kind:?} {major}:{minor} {wanted}");
                    }
                }
            }
        }
    }
    assert_eq!(lists, 72 * 72);
    assert!(refused > 100 && refused < lists / 2, "{refused} of {lists}");
}

#[test]
fn what_engines_send_means_the_same_in_both_dialects() {
    let sent = [
        asked(false, "", -2, -2, "rwm"),
        asked(true, "c", 10, 229, "rwm"),
        asked(true, "b", -1, -1, "m"),
        asked(true, "b", 8, 3, "r"),
    ];
    let list = DeviceList::of(&sent).unwrap();
    let (program, kernel) = (program(&list), kernel_after(&list).unwrap());
    for (kind, major, minor, wanted) in requests() {
        let number = if kind == Kind::Block { 1 } else { 2 };
        assert_eq!(run(&program, number, wanted.into(), major, minor), meant(&list, kind, major, minor, wanted));
    }
    assert!(kernel.may(Kind::Char, 1, 3, ALL) && kernel.may(Kind::Char, 136, 70, ALL));
    assert!(kernel.may(Kind::Block, 8, 3, READ) && !kernel.may(Kind::Block, 8, 3, WRITE));
    assert!(kernel.may(Kind::Block, 9, 9, MKNOD), "any node can be made");
    assert!(!kernel.may(Kind::Char, 10, 200, READ | WRITE), "a tunnel is no usual device");
    let privileged = DeviceList::of(&[asked(true, "a", -1, -1, "rwm")]).unwrap();
    assert!(kernel_after(&privileged).unwrap().may(Kind::Block, 8, 0, ALL));
    let none = kernel_after(&DeviceList::of(&[]).unwrap()).unwrap();
    assert!(none.may(Kind::Char, 1, 3, ALL) && !none.may(Kind::Block, 8, 0, READ));
}

#[test]
fn a_change_takes_nothing_away_that_stays() {
    let target = V1List::read("c 1:3 rwm\nc 5:* r\n").unwrap();
    let current = V1List::read("c 1:3 rw\nc 5:* rw\nb *:* m\n").unwrap();
    let writes = target.writes_from(&current);
    let wanted = [(true, "c 1:3 m"), (false, "b *:* m"), (false, "c 5:* w")];
    assert_eq!(writes, wanted.map(|(allow, value)| (allow, value.to_owned())));
    assert_eq!(target.writes_from(&target), []);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let of = |rule| DeviceList::of(&[rule]).unwrap_err().to_string();
    for (rule, name) in [
        (asked(true, "x", 1, 3, "r"), "devices[0].type"),
        (asked(true, "c", 1, 3, ""), "devices[0].access"),
        (asked(true, "c", 1, 3, "rx"), "devices[0].access"),
        (asked(true, "c", 4096, 3, "r"), "devices[0].major"),
        (asked(true, "c", -7, 3, "r"), "devices[0].major"),
        (asked(true, "c", 1, 1 << 20, "r"), "devices[0].minor"),
    ] {
        let text = of(rule);
        assert!(text.contains(&format!("linux.resources.{name}")), "{text}");
    }
    let hole = [asked(true, "c", 1, -1, "rw"), asked(false, "c", 1, 11, "w")];
    let error = V1List::of(&DeviceList::of(&hole).unwrap()).unwrap_err();
    assert!(error.limit.ends_with("devices[1]"), "{error}");
    let usual = [asked(true, "a", -1, -1, "rwm"), asked(false, "c", 5, -1, "rw")];
    let error = V1List::of(&DeviceList::of(&usual).unwrap()).unwrap_err();
    assert!(error.limit.ends_with("the usual ones"), "{error}");
    assert!(DeviceList::of(&vec![asked(true, "c", 1, 3, "r"); MOST + 1]).is_err());
}
