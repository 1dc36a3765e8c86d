//! Networks: their names, subnets and options, and who is connected.

mod error;
mod insert;
mod leases;
mod policy;
mod ports;
mod rows;

use std::collections::BTreeMap;
use std::net::IpAddr;

use rusqlite::{OptionalExtension, Transaction};

pub use self::error::NetworkError;
pub(crate) use self::leases::check_join;
pub use self::leases::{JoinWish, Joined, Lease};
pub use self::policy::Peer;
pub use self::ports::{Busy, PortRecord};
use self::rows::{COLUMNS, read_row};
use super::containers::prefix_bounds;
use super::{Store, StoreError, User};
use crate::networks::{EgressRule, FlowRule, Net, Pool, WantedPort};

/// The default network.
pub const DEFAULT_NETWORK: &str = "bridge";

/// Words of `--network` that are no names.
const WORDS: [&str; 5] = ["host", "none", "container", "default", "private"];

/// The addresses of a network in one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// All of them.
    pub subnet: Net,
    /// The bridge's own.
    pub gateway: IpAddr,
    /// What members are given by themselves; `None`: all of the subnet.
    pub range: Option<Net>,
}

/// Where the addresses of a network that is made come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BlockWish {
    /// It has none of this family.
    #[default]
    None,
    /// Any that are free.
    Free,
    /// These.
    These(Block),
}

/// A network to be recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewNetwork {
    /// 64 hex digits.
    pub id: String,
    /// Docker's rule for names.
    pub name: String,
    /// `bridge`, `macvlan` or `ipvlan`; empty for `bridge`.
    pub driver: String,
    /// Link of the host that the network is on, so that routes by it are its own; `None`: its bridge.
    pub link: Option<String>,
    /// Addresses of version 4.
    pub v4: BlockWish,
    /// Addresses of version 6.
    pub v6: BlockWish,
    /// Bytes of a packet.
    pub mtu: u32,
    /// No way out.
    pub internal: bool,
    /// Members do not reach each other.
    pub isolated: bool,
    /// What goes out has the host's address.
    pub masquerade: bool,
    /// `--opt`.
    pub options: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// What members may send each other, where that is limited.
    pub policy: Option<Vec<FlowRule>>,
    /// What members reach outside that have no list of their own, where that is limited.
    pub egress: Option<Vec<EgressRule>>,
}

/// A network as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRecord {
    /// 64 hex digits.
    pub id: String,
    /// Unique name.
    pub name: String,
    /// `bridge`, `macvlan` or `ipvlan`.
    pub driver: String,
    /// Addresses of version 4.
    pub v4: Option<Block>,
    /// Addresses of version 6.
    pub v6: Option<Block>,
    /// Bytes of a packet; 0 for those of a link of the host.
    pub mtu: u32,
    /// No way out.
    pub internal: bool,
    /// Members do not reach each other.
    pub isolated: bool,
    /// What goes out has the host's address.
    pub masquerade: bool,
    /// `--opt`.
    pub options: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// What members may send each other, where that is limited.
    pub policy: Option<Vec<FlowRule>>,
    /// What members reach outside that have no list of their own, where that is limited.
    pub egress: Option<Vec<EgressRule>>,
}

impl NetworkRecord {
    /// It is there always.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.name == DEFAULT_NETWORK
    }

    /// Its members are ports of a bridge, and the host's firewall stands between them and everything else.
    #[must_use]
    pub fn is_bridge(&self) -> bool {
        self.driver == "bridge"
    }

    /// Its addresses in both families.
    pub fn blocks(&self) -> impl Iterator<Item = Block> {
        self.v4.into_iter().chain(self.v6)
    }
}

/// What the addresses of a new network must keep clear of, and where they come from when none are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// Where subnets of version 4 come from.
    pub pools: &'a [Pool],
    /// Where the host sends packets, and through which link.
    pub routes: &'a [(Net, String)],
}

impl Ground<'_> {
    /// What a route of the host has to do with a network's own bridge is no obstacle for it.
    fn others<'a>(&'a self, link: &str) -> impl Iterator<Item = &'a (Net, String)> {
        let link = link.to_owned();
        self.routes.iter().filter(move |(_, through)| *through != link)
    }
}

impl Store {
    /// Records a network and chooses its subnets, in one transaction.
    ///
    /// # Errors
    ///
    /// A name that is taken or not allowed; a subnet that overlaps with another's; pools without a free part.
    pub fn create_network(&self, new: &NewNetwork, ground: &Ground<'_>) -> Result<NetworkRecord, StoreError> {
        check_network_name(&new.name)?;
        self.write("record the network", |tx| {
            if self.network_named(tx, &new.name)?.is_some() {
                return Err(NetworkError::Exists { name: new.name.clone() }.into());
            }
            self.insert_network(tx, new, ground)
        })
    }

    /// The default network, recorded as `new` says when there is none yet.
    ///
    /// # Errors
    ///
    /// Pools without a free part.
    pub fn default_network(
        &self,
        new: &NewNetwork,
        ground: impl FnOnce() -> (Vec<Pool>, Vec<(Net, String)>),
    ) -> Result<NetworkRecord, StoreError> {
        let look = |tx: &Transaction<'_>| self.network_named(tx, &new.name);
        if let Some(found) = self.read("look for the default network", look)? {
            return Ok(found);
        }
        let (pools, routes) = ground();
        self.write("record the default network", |tx| match look(tx)? {
            Some(found) => Ok(found),
            None => self.insert_network(tx, new, &Ground { pools: &pools, routes: &routes }),
        })
    }

    /// The network of this name, id or unique start of an id.
    ///
    /// # Errors
    ///
    /// [`NetworkError::NotFound`], [`NetworkError::Ambiguous`].
    pub fn find_network(&self, query: &str) -> Result<NetworkRecord, StoreError> {
        self.read("look for the network", |tx| self.network(tx, query))
    }

    /// Every network, the oldest first.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn list_networks(&self) -> Result<Vec<NetworkRecord>, StoreError> {
        let what = "list the networks";
        self.read(what, |tx| {
            let wrap = self.wrap(what);
            let mut query = tx.prepare_cached(&format!("SELECT {COLUMNS} ORDER BY created, name")).map_err(&wrap)?;
            let rows = query.query_map([], read_row).map_err(&wrap)?;
            rows.map(|raw| raw.map_err(&wrap)?.parse()).collect()
        })
    }

    /// Forgets a network that no container is connected to.
    ///
    /// # Errors
    ///
    /// The default network; one that is not there; one that containers are connected to, which the error names.
    pub fn remove_network(&self, query: &str) -> Result<NetworkRecord, StoreError> {
        self.write("remove the network", |tx| {
            let found = self.network(tx, query)?;
            if found.is_default() {
                return Err(NetworkError::Predefined { name: found.name }.into());
            }
            let users = self.network_users(tx, &found.id)?;
            if !users.is_empty() {
                return Err(NetworkError::InUse { name: found.name, users }.into());
            }
            self.delete_network(tx, &found.id)?;
            Ok(found)
        })
    }

    /// Forgets every network that no container is connected to and that `wanted` names, all at once.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn prune_networks(&self, wanted: impl Fn(&NetworkRecord) -> bool) -> Result<Vec<NetworkRecord>, StoreError> {
        let what = "remove unused networks";
        self.write(what, |tx| {
            let wrap = self.wrap(what);
            let unused = "NOT EXISTS (SELECT 1 FROM leases l WHERE l.network = networks.id)";
            let sql = format!("SELECT {COLUMNS} WHERE name <> ?1 AND {unused} ORDER BY name");
            let mut query = tx.prepare(&sql).map_err(&wrap)?;
            let rows = query.query_map([DEFAULT_NETWORK], read_row).map_err(&wrap)?;
            let mut gone = Vec::new();
            for raw in rows {
                let record = raw.map_err(&wrap)?.parse()?;
                if wanted(&record) {
                    gone.push(record);
                }
            }
            for record in &gone {
                self.delete_network(tx, &record.id)?;
            }
            Ok(gone)
        })
    }

    fn delete_network(&self, tx: &Transaction<'_>, id: &str) -> Result<(), StoreError> {
        tx.execute("DELETE FROM networks WHERE id = ?1", [id]).map_err(self.wrap("remove the network"))?;
        Ok(())
    }

    fn network_named(&self, tx: &Transaction<'_>, name: &str) -> Result<Option<NetworkRecord>, StoreError> {
        let wrap = self.wrap("look for the network");
        let mut query = tx.prepare_cached(&format!("SELECT {COLUMNS} WHERE name = ?1")).map_err(&wrap)?;
        query.query_row([name], read_row).optional().map_err(&wrap)?.map(rows::RawNetwork::parse).transpose()
    }

    fn network(&self, tx: &Transaction<'_>, query: &str) -> Result<NetworkRecord, StoreError> {
        let missing = || StoreError::from(NetworkError::NotFound { query: query.to_owned() });
        if let Some(found) = self.network_named(tx, query)? {
            return Ok(found);
        }
        if query.is_empty() || query.len() > 64 || !query.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(missing());
        }
        let wrap = self.wrap("look for the network");
        let (low, high) = prefix_bounds(query);
        let sql = format!("SELECT {COLUMNS} WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 2");
        let mut select = tx.prepare_cached(&sql).map_err(&wrap)?;
        let rows = select.query_map([low, high], read_row).map_err(&wrap)?;
        let mut rows = rows.collect::<Result<Vec<_>, _>>().map_err(&wrap)?;
        if rows.len() > 1 {
            return Err(NetworkError::Ambiguous { prefix: query.to_owned() }.into());
        }
        rows.pop().ok_or_else(missing)?.parse()
    }

    /// Id and name of each container that is connected.
    fn network_users(&self, tx: &Transaction<'_>, id: &str) -> Result<Vec<User>, StoreError> {
        let wrap = self.wrap("look for the members of the network");
        let sql = "SELECT c.id, c.name FROM leases l JOIN containers c ON c.id = l.container \
                   WHERE l.network = ?1 ORDER BY c.name";
        let mut query = tx.prepare_cached(sql).map_err(&wrap)?;
        let rows = query.query_map([id], |row| Ok((row.get(0)?, row.get(1)?))).map_err(&wrap)?;
        rows.collect::<Result<_, _>>().map_err(&wrap)
    }
}

/// Docker's rule for networks, without what would be taken for a mode.
pub(crate) fn check_network_name(name: &str) -> Result<(), StoreError> {
    let wrong = |needed| StoreError::from(NetworkError::InvalidName { name: name.to_owned(), needed });
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if !first || !rest || name.len() > 128 {
        return Err(wrong("only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed, 128 characters at most"));
    }
    if WORDS.contains(&name) {
        return Err(wrong("--network takes this word for something else; choose another name"));
    }
    Ok(())
}

/// What is wanted of the networks and ports of a container that starts.
#[derive(Debug, Clone, Copy)]
pub struct LeaseWish<'a> {
    /// Full id of the container.
    pub container: &'a str,
    /// Ports that are to be reached.
    pub ports: &'a [WantedPort],
    /// Where the search for ports that nobody chose begins.
    pub start: u16,
    /// The specification of one that is new and not whole yet, which is stored beside.
    pub spec: Option<&'a [u8]>,
}
