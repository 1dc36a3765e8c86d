//! Ports of the host that lead to containers.

use std::net::IpAddr;

use rusqlite::{Row, Transaction, params};

use super::leases::Joined;
use super::rows::{address, blob};
use super::{LeaseWish, NetworkError};
use crate::networks::{Family, HostPort, Protocol, WantedPort, free_numbers, meet, shown};
use crate::store::{Store, StoreError};

/// Who else listens on a port of the host, in words; nothing when nobody does.
pub type Busy<'a> = dyn Fn(IpAddr, u16, Protocol) -> Option<String> + 'a;

/// A port of the host that leads to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRecord {
    /// Address of the host; `0.0.0.0` and `::` are all of their family.
    pub address: IpAddr,
    /// Port of the host.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Address of the container.
    pub target: IpAddr,
    /// Port of the container.
    pub inner: u16,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Option<PortRecord>> {
    let protocol: String = row.get(0)?;
    let bytes = |at: usize| Ok::<_, rusqlite::Error>(address(&row.get::<_, Vec<u8>>(at)?));
    let (port, from, target, inner) = (row.get(1)?, bytes(2)?, bytes(3)?, row.get(4)?);
    Ok(Protocol::named(&protocol).zip(from).zip(target).map(|((protocol, address), target)| PortRecord {
        address,
        port,
        protocol,
        target,
        inner,
    }))
}

/// Where a port of the host leads. A port of loopback is passed on by a process, which may change the family; any other
/// is changed on the way, which may not.
fn target(wanted: &WantedPort, from: IpAddr, joined: &[Joined]) -> Option<IpAddr> {
    // On a link of the host nothing of the host's is in between.
    let open = joined.iter().filter(|j| !j.network.internal && j.network.is_bridge()).filter_map(|j| j.lease.as_ref());
    let mut all = open.flat_map(super::leases::Lease::addresses);
    let same = all.clone().find(|a| Family::of(*a) == Family::of(from));
    let passed_on = from.is_loopback() && wanted.protocol != Protocol::Sctp;
    same.or_else(|| all.next().filter(|_| passed_on))
}

impl Store {
    /// The ports of a container.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn ports_of(&self, container: &str) -> Result<Vec<PortRecord>, StoreError> {
        let what = "look for the ports of the container";
        self.read(what, |tx| {
            let wrap = self.wrap(what);
            let sql = "SELECT protocol, port, address, target, inner FROM ports WHERE container = ?1 \
                       ORDER BY inner, protocol, address, port";
            let mut query = tx.prepare_cached(sql).map_err(&wrap)?;
            let rows = query.query_map([container], read).map_err(&wrap)?;
            Ok(rows.collect::<Result<Vec<_>, _>>().map_err(&wrap)?.into_iter().flatten().collect())
        })
    }

    /// Part of the transaction that takes addresses.
    pub(super) fn take_ports(
        &self,
        tx: &Transaction<'_>,
        wish: &LeaseWish<'_>,
        joined: &[Joined],
        busy: &Busy<'_>,
    ) -> Result<Vec<PortRecord>, StoreError> {
        let mut taken = Vec::new();
        for wanted in wish.ports {
            let targets = targets(wanted, joined)?;
            let addresses: Vec<IpAddr> = targets.iter().map(|(from, _)| *from).collect();
            let port = self.choose_port(tx, wanted, &addresses, wish.start, busy)?;
            for (from, target) in targets {
                let record = PortRecord { address: from, port, protocol: wanted.protocol, target, inner: wanted.inner };
                tx.prepare_cached(
                    "INSERT INTO ports (protocol, port, address, container, target, inner) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )
                .and_then(|mut insert| {
                    insert.execute(params![
                        record.protocol.as_str(),
                        port,
                        blob(from),
                        wish.container,
                        blob(target),
                        record.inner
                    ])
                })
                .map_err(self.wrap("take ports for the container"))?;
                taken.push(record);
            }
        }
        Ok(taken)
    }

    fn choose_port(
        &self,
        tx: &Transaction<'_>,
        wanted: &WantedPort,
        addresses: &[IpAddr],
        start: u16,
        busy: &Busy<'_>,
    ) -> Result<u16, StoreError> {
        let holder = |port: u16| -> Result<Option<(IpAddr, String)>, StoreError> {
            for address in addresses {
                if let Some(holder) = self.port_holder(tx, *address, port, wanted.protocol)? {
                    return Ok(Some((*address, format!("container {holder}"))));
                }
                if let Some(holder) = busy(*address, port, wanted.protocol) {
                    return Ok(Some((*address, holder)));
                }
            }
            Ok(None)
        };
        let first = |ports: &mut dyn Iterator<Item = u16>, among: String| {
            for port in ports {
                if holder(port)?.is_none() {
                    return Ok(port);
                }
            }
            Err(NetworkError::NoPortLeft { asked: wanted.asked.clone(), among }.into())
        };
        match wanted.host {
            HostPort::One(port) => match holder(port)? {
                None => Ok(port),
                Some((address, holder)) => {
                    let port = format!("{}/{}", shown(address, port), wanted.protocol);
                    Err(NetworkError::PortTaken { asked: wanted.asked.clone(), port, holder }.into())
                }
            },
            HostPort::Of(range) => first(&mut (range.first..=range.last), format!(" among {range}")),
            HostPort::Any => first(&mut free_numbers(start), String::new()),
        }
    }

    /// Name of the container that has a port.
    fn port_holder(
        &self,
        tx: &Transaction<'_>,
        wanted: IpAddr,
        port: u16,
        protocol: Protocol,
    ) -> Result<Option<String>, StoreError> {
        let wrap = self.wrap("look for who has a port");
        let sql = "SELECT p.address, c.name FROM ports p JOIN containers c ON c.id = p.container \
                   WHERE p.protocol = ?1 AND p.port = ?2";
        let mut query = tx.prepare_cached(sql).map_err(&wrap)?;
        let mut rows = query.query(params![protocol.as_str(), port]).map_err(&wrap)?;
        while let Some(row) = rows.next().map_err(&wrap)? {
            let held = address(&row.get::<_, Vec<u8>>(0).map_err(&wrap)?);
            if held.is_some_and(|held| meet(held, wanted)) {
                return row.get(1).map(Some).map_err(&wrap);
            }
        }
        Ok(None)
    }
}

/// Each address of the host with the container's address that it leads to. An address that nobody wrote, of a family that
/// the container has not, is left out.
fn targets(wanted: &WantedPort, joined: &[Joined]) -> Result<Vec<(IpAddr, IpAddr)>, NetworkError> {
    let found: Vec<(IpAddr, IpAddr)> =
        wanted.addresses.iter().filter_map(|from| Some((*from, target(wanted, *from, joined)?))).collect();
    if found.is_empty() || (wanted.written && found.len() < wanted.addresses.len()) {
        let open = joined.iter().any(|j| !j.network.internal && j.network.is_bridge());
        let reason = match (joined.is_empty(), open, wanted.addresses.first()) {
            (true, ..) => "the container is in no network".to_owned(),
            _ if !joined.iter().any(|j| j.network.is_bridge()) => crate::networks::UNPUBLISHED.to_owned(),
            (_, false, _) => "its networks are internal, and nothing outside reaches them".to_owned(),
            (.., Some(address)) => {
                let version = if address.is_ipv4() { 4 } else { 6 };
                format!("the container has no address of version {version}; use a network that has")
            }
            (.., None) => "there is no address to publish it on".to_owned(),
        };
        return Err(NetworkError::Unreachable { asked: wanted.asked.clone(), reason });
    }
    Ok(found)
}
