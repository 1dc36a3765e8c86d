//! Names of a network's members: who is told of them, and what a container's resolver is told.
//!
//! Each network whose members know each other has a file in the run directory, which those write who attach and detach a
//! container, one at a time, and which the resolvers of its members have open for reading.

use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bulkhead_net::names::{Doors, Entry, Found, Order, parse, render};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::etc::resolver_of_host;
use super::listed::{self, Listed, Opened};
use super::place::Place;
use crate::error::EngineError;
use crate::request::ContainerRequest;
use crate::store::{ContainerRecord, Joined, Lease};

/// Port of name servers.
const DOMAIN: u16 = 53;

/// A container on one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// Id of the network.
    network: String,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
}

/// What others are told of a container, and what it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Names {
    container: String,
    known: Vec<Known>,
    outside: bool,
    servers: Vec<SocketAddr>,
    links: Vec<(String, String)>,
    /// Names in lists of what it reaches outside.
    listed: Vec<Listed>,
    /// No others are asked outside.
    only: bool,
}

/// Whether a container on these networks has a resolver: on one of them its members know each other, or what it reaches is
/// listed by names.
pub(super) fn resolved(joined: &[Joined]) -> bool {
    joined.iter().any(|j| !j.network.isolated && j.lease.is_some()) || listed::any(joined)
}

/// Names, aliases and links of a container; nothing when nobody knows it by a name.
pub(super) fn of(record: &ContainerRecord, joined: &[Joined]) -> Option<Names> {
    if !resolved(joined) {
        return None;
    }
    let request = &record.request;
    let with_names = joined.iter().filter(|j| !j.network.isolated);
    let known = with_names.filter_map(|j| {
        let lease = j.lease.as_ref()?;
        let names = names(record, &j.wish.aliases);
        Some(Known { network: j.network.id.clone(), names, addresses: lease.addresses().collect() })
    });
    let mut servers = servers(request);
    let out = joined.iter().any(|j| !j.network.internal && j.lease.is_some());
    if !out {
        // A server that is a member itself is no way out.
        servers.retain(|server| is_near(joined, server.ip()));
    }
    Some(Names {
        container: record.id.clone(),
        known: known.collect(),
        outside: out || !servers.is_empty(),
        servers,
        links: joined.iter().flat_map(|j| j.wish.links.iter().cloned()).collect(),
        listed: listed::of(joined),
        only: listed::is_all(joined),
    })
}

/// Whether an address is one of these networks' members.
fn is_near(joined: &[Joined], address: IpAddr) -> bool {
    let blocks = joined.iter().filter(|j| j.lease.is_some()).flat_map(|j| [j.network.v4, j.network.v6]);
    blocks.flatten().any(|block| block.subnet.is_host(address) && block.gateway != address)
}

/// The names of a container, in small letters, each once: its own, what it calls itself, and what others were told.
fn names(record: &ContainerRecord, aliases: &[String]) -> Vec<String> {
    let short = record.id.get(..12).unwrap_or(&record.id);
    let own = [record.name.as_str(), short].into_iter();
    let all = own.chain(record.request.hostname.as_deref()).chain(aliases.iter().map(String::as_str));
    let mut names: Vec<String> = Vec::new();
    for name in all.map(str::to_ascii_lowercase) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Who is asked for other names: `--dns`, or the host's own servers, also one that listens on its loopback.
fn servers(request: &ContainerRequest) -> Vec<SocketAddr> {
    let asked: Vec<IpAddr> = request.dns.iter().filter_map(|a| a.parse().ok()).collect();
    let all = if asked.is_empty() { resolver_of_host().servers } else { asked };
    all.into_iter().map(|address| SocketAddr::new(address, DOMAIN)).collect()
}

/// The directory of the files.
fn directory(run: &Path) -> PathBuf {
    run.join("names")
}

/// A network's file, and what keeps others from writing it meanwhile.
struct Book {
    file: File,
    path: PathBuf,
    _lock: File,
}

impl Book {
    fn open(run: &Path, network: &str) -> Result<Self, EngineError> {
        let directory = directory(run);
        match std::fs::DirBuilder::new().mode(0o700).create(&directory) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(EngineError::io("make", &directory)(e));
            }
            _ => {}
        }
        let open = |path: &Path| {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            options.open(path).map_err(EngineError::io("open", path))
        };
        // Not the file itself: its readers hold that, and could hold the lock.
        let path = directory.join("lock");
        let lock = open(&path)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(EngineError::io("lock", &path))?;
        let path = directory.join(network);
        Ok(Self { file: open(&path)?, path, _lock: lock })
    }

    /// Changes the entries. What a writer left half written when it was killed is lost, but what `all` knows.
    fn change(&self, all: &dyn Fn() -> Vec<Entry>, change: impl FnOnce(&mut Vec<Entry>)) -> Result<(), EngineError> {
        let failed = || EngineError::io("write", &self.path);
        let mut bytes = Vec::new();
        (&self.file).read_to_end(&mut bytes).map_err(EngineError::io("read", &self.path))?;
        let (generation, mut entries) = match parse(&bytes) {
            Some(found) => found,
            None if bytes.is_empty() => (0, Vec::new()),
            // Readers know an earlier one by its number: one that none of them can have seen.
            None => (now(), all()),
        };
        change(&mut entries);
        let bytes = render(generation.wrapping_add(1), &entries);
        self.file.write_all_at(&bytes, 0).map_err(failed())?;
        self.file.set_len(u64::try_from(bytes.len()).unwrap_or(u64::MAX)).map_err(failed())
    }
}

fn now() -> u64 {
    u64::try_from(crate::layout::now()).unwrap_or_default()
}

impl Names {
    /// Tells the other members of the container. `all` knows who else is on a network, should its file be damaged.
    pub(super) fn announce(&self, run: &Path, all: &dyn Fn(&str) -> Vec<Entry>) -> Result<(), EngineError> {
        for known in &self.known {
            let entry = Entry {
                container: self.container.clone(),
                names: known.names.clone(),
                addresses: known.addresses.clone(),
            };
            Book::open(run, &known.network)?.change(&|| all(&known.network), |entries| {
                entries.retain(|e| e.container != entry.container);
                entries.push(entry);
            })?;
        }
        Ok(())
    }

    /// Nobody is to find the container any more.
    pub(super) fn withdraw(&self, run: &Path, all: &dyn Fn(&str) -> Vec<Entry>) -> Result<(), EngineError> {
        self.known.iter().try_for_each(|known| withdraw(run, &known.network, &self.container, &|| all(&known.network)))
    }

    /// Tells the container's resolver, which is at the other end of `word`; the first time with what it listens at.
    pub(super) fn tell(&self, run: &Path, word: BorrowedFd<'_>, doors: Option<&Doors>) -> Result<(), EngineError> {
        let open = |known: &Known| {
            let path = directory(run).join(&known.network);
            File::open(&path).map_err(EngineError::io("open", &path))
        };
        let files = self.known.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let order = Order {
            doors: doors.is_some(),
            outside: self.outside,
            servers: self.servers.clone(),
            links: self.links.clone(),
            listed: self.listed.iter().map(|one| one.name.clone()).collect(),
            only: self.only,
        };
        let doors = doors.into_iter().flat_map(|d| [d.datagrams.as_fd(), d.streams.as_fd()]);
        let all: Vec<BorrowedFd<'_>> = doors.chain(files.iter().map(File::as_fd)).collect();
        order.send(word, &all).map_err(|e| EngineError::refused("the resolver of the container", e.to_string()))
    }

    /// Opens the way to what its resolver has found.
    pub(super) fn open(&self, place: &Place, found: &Found, opened: &mut Opened) -> Result<(), EngineError> {
        listed::open(place, &self.listed, found, opened)
    }

    /// The networks that know it.
    pub(super) fn networks(&self) -> impl Iterator<Item = &str> {
        self.known.iter().map(|known| known.network.as_str())
    }

    /// Only what it has on networks other than these.
    pub(super) fn without(&self, networks: &[&str]) -> Self {
        let mut rest = self.clone();
        rest.known.retain(|known| !networks.contains(&known.network.as_str()));
        rest
    }
}

/// Tells a resolver that it knows nobody, and that there is nobody to ask.
pub(super) fn silence(word: BorrowedFd<'_>) -> Result<(), EngineError> {
    let sent = Order::default().send(word, &[]);
    sent.map_err(|e| EngineError::refused("the resolver of the container", e.to_string()))
}

/// Takes a container out of a network's names.
pub(super) fn withdraw(
    run: &Path,
    network: &str,
    container: &str,
    all: &dyn Fn() -> Vec<Entry>,
) -> Result<(), EngineError> {
    if !directory(run).join(network).exists() {
        return Ok(());
    }
    Book::open(run, network)?.change(all, |entries| entries.retain(|e| e.container != container))
}

/// Removes the file of a network that is no more.
pub(super) fn remove(run: &Path, network: &str) {
    // One that was never written is not there; one that stays is named by an id that does not come again.
    drop(std::fs::remove_file(directory(run).join(network)));
}

/// An entry as the store has it.
pub(super) fn entry(record: &ContainerRecord, aliases: &[String], lease: &Lease) -> Entry {
    Entry { container: record.id.clone(), names: names(record, aliases), addresses: lease.addresses().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_network(network: &str, name: &str, address: &str) -> Names {
        Names {
            container: format!("id-of-{name}"),
            known: vec![Known {
                network: network.to_owned(),
                names: vec![name.to_owned()],
                addresses: vec![address.parse().unwrap()],
            }],
            outside: false,
            servers: Vec::new(),
            links: Vec::new(),
            listed: Vec::new(),
            only: false,
        }
    }

    fn names_in(run: &Path, network: &str) -> Vec<String> {
        let bytes = std::fs::read(directory(run).join(network)).unwrap();
        parse(&bytes).unwrap().1.into_iter().flat_map(|e| e.names).collect()
    }

    #[test]
    fn members_come_and_go_and_damage_is_mended_from_what_is_known() {
        let run = tempfile::tempdir().unwrap();
        let nobody = |_: &str| Vec::new();
        let (web, db) = (of_network("n", "web", "10.1.0.2"), of_network("n", "db", "10.1.0.3"));
        web.announce(run.path(), &nobody).unwrap();
        db.announce(run.path(), &nobody).unwrap();
        web.announce(run.path(), &nobody).unwrap();
        assert_eq!(names_in(run.path(), "n"), ["db", "web"]);
        db.withdraw(run.path(), &nobody).unwrap();
        assert_eq!(names_in(run.path(), "n"), ["web"]);
        // Half written.
        let path = directory(run.path()).join("n");
        File::options().write(true).open(&path).unwrap().write_all_at(b"names1 00", 0).unwrap();
        let known = |_: &str| vec![Entry { container: "x".into(), names: vec!["known".into()], addresses: vec![] }];
        std::fs::write(&path, "names1 0000").unwrap();
        db.announce(run.path(), &known).unwrap();
        assert_eq!(names_in(run.path(), "n"), ["known", "db"]);
        remove(run.path(), "n");
        // A network that never had one.
        withdraw(run.path(), "n", "x", &Vec::new).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn everybody_writes_and_nobody_is_lost() {
        let run = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for n in 0..20 {
                let run = run.path();
                scope.spawn(move || {
                    of_network("n", &format!("c{n}"), "10.1.0.2").announce(run, &|_| Vec::new()).unwrap();
                });
            }
        });
        assert_eq!(names_in(run.path(), "n").len(), 20);
    }
}
