//! Mount options as `mount(8)` and the specification have them.

use bulkhead_sys::mount::{
    ATIME, NOATIME, NODEV, NODIRATIME, NOEXEC, NOSUID, NOSYMFOLLOW, PRIVATE, RDONLY, SHARED, SLAVE, STRICTATIME,
    UNBINDABLE,
};

use super::step::Attributes;

/// How the ids of a mount are shifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdMap {
    /// The mount itself.
    Top,
    /// With the mounts below it.
    Recursive,
}

/// What the options of one mount say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Attributes.
    pub attributes: Attributes,
    /// Some word is about an attribute of the mount itself, though it may ask for what is so anyway.
    pub named: bool,
    /// It is a bind.
    pub bind: bool,
    /// With what is mounted below the source.
    pub recursive: bool,
    /// Only the attributes of what is mounted there change.
    pub remount: bool,
    /// The content of the directory below is copied into it.
    pub copy_up: bool,
    /// Ids are shifted.
    pub id_map: Option<IdMap>,
    /// For the file system: one without a value is a flag.
    pub data: Vec<(String, Option<String>)>,
}

/// What a bind can take from a mount, beside its times of access.
const RESTRICTIONS: u64 = RDONLY | NOSUID | NODEV | NOEXEC | NOSYMFOLLOW;

/// Words that ask for what a mount has anyway: the kernel keeps the times of access as they are unless one is named.
const AS_IT_IS: [&str; 3] = ["atime", "norelatime", "nostrictatime"];

/// Attribute words: (word, bits, set or cleared). Each has a recursive form with `r` before it.
const ATTRIBUTES: [(&str, u64, bool); 15] = [
    ("ro", RDONLY, true),
    ("rw", RDONLY, false),
    ("nosuid", NOSUID, true),
    ("suid", NOSUID, false),
    ("nodev", NODEV, true),
    ("dev", NODEV, false),
    ("noexec", NOEXEC, true),
    ("exec", NOEXEC, false),
    ("nodiratime", NODIRATIME, true),
    ("diratime", NODIRATIME, false),
    ("nosymfollow", NOSYMFOLLOW, true),
    ("symfollow", NOSYMFOLLOW, false),
    ("noatime", NOATIME, true),
    ("strictatime", STRICTATIME, true),
    ("relatime", 0, true),
];

const PROPAGATION: [(&str, u64); 4] =
    [("shared", SHARED), ("slave", SLAVE), ("private", PRIVATE), ("unbindable", UNBINDABLE)];

/// Words of the superblock that the kernel takes as flags by `fsconfig(2)`.
const SUPERBLOCK: [&str; 9] =
    ["sync", "async", "dirsync", "mand", "nomand", "lazytime", "nolazytime", "iversion", "noiversion"];

/// Words that say nothing about the mount.
const QUIET: [&str; 4] = ["defaults", "silent", "loud", "norbind"];

/// All words that are no data of a file system, sorted: what `features` lists.
#[must_use]
pub fn known() -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for (word, _, _) in ATTRIBUTES {
        all.extend([word.to_owned(), format!("r{word}")]);
    }
    for word in AS_IT_IS {
        all.extend([word.to_owned(), format!("r{word}")]);
    }
    for (word, _) in PROPAGATION {
        all.extend([word.to_owned(), format!("r{word}")]);
    }
    all.extend(SUPERBLOCK.iter().chain(QUIET.iter().filter(|w| **w != "norbind")).map(|w| (*w).to_owned()));
    all.extend(["bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap"].map(str::to_owned));
    all.sort();
    all
}

/// The propagation that a word means, and whether it goes for what is below.
pub(super) fn propagation(word: &str) -> Option<(u64, bool)> {
    let find = |word: &str| PROPAGATION.iter().find(|(w, _)| *w == word).map(|(_, bit)| *bit);
    find(word).map(|bit| (bit, false)).or_else(|| Some((find(word.strip_prefix('r')?)?, true)))
}

fn attribute(word: &str) -> Option<(u64, bool)> {
    ATTRIBUTES.iter().find(|(w, _, _)| *w == word).map(|(_, bits, set)| (*bits, *set))
}

/// The times of access are a number in the bits, not bits of their own.
fn is_atime(word: &str) -> bool {
    matches!(word, "noatime" | "strictatime" | "relatime")
}

fn apply(set: &mut u64, clear: &mut u64, word: &str, (bits, on): (u64, bool)) {
    if is_atime(word) {
        *set = *set & !ATIME | bits;
        *clear |= ATIME;
    } else if on {
        *set |= bits;
        *clear &= !bits;
    } else {
        *clear |= bits;
        *set &= !bits;
    }
}

impl Options {
    /// The attributes as a bind has them: as with `mount --bind -o`, times of access are as in the source unless a word
    /// sets them, which then decides of all of them; and of the other restrictions of the source, those that `lockable`
    /// leaves stay only where no word is about any.
    #[must_use]
    pub(super) fn of_bind(&self, lockable: u64) -> Attributes {
        let mut a = self.attributes;
        if a.clear & ATIME != 0 || a.set & NODIRATIME != 0 {
            a.clear |= ATIME | NODIRATIME;
        } else {
            a.clear &= !NODIRATIME;
        }
        if self.named {
            a.clear_if_free = RESTRICTIONS & !a.set & !a.clear & !lockable;
        }
        a
    }

    /// Reads them; a later word wins over an earlier one.
    #[must_use]
    pub fn read(words: &[String]) -> Self {
        let mut all = Self::default();
        for word in words {
            all.word(word);
        }
        all
    }

    fn word(&mut self, word: &str) {
        let a = &mut self.attributes;
        match word {
            "bind" => self.bind = true,
            "rbind" => (self.bind, self.recursive) = (true, true),
            "remount" => self.remount = true,
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.id_map = Some(IdMap::Top),
            "ridmap" => self.id_map = Some(IdMap::Recursive),
            _ if AS_IT_IS.contains(&word) => self.named = true,
            _ if QUIET.contains(&word) || AS_IT_IS.contains(&word.strip_prefix('r').unwrap_or(word)) => {}
            _ => {
                if let Some(found) = attribute(word) {
                    self.named = true;
                    apply(&mut a.set, &mut a.clear, word, found);
                } else if let Some((bit, below)) = propagation(word) {
                    *(if below { &mut a.propagation_below } else { &mut a.propagation }) = bit;
                } else if let Some((plain, found)) = word.strip_prefix('r').and_then(|p| Some((p, attribute(p)?))) {
                    apply(&mut a.set_below, &mut a.clear_below, plain, found);
                } else {
                    let (key, value) = match word.split_once('=') {
                        Some((key, value)) => (key, Some(value.to_owned())),
                        None => (word, None),
                    };
                    self.data.push((key.to_owned(), value));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &str) -> Options {
        Options::read(&words.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_later_word_wins() {
        let a = read("ro,nosuid,rw").attributes;
        assert_eq!((a.set, a.clear), (NOSUID, RDONLY));
        let a = read("noatime,relatime").attributes;
        assert_eq!((a.set, a.clear), (0, ATIME));
        let a = read("strictatime").attributes;
        assert_eq!((a.set, a.clear), (STRICTATIME, ATIME));
    }

    #[test]
    fn a_bind_takes_times_of_access_whole_or_not_at_all() {
        for (words, set, clear, free) in [
            ("bind", 0, 0, 0),
            ("bind,rprivate", 0, 0, 0),
            ("bind,atime", 0, 0, RESTRICTIONS),
            ("bind,diratime", 0, 0, RESTRICTIONS),
            ("bind,dev", 0, NODEV, RESTRICTIONS & !NODEV),
            ("bind,relatime", 0, ATIME | NODIRATIME, RESTRICTIONS),
            ("bind,nodiratime", NODIRATIME, ATIME | NODIRATIME, RESTRICTIONS),
            (
                "bind,ro,nodiratime,strictatime",
                RDONLY | NODIRATIME | STRICTATIME,
                ATIME | NODIRATIME,
                RESTRICTIONS & !RDONLY,
            ),
        ] {
            let a = read(words).of_bind(0);
            assert_eq!((a.set, a.clear, a.clear_if_free), (set, clear, free), "{words}");
        }
        assert_eq!(read("bind,dev").of_bind(!NOSYMFOLLOW).clear_if_free, NOSYMFOLLOW);
    }

    #[test]
    fn recursive_forms_are_kept_apart() {
        let o = read("rbind,rro,rnosuid,rslave,private");
        assert!(o.bind && o.recursive);
        assert_eq!((o.attributes.set, o.attributes.set_below), (0, RDONLY | NOSUID));
        assert_eq!((o.attributes.propagation_below, o.attributes.propagation), (SLAVE, PRIVATE));
    }

    #[test]
    fn what_is_no_word_of_ours_is_data() {
        let o = read("size=64k,mode=755,nr_inodes=1,newinstance,lazytime,ro");
        assert_eq!(o.data.len(), 5);
        assert_eq!(o.data.first(), Some(&("size".to_owned(), Some("64k".to_owned()))));
        assert_eq!(o.data.get(3), Some(&("newinstance".to_owned(), None)));
        assert_eq!(o.attributes.set, RDONLY);
    }

    #[test]
    fn every_known_word_is_read_as_no_data_but_those_of_the_superblock() {
        for word in known() {
            let o = read(&word);
            assert_eq!(o.data.is_empty(), !SUPERBLOCK.contains(&word.as_str()), "{word}");
        }
    }
}
