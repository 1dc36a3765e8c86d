//! Commands by what they are about: `container ls`, `image rm`, `volume create`, `system df`, `config show`.
//!
//! A verb of a group is an [`Entry`] under a name of its own. Most are commands of the first level too; an entry that is
//! named only here (`volume create`) exists only in its group. To add one, add a line to its group.

use super::{Entry, *};

/// Commands under a common first word.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// The word that chooses it.
    pub name: &'static str,
    /// One line for the list of groups.
    pub about: &'static str,
    /// Its verbs, in the order of the help.
    pub verbs: &'static [Verb],
}

/// A command in a group.
#[derive(Debug, Clone, Copy)]
pub struct Verb {
    /// Its name in the group.
    pub name: &'static str,
    /// Other names in the group.
    pub aliases: &'static [&'static str],
    /// What it is.
    pub entry: &'static Entry,
}

impl Group {
    /// The verb of this name.
    pub fn find(&self, name: &str) -> Option<&'static Verb> {
        self.verbs.iter().find(|verb| verb.name == name || verb.aliases.contains(&name))
    }
}

const fn verb(name: &'static str, entry: &'static Entry) -> Verb {
    Verb { name, aliases: &[], entry }
}

const fn also(name: &'static str, aliases: &'static [&'static str], entry: &'static Entry) -> Verb {
    Verb { name, aliases, entry }
}

/// The groups, in the order of the help.
pub const ALL: &[Group] = &[
    Group { name: "container", about: "Manage containers", verbs: CONTAINER },
    Group { name: "image", about: "Manage images", verbs: IMAGE },
    Group { name: "manifest", about: "Look at manifests of registries", verbs: MANIFEST },
    Group { name: "network", about: "Manage networks", verbs: NETWORK },
    Group { name: "volume", about: "Manage volumes", verbs: VOLUME },
    Group { name: "system", about: "Manage the store as a whole", verbs: SYSTEM },
];

const CONTAINER: &[Verb] = &[
    verb("attach", &attach::ENTRY),
    verb("commit", &commit::ENTRY),
    verb("cp", &cp::ENTRY),
    verb("create", &create::ENTRY),
    verb("diff", &diff::ENTRY),
    verb("exec", &exec::ENTRY),
    verb("explain", &explain::ENTRY),
    verb("export", &export::ENTRY),
    verb("inspect", &inspect::CONTAINER),
    verb("kill", &kill::ENTRY),
    verb("logs", &logs::ENTRY),
    also("ls", &["ps", "list"], &ps::ENTRY),
    verb("pause", &pause::ENTRY),
    verb("port", &port::ENTRY),
    verb("prune", &system::prune::CONTAINER),
    verb("rename", &rename::ENTRY),
    verb("restart", &restart::ENTRY),
    also("rm", &["remove"], &rm::ENTRY),
    verb("run", &run::ENTRY),
    verb("start", &start::ENTRY),
    verb("stats", &stats::ENTRY),
    verb("stop", &stop::ENTRY),
    verb("top", &top::ENTRY),
    verb("unpause", &unpause::ENTRY),
    verb("update", &update::ENTRY),
    verb("wait", &wait::ENTRY),
];

const IMAGE: &[Verb] = &[
    verb("history", &history::ENTRY),
    verb("import", &import::ENTRY),
    verb("inspect", &inspect::IMAGE),
    verb("load", &load::ENTRY),
    also("ls", &["list"], &images::ENTRY),
    verb("prune", &system::prune::IMAGE),
    verb("pull", &pull::ENTRY),
    verb("push", &push::ENTRY),
    also("rm", &["remove"], &rmi::ENTRY),
    verb("save", &save::ENTRY),
    verb("tag", &tag::ENTRY),
    verb("tree", &tree::ENTRY),
    verb("verify", &verify::ENTRY),
];

const MANIFEST: &[Verb] = &[verb("inspect", &manifest::ENTRY)];

const NETWORK: &[Verb] = &[
    verb("connect", &network::ENTRY_CONNECT),
    verb("create", &network::ENTRY_CREATE),
    verb("denied", &network::ENTRY_DENIED),
    verb("disconnect", &network::ENTRY_DISCONNECT),
    verb("graph", &network::ENTRY_GRAPH),
    verb("inspect", &network::ENTRY_INSPECT),
    also("ls", &["list"], &network::ENTRY_LS),
    verb("policy", &network::ENTRY_POLICY),
    verb("prune", &network::ENTRY_PRUNE),
    also("rm", &["remove"], &network::ENTRY_RM),
    verb("verify", &network::ENTRY_VERIFY),
];

const VOLUME: &[Verb] = &[
    verb("create", &volume::ENTRY_CREATE),
    verb("inspect", &volume::ENTRY_INSPECT),
    also("ls", &["list"], &volume::ENTRY_LS),
    verb("prune", &volume::ENTRY_PRUNE),
    also("rm", &["remove"], &volume::ENTRY_RM),
];

const SYSTEM: &[Verb] = &[
    verb("df", &system::df::ENTRY),
    verb("events", &events::ENTRY),
    verb("fsck", &system::fsck::ENTRY),
    verb("halt", &system::halt::ENTRY),
    verb("info", &system::info::ENTRY),
    verb("prune", &system::prune::SYSTEM),
    verb("restore", &system::restore::ENTRY),
    verb("unit", &system::unit::ENTRY),
];

/// The group of this name.
pub fn find(name: &str) -> Option<&'static Group> {
    ALL.iter().find(|group| group.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_unique() {
        for group in ALL {
            assert!(super::super::find(group.name).is_none(), "{} is a command too", group.name);
            let names: Vec<&str> = group.verbs.iter().map(|verb| verb.name).collect();
            let mut sorted = names.clone();
            sorted.sort_unstable();
            assert_eq!(names, sorted, "{}", group.name);
            let mut all: Vec<&str> =
                group.verbs.iter().flat_map(|verb| std::iter::once(&verb.name).chain(verb.aliases)).copied().collect();
            all.sort_unstable();
            let count = all.len();
            all.dedup();
            assert_eq!(all.len(), count, "{}: a name twice", group.name);
        }
    }

    #[test]
    fn a_verb_is_found_by_each_of_its_names() {
        let group = find("container").unwrap();
        for name in ["ls", "ps", "list"] {
            assert_eq!(group.find(name).unwrap().entry.name, "ps");
        }
        assert!(group.find("images").is_none());
    }
}
