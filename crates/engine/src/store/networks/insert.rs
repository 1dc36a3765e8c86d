//! The part of a transaction that records a network, with subnets that nobody else has a part of.

use std::collections::BTreeMap;

use rusqlite::{Transaction, params};

use super::rows::{blob, listed};
use super::{Block, BlockWish, Ground, NetworkError, NetworkRecord, NewNetwork};
use crate::networks::{Net, choose, unique_local};
use crate::store::{Store, StoreError};

/// Texts and bytes of a block, as the table has them.
type Columns = (Option<String>, Option<Vec<u8>>, Option<String>);

fn columns(block: Option<Block>) -> Columns {
    let range = block.and_then(|b| b.range).map(|r| r.to_string());
    (block.map(|b| b.subnet.to_string()), block.map(|b| blob(b.gateway)), range)
}

impl Store {
    pub(super) fn insert_network(
        &self,
        tx: &Transaction<'_>,
        new: &NewNetwork,
        ground: &Ground<'_>,
    ) -> Result<NetworkRecord, StoreError> {
        let (v4, v6) = blocks(new, &self.subnets(tx)?, ground)?;
        let text = |map: &BTreeMap<String, String>| {
            serde_json::to_string(map).map_err(|source| StoreError::Record {
                what: "store the options of network",
                id: new.name.clone(),
                source,
            })
        };
        let (four, six) = (columns(v4), columns(v6));
        tx.execute(
            "INSERT INTO networks (id, name, driver, subnet4, gateway4, range4, subnet6, gateway6, range6, mtu, internal, \
             isolated, masquerade, options, labels, created, policy, egress) \
             VALUES (?1, ?2, ?18, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
            params![
                new.id,
                new.name,
                four.0,
                four.1,
                four.2,
                six.0,
                six.1,
                six.2,
                new.mtu,
                new.internal,
                new.isolated,
                new.masquerade,
                text(&new.options)?,
                text(&new.labels)?,
                new.created,
                listed(&new.name, new.policy.as_deref())?,
                listed(&new.name, new.egress.as_deref())?,
                driver(new)
            ],
        )
        .map_err(self.wrap("record the network"))?;
        Ok(record_of(new, v4, v6))
    }

    /// The subnets of all networks, with their names.
    fn subnets(&self, tx: &Transaction<'_>) -> Result<Vec<(Net, String)>, StoreError> {
        let wrap = self.wrap("look for the subnets");
        let sql = "SELECT subnet4, name FROM networks WHERE subnet4 IS NOT NULL \
                   UNION ALL SELECT subnet6, name FROM networks WHERE subnet6 IS NOT NULL";
        let mut query = tx.prepare_cached(sql).map_err(&wrap)?;
        let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?))).map_err(&wrap)?;
        let mut all = Vec::new();
        for row in rows {
            let (text, name) = row.map_err(&wrap)?;
            all.extend(Net::parse(&text).map(|net| (net, name)));
        }
        Ok(all)
    }
}

/// The blocks that a network gets.
fn blocks(
    new: &NewNetwork,
    taken: &[(Net, String)],
    ground: &Ground<'_>,
) -> Result<(Option<Block>, Option<Block>), NetworkError> {
    let link = new.link.clone().unwrap_or_else(|| crate::networks::bridge_link(&new.id));
    let mut others: Vec<Net> = taken.iter().map(|(net, _)| *net).collect();
    others.extend(ground.others(&link).map(|(net, _)| *net));
    let v4 = match new.v4 {
        BlockWish::None => None,
        BlockWish::Free => Some(with_gateway(choose(ground.pools, &others)).ok_or_else(|| {
            let pools: Vec<String> = ground.pools.iter().map(ToString::to_string).collect();
            NetworkError::NoSubnetLeft { pools: pools.join(" ") }
        })?),
        BlockWish::These(block) => Some(clear(block, taken, ground, &link)?),
    };
    let v6 = match new.v6 {
        BlockWish::None => None,
        BlockWish::Free => Some(
            with_gateway(unique_local(&new.id, &others))
                .ok_or_else(|| NetworkError::NoSubnetLeft { pools: "fd00::/8".to_owned() })?,
        ),
        BlockWish::These(block) => Some(clear(block, taken, ground, &link)?),
    };
    Ok((v4, v6))
}

fn driver(new: &NewNetwork) -> &str {
    if new.driver.is_empty() { "bridge" } else { &new.driver }
}

fn record_of(new: &NewNetwork, v4: Option<Block>, v6: Option<Block>) -> NetworkRecord {
    NetworkRecord {
        id: new.id.clone(),
        name: new.name.clone(),
        driver: driver(new).to_owned(),
        v4,
        v6,
        mtu: new.mtu,
        internal: new.internal,
        isolated: new.isolated,
        masquerade: new.masquerade,
        options: new.options.clone(),
        labels: new.labels.clone(),
        created: new.created,
        policy: new.policy.clone(),
        egress: new.egress.clone(),
    }
}

/// A subnet with its first address for the bridge.
fn with_gateway(subnet: Option<Net>) -> Option<Block> {
    let subnet = subnet?;
    Some(Block { subnet, gateway: subnet.hosts()?.0, range: None })
}

/// A subnet that was asked for, if nobody has a part of it. A route of the host to something wider is no obstacle: who
/// writes the subnet out wants it to go first.
fn clear(block: Block, taken: &[(Net, String)], ground: &Ground<'_>, link: &str) -> Result<Block, NetworkError> {
    let subnet = block.subnet;
    let overlap = |other: &Net, holder: String| NetworkError::Overlap {
        subnet: subnet.to_string(),
        other: other.to_string(),
        holder,
    };
    if let Some((other, name)) = taken.iter().find(|(net, _)| net.overlaps(&subnet)) {
        return Err(overlap(other, format!("network {name}")));
    }
    let inside = |net: &Net| net.overlaps(&subnet) && net.prefix() >= subnet.prefix();
    if let Some((other, through)) = ground.others(link).find(|(net, _)| inside(net)) {
        return Err(overlap(other, format!("the host, through {through}")));
    }
    Ok(block)
}
