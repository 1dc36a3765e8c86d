//! Rows of the table of networks, and addresses as the database has them.

use std::net::IpAddr;

use rusqlite::Row;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Block, NetworkRecord};
use crate::networks::Net;
use crate::store::StoreError;

pub(super) const COLUMNS: &str = "id, name, driver, subnet4, gateway4, range4, subnet6, gateway6, range6, mtu, internal, \
     isolated, masquerade, options, labels, created, policy, egress FROM networks";

/// Bytes of an address in the order of the network, so that they sort as addresses do.
pub(super) fn blob(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// The address that these bytes are; nothing for another number of them.
pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// An address in column `at`.
pub(super) fn address_at(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<IpAddr>> {
    Ok(row.get::<_, Option<Vec<u8>>>(at)?.and_then(|bytes| address(&bytes)))
}

/// A list as a column has it; nothing is no list, and not an empty one.
pub(super) fn list<T: DeserializeOwned>(
    what: &'static str,
    id: &str,
    text: Option<&str>,
) -> Result<Option<Vec<T>>, StoreError> {
    let read = |text| serde_json::from_str(text);
    text.map(read).transpose().map_err(|source| StoreError::Record { what, id: id.to_owned(), source })
}

/// The text of such a column.
pub(super) fn listed<T: Serialize>(id: &str, all: Option<&[T]>) -> Result<Option<String>, StoreError> {
    let what = "store the policy of network";
    let written = |all| serde_json::to_string(all);
    all.map(written).transpose().map_err(|source| StoreError::Record { what, id: id.to_owned(), source })
}

/// A row as it is in the table, before its texts are read.
pub(super) struct RawNetwork {
    id: String,
    name: String,
    driver: String,
    v4: RawBlock,
    v6: RawBlock,
    mtu: u32,
    internal: bool,
    isolated: bool,
    masquerade: bool,
    options: String,
    labels: String,
    created: i64,
    policy: Option<String>,
    egress: Option<String>,
}

struct RawBlock {
    subnet: Option<String>,
    gateway: Option<IpAddr>,
    range: Option<String>,
}

impl RawBlock {
    fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        Ok(Self { subnet: row.get(at)?, gateway: address_at(row, at + 1)?, range: row.get(at + 2)? })
    }

    fn parse(self) -> Option<Block> {
        let subnet = Net::parse(&self.subnet?)?;
        Some(Block { subnet, gateway: self.gateway?, range: self.range.and_then(|r| Net::parse(&r)) })
    }
}

pub(super) fn read_row(row: &Row<'_>) -> rusqlite::Result<RawNetwork> {
    Ok(RawNetwork {
        id: row.get(0)?,
        name: row.get(1)?,
        driver: row.get(2)?,
        v4: RawBlock::read(row, 3)?,
        v6: RawBlock::read(row, 6)?,
        mtu: row.get(9)?,
        internal: row.get(10)?,
        isolated: row.get(11)?,
        masquerade: row.get(12)?,
        options: row.get(13)?,
        labels: row.get(14)?,
        created: row.get(15)?,
        policy: row.get(16)?,
        egress: row.get(17)?,
    })
}

impl RawNetwork {
    pub(super) fn parse(self) -> Result<NetworkRecord, StoreError> {
        let map = |text: &str| {
            serde_json::from_str(text).map_err(|source| StoreError::Record {
                what: "read the options of network",
                id: self.name.clone(),
                source,
            })
        };
        let (options, labels) = (map(&self.options)?, map(&self.labels)?);
        let what = "read the policy of network";
        let policy = list(what, &self.name, self.policy.as_deref())?;
        let egress = list(what, &self.name, self.egress.as_deref())?;
        Ok(NetworkRecord {
            id: self.id,
            name: self.name,
            driver: self.driver,
            v4: self.v4.parse(),
            v6: self.v6.parse(),
            mtu: self.mtu,
            internal: self.internal,
            isolated: self.isolated,
            masquerade: self.masquerade,
            options,
            labels,
            created: self.created,
            policy,
            egress,
        })
    }
}
