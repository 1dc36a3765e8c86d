//! Who is connected to which network, and the addresses of those that run.
//!
//! A row is there as long as a container is connected; its addresses are there as long as the container runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};

use super::policy::Peer;
use super::ports::{Busy, PortRecord};
use super::rows::{address_at, blob, list, listed};
use super::{Block, LeaseWish, NetworkError, NetworkRecord};
use crate::networks::{EgressRule, Family, Mac, host_link, next_free};
use crate::store::{Store, StoreError, User};

/// A network that a container is to be connected to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinWish {
    /// Name, id or unique start of an id.
    pub network: String,
    /// `--ip`.
    pub v4: Option<Ipv4Addr>,
    /// `--ip6`.
    pub v6: Option<Ipv6Addr>,
    /// `--mac-address`.
    pub mac: Option<Mac>,
    /// `--network-alias`.
    pub aliases: Vec<String>,
    /// `--link`: its own names for other containers; in the store, by their ids.
    #[serde(default)]
    pub links: Vec<(String, String)>,
    /// `--egress` of the container: all that it reaches outside by the network, where that is limited.
    #[serde(default)]
    pub egress: Option<Vec<EgressRule>>,
}

/// A network that a container is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The network.
    pub network: NetworkRecord,
    /// What was asked for.
    pub wish: JoinWish,
    /// What it has; nothing when the container does not run.
    pub lease: Option<Lease>,
    /// Who is on the network, this container among them, where a policy says what flows between them.
    pub peers: Vec<Peer>,
}

/// Addresses of a running container on one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Version 4.
    pub v4: Option<Ipv4Addr>,
    /// Version 6.
    pub v6: Option<Ipv6Addr>,
    /// Hardware address.
    pub mac: Mac,
    /// The host's end of the link.
    pub link: String,
}

impl Lease {
    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + Clone + use<> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }
}

/// Columns of a lease, in the order of [`RawJoin::read`].
pub(super) const COLUMNS: &str =
    "l.network, l.want4, l.want6, l.want_mac, l.aliases, l.links, l.v4, l.v6, l.mac, l.link, l.egress";

pub(super) struct RawJoin {
    network: String,
    pub(super) wish: JoinWish,
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
    mac: Option<Mac>,
    link: Option<String>,
    egress: Option<String>,
}

fn four(address: Option<IpAddr>) -> Option<Ipv4Addr> {
    match address {
        Some(IpAddr::V4(a)) => Some(a),
        _ => None,
    }
}

fn six(address: Option<IpAddr>) -> Option<Ipv6Addr> {
    match address {
        Some(IpAddr::V6(a)) => Some(a),
        _ => None,
    }
}

impl RawJoin {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let mac = |text: Option<String>| text.and_then(|text| Mac::parse(&text));
        let (aliases, links): (String, String) = (row.get(4)?, row.get(5)?);
        Ok(Self {
            network: row.get(0)?,
            wish: JoinWish {
                network: String::new(),
                v4: four(address_at(row, 1)?),
                v6: six(address_at(row, 2)?),
                mac: mac(row.get(3)?),
                aliases: aliases.split(' ').filter(|a| !a.is_empty()).map(str::to_owned).collect(),
                links: links.split(' ').filter_map(|l| l.split_once('=')).map(|(n, c)| (n.into(), c.into())).collect(),
                egress: None,
            },
            v4: four(address_at(row, 6)?),
            v6: six(address_at(row, 7)?),
            mac: mac(row.get(8)?),
            link: row.get(9)?,
            egress: row.get(10)?,
        })
    }

    pub(super) fn lease(&self) -> Option<Lease> {
        Some(Lease { v4: self.v4, v6: self.v6, mac: self.mac?, link: self.link.clone()? })
    }
}

impl Store {
    /// Part of the transaction that records a container: the networks that it is connected to, in order.
    pub(in crate::store) fn record_joins(
        &self,
        tx: &Transaction<'_>,
        container: &str,
        joins: &[JoinWish],
    ) -> Result<(), StoreError> {
        for (position, join) in joins.iter().enumerate() {
            self.insert_join(tx, container, i64::try_from(position).unwrap_or(i64::MAX), join)?;
        }
        Ok(())
    }

    fn insert_join(
        &self,
        tx: &Transaction<'_>,
        container: &str,
        position: i64,
        join: &JoinWish,
    ) -> Result<NetworkRecord, StoreError> {
        let wrap = self.wrap("connect the container");
        let network = self.network(tx, &join.network)?;
        check_join(&network, join)?;
        let sql = "SELECT c.name FROM leases l JOIN containers c ON c.id = l.container WHERE l.container = ?1 AND l.network = ?2";
        let mut query = tx.prepare_cached(sql).map_err(&wrap)?;
        let known: Option<String> =
            query.query_row(params![container, network.id], |row| row.get(0)).optional().map_err(&wrap)?;
        if let Some(container) = known {
            return Err(NetworkError::Connected { container, network: network.name }.into());
        }
        tx.execute(
            "INSERT INTO leases (container, network, position, want4, want6, want_mac, aliases, links, egress) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                container,
                network.id,
                position,
                join.v4.map(|a| blob(a.into())),
                join.v6.map(|a| blob(a.into())),
                join.mac.map(|m| m.to_string()),
                join.aliases.join(" "),
                join.links.iter().map(|(name, id)| format!("{name}={id}")).collect::<Vec<_>>().join(" "),
                listed(&network.name, join.egress.as_deref())?
            ],
        )
        .map_err(&wrap)?;
        Ok(network)
    }

    /// Connects a container to one more network; with `running` it has its addresses at once.
    ///
    /// # Errors
    ///
    /// A network that is not there, or that it is connected to; an address that no member can have, or that is taken.
    pub fn connect(&self, container: &str, join: &JoinWish, running: bool) -> Result<NetworkRecord, StoreError> {
        let what = "connect the container";
        self.write(what, |tx| {
            let wrap = self.wrap(what);
            let sql = "SELECT COALESCE(MAX(position) + 1, 0) FROM leases WHERE container = ?1";
            let position = tx.query_row(sql, [container], |row| row.get(0)).map_err(&wrap)?;
            let network = self.insert_join(tx, container, position, join)?;
            if running {
                let joined = Joined { network: network.clone(), wish: join.clone(), lease: None, peers: Vec::new() };
                self.lease_one(tx, container, &joined)?;
            }
            Ok(network)
        })
    }

    /// Disconnects a container from a network; what it has there is given back.
    ///
    /// # Errors
    ///
    /// A network that is not there, or that it is not connected to.
    pub fn disconnect(&self, user: &User, network: &str) -> Result<NetworkRecord, StoreError> {
        let what = "disconnect the container";
        self.write(what, |tx| {
            let network = self.network(tx, network)?;
            let gone = tx
                .execute("DELETE FROM leases WHERE container = ?1 AND network = ?2", [&user.0, &network.id])
                .map_err(self.wrap(what))?;
            if gone == 0 {
                return Err(NetworkError::NotConnected { container: user.1.clone(), network: network.name }.into());
            }
            Ok(network)
        })
    }

    /// The networks of a container, in order.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn joined(&self, container: &str) -> Result<Vec<Joined>, StoreError> {
        self.read("look for the networks of the container", |tx| self.joined_of(tx, container))
    }

    /// Names of the networks of a container, in order.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn networks_of(&self, container: &str) -> Result<Vec<String>, StoreError> {
        let wrap = self.wrap("look for the networks of the container");
        let sql = "SELECT n.name FROM leases l JOIN networks n ON n.id = l.network WHERE l.container = ?1 ORDER BY l.position";
        let mut query = self.conn.prepare_cached(sql).map_err(&wrap)?;
        let rows = query.query_map([container], |row| row.get(0)).map_err(&wrap)?;
        rows.collect::<Result<_, _>>().map_err(&wrap)
    }

    fn joined_of(&self, tx: &Transaction<'_>, container: &str) -> Result<Vec<Joined>, StoreError> {
        let wrap = self.wrap("look for the networks of the container");
        let sql = format!("SELECT {COLUMNS} FROM leases l WHERE l.container = ?1 ORDER BY l.position");
        let mut query = tx.prepare_cached(&sql).map_err(&wrap)?;
        let rows = query.query_map([container], RawJoin::read).map_err(&wrap)?;
        let rows = rows.collect::<Result<Vec<_>, _>>().map_err(&wrap)?;
        rows.into_iter()
            .map(|raw| {
                let network = self.network(tx, &raw.network)?;
                let lease = raw.lease();
                let egress = list("read the egress list of container", container, raw.egress.as_deref())?;
                let peers = if network.policy.is_some() { self.peers(tx, container, &network.id)? } else { Vec::new() };
                let wish = JoinWish { network: network.name.clone(), egress, ..raw.wish };
                Ok(Joined { wish, network, lease, peers })
            })
            .collect()
    }

    /// Id and name of each container that is connected to a network, and its addresses when it runs.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn members(&self, network: &str) -> Result<Vec<(User, Option<Lease>)>, StoreError> {
        let what = "look for the members of the network";
        self.read(what, |tx| {
            let wrap = self.wrap(what);
            let sql = format!(
                "SELECT {COLUMNS}, c.id, c.name FROM leases l JOIN containers c ON c.id = l.container \
                 WHERE l.network = ?1 ORDER BY c.name"
            );
            let mut query = tx.prepare_cached(&sql).map_err(&wrap)?;
            let rows = query.query_map([network], |row| {
                let user: User = (row.get(11)?, row.get(12)?);
                Ok((user, RawJoin::read(row)?.lease()))
            });
            rows.map_err(&wrap)?.collect::<Result<_, _>>().map_err(&wrap)
        })
    }

    /// Takes the addresses and ports of a container that starts, all of them or none. What it had before is given back
    /// first: only one start of it is under way at a time. One that is new had nothing.
    ///
    /// # Errors
    ///
    /// What cannot be had, and who has it.
    pub fn take(&self, wish: &LeaseWish<'_>, busy: &Busy<'_>) -> Result<(Vec<Joined>, Vec<PortRecord>), StoreError> {
        self.write("take addresses for the container", |tx| {
            match wish.spec {
                Some(spec) => self.set_spec_in(tx, wish.container, spec, false)?,
                None => self.give_back_in(tx, wish.container)?,
            }
            let mut joined = self.joined_of(tx, wish.container)?;
            for one in &mut joined {
                one.lease = Some(self.lease_one(tx, wish.container, one)?);
            }
            let ports = self.take_ports(tx, wish, &joined, busy)?;
            Ok((joined, ports))
        })
    }

    /// Gives back the addresses and ports of a container that has ended. One that has none is no error.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn give_back(&self, container: &str) -> Result<(), StoreError> {
        // Most containers that are settled have nothing, and a look needs no lock.
        let what = "give back the addresses of the container";
        let has = self.read(what, |tx| {
            let sql = "SELECT 1 FROM leases WHERE container = ?1 AND link IS NOT NULL \
                       UNION ALL SELECT 1 FROM ports WHERE container = ?1";
            tx.prepare_cached(sql).and_then(|mut q| q.exists([container])).map_err(self.wrap(what))
        })?;
        if has { self.write(what, |tx| self.give_back_in(tx, container)) } else { Ok(()) }
    }

    /// Containers that have addresses or ports.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn leaseholders(&self) -> Result<Vec<String>, StoreError> {
        let what = "look for addresses that are in use";
        self.read(what, |tx| {
            let wrap = self.wrap(what);
            let sql = "SELECT container FROM leases WHERE link IS NOT NULL UNION SELECT container FROM ports";
            let mut query = tx.prepare_cached(sql).map_err(&wrap)?;
            let rows = query.query_map([], |row| row.get(0)).map_err(&wrap)?;
            rows.collect::<Result<_, _>>().map_err(&wrap)
        })
    }

    fn give_back_in(&self, tx: &Transaction<'_>, container: &str) -> Result<(), StoreError> {
        let wrap = self.wrap("give back the addresses of the container");
        let sql = "UPDATE leases SET v4 = NULL, v6 = NULL, mac = NULL, link = NULL WHERE container = ?1";
        tx.execute(sql, [container]).map_err(&wrap)?;
        tx.execute("DELETE FROM ports WHERE container = ?1", [container]).map_err(&wrap)?;
        Ok(())
    }

    fn lease_one(&self, tx: &Transaction<'_>, container: &str, joined: &Joined) -> Result<Lease, StoreError> {
        let Joined { network, wish, .. } = joined;
        let of = |block: Option<Block>, asked: Option<IpAddr>| match block {
            Some(block) => self.lease_address(tx, network, &block, asked).map(Some),
            None => Ok(None),
        };
        let v4 = of(network.v4, wish.v4.map(IpAddr::V4))?;
        let v6 = of(network.v6, wish.v6.map(IpAddr::V6))?;
        let mac = self.lease_mac(tx, network, wish.mac, v4.or(v6))?;
        let lease = Lease { v4: four(v4), v6: six(v6), mac, link: host_link(container, &network.id) };
        tx.execute(
            "UPDATE leases SET v4 = ?3, v6 = ?4, mac = ?5, link = ?6 WHERE container = ?1 AND network = ?2",
            params![container, network.id, v4.map(blob), v6.map(blob), lease.mac.to_string(), lease.link],
        )
        .map_err(self.wrap("take addresses for the container"))?;
        Ok(lease)
    }

    fn lease_address(
        &self,
        tx: &Transaction<'_>,
        network: &NetworkRecord,
        block: &Block,
        asked: Option<IpAddr>,
    ) -> Result<IpAddr, StoreError> {
        let wrap = self.wrap("look for a free address");
        let (column, last, flag) = match block.subnet.family() {
            Family::V4 => ("v4", "last4", "--ip"),
            Family::V6 => ("v6", "last6", "--ip6"),
        };
        if let Some(address) = asked {
            return match self.holder(tx, network, column, &blob(address))? {
                None => Ok(address),
                Some(holder) => Err(taken(flag, address.to_string(), network, holder)),
            };
        }
        let sql = format!("SELECT {last} FROM networks WHERE id = ?1");
        let after = tx.query_row(&sql, [&network.id], |row| address_at(row, 0)).map_err(&wrap)?;
        let sql = format!("SELECT {column} FROM leases WHERE network = ?1 AND {column} >= ?2 ORDER BY {column}");
        let range = block.range.unwrap_or(block.subnet);
        let find = |reserved: &[IpAddr]| {
            next_free(&block.subnet, &range, after, reserved, |from, see| {
                let mut query = tx.prepare_cached(&sql).map_err(&wrap)?;
                let mut rows = query.query(params![network.id, blob(from)]).map_err(&wrap)?;
                while let Some(row) = rows.next().map_err(&wrap)? {
                    if !address_at(row, 0).map_err(&wrap)?.is_some_and(&mut *see) {
                        break;
                    }
                }
                Ok::<(), StoreError>(())
            })
        };
        // One that a container was made with is the last to be given to another.
        let mut reserved = self.wanted(tx, network, column)?;
        reserved.push(block.gateway);
        let free = match find(&reserved)? {
            None => find(&[block.gateway])?,
            found => found,
        };
        let address = free
            .ok_or_else(|| NetworkError::NoAddressLeft { network: network.name.clone(), subnet: range.to_string() })?;
        tx.execute(&format!("UPDATE networks SET {last} = ?2 WHERE id = ?1"), params![network.id, blob(address)])
            .map_err(&wrap)?;
        Ok(address)
    }

    /// Addresses that containers of the network were made with, running or not; `column` is `v4` or `v6`.
    fn wanted(&self, tx: &Transaction<'_>, network: &NetworkRecord, column: &str) -> Result<Vec<IpAddr>, StoreError> {
        let wrap = self.wrap("look for a free address");
        let column = column.replace('v', "want");
        let sql = format!("SELECT {column} FROM leases WHERE network = ?1 AND {column} IS NOT NULL");
        let mut query = tx.prepare_cached(&sql).map_err(&wrap)?;
        let rows = query.query_map([&network.id], |row| address_at(row, 0)).map_err(&wrap)?;
        let all: Vec<Option<IpAddr>> = rows.collect::<Result<_, _>>().map_err(&wrap)?;
        Ok(all.into_iter().flatten().collect())
    }

    fn lease_mac(
        &self,
        tx: &Transaction<'_>,
        network: &NetworkRecord,
        asked: Option<Mac>,
        address: Option<IpAddr>,
    ) -> Result<Mac, StoreError> {
        let held = |mac: Mac| self.holder(tx, network, "mac", &mac.to_string());
        if let Some(mac) = asked {
            return match held(mac)? {
                None => Ok(mac),
                Some(holder) => Err(taken("--mac-address", mac.to_string(), network, holder)),
            };
        }
        let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        // Somebody may have asked for the one that belongs to this address.
        for again in 0..16 {
            let mac = Mac::derived(&network.id, address, again);
            if held(mac)?.is_none() {
                return Ok(mac);
            }
        }
        Err(NetworkError::NoAddressLeft { network: network.name.clone(), subnet: "hardware addresses".to_owned() }
            .into())
    }

    /// Name of the container that has an address.
    fn holder(
        &self,
        tx: &Transaction<'_>,
        network: &NetworkRecord,
        column: &str,
        value: &dyn rusqlite::ToSql,
    ) -> Result<Option<String>, StoreError> {
        let wrap = self.wrap("look for who has an address");
        let sql = format!(
            "SELECT c.name FROM leases l JOIN containers c ON c.id = l.container WHERE l.network = ?1 AND l.{column} = ?2"
        );
        let mut query = tx.prepare_cached(&sql).map_err(&wrap)?;
        query.query_row(params![network.id, value], |row| row.get(0)).optional().map_err(&wrap)
    }
}

fn taken(flag: &'static str, address: String, network: &NetworkRecord, holder: String) -> StoreError {
    NetworkError::AddressTaken { flag, address, network: network.name.clone(), holder }.into()
}

/// Whether a member of the network can have what is asked.
///
/// # Errors
///
/// An address outside of the network, or nobody's; an alias where there are no names.
pub(crate) fn check_join(network: &NetworkRecord, join: &JoinWish) -> Result<(), NetworkError> {
    let asked = [("--ip", network.v4, join.v4.map(IpAddr::V4)), ("--ip6", network.v6, join.v6.map(IpAddr::V6))];
    for (flag, block, address) in asked {
        let Some(address) = address else { continue };
        let reason = match block {
            None => "it has no addresses of this family".to_owned(),
            Some(block) if !block.subnet.is_host(address) => {
                let (low, high) = block.subnet.hosts().unwrap_or((block.gateway, block.gateway));
                format!("one from {low} to {high} is needed")
            }
            Some(block) if block.gateway == address => "it is the gateway's".to_owned(),
            Some(_) => continue,
        };
        let address = address.to_string();
        return Err(NetworkError::BadAddress { flag, address, network: network.name.clone(), reason });
    }
    if let Some(alias) = join.aliases.first().filter(|_| network.is_default() || network.isolated) {
        return Err(NetworkError::BadAddress {
            flag: "--network-alias",
            address: alias.clone(),
            network: network.name.clone(),
            reason: "its members do not see each other; make a network with 'bulkhead network create'".to_owned(),
        });
    }
    Ok(())
}
