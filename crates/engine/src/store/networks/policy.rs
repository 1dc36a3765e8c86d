//! Who may send what to whom on a network.

use rusqlite::{Transaction, params};

use super::leases::{COLUMNS, Lease, RawJoin};
use super::rows::listed;
use super::{NetworkError, NetworkRecord};
use crate::networks::FlowRule;
use crate::store::{Store, StoreError};

/// A container on a network with a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Full id.
    pub container: String,
    /// Its name and its aliases there.
    pub names: Vec<String>,
    /// Its addresses; nothing when it does not run.
    pub lease: Option<Lease>,
}

impl Store {
    /// Changes the policy of a network in one transaction: `change` makes the new one from what there is and who is there.
    ///
    /// # Errors
    ///
    /// A network that is not there, or whose members do not reach each other at all; what `change` says.
    pub fn change_policy(
        &self,
        query: &str,
        change: impl FnOnce(&NetworkRecord, &[Peer]) -> Result<Option<Vec<FlowRule>>, NetworkError>,
    ) -> Result<NetworkRecord, StoreError> {
        let what = "record the policy of the network";
        self.write(what, |tx| {
            let mut network = self.network(tx, query)?;
            if network.isolated {
                return Err(NetworkError::Isolated { name: network.name }.into());
            }
            network.policy = change(&network, &self.peers(tx, "", &network.id)?)?;
            let text = listed(&network.name, network.policy.as_deref())?;
            let sql = "UPDATE networks SET policy = ?2 WHERE id = ?1";
            tx.execute(sql, params![network.id, text]).map_err(self.wrap(what))?;
            Ok(network)
        })
    }

    /// Who is on a network, by whatever names, and their addresses.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn peers_of(&self, network: &str) -> Result<Vec<Peer>, StoreError> {
        self.read("look for the members of the network", |tx| self.peers(tx, "", network))
    }

    /// As [`Store::peers_of`], `first` before all others.
    pub(super) fn peers(&self, tx: &Transaction<'_>, first: &str, network: &str) -> Result<Vec<Peer>, StoreError> {
        let wrap = self.wrap("look for the members of the network");
        let sql = format!(
            "SELECT {COLUMNS}, c.id, c.name FROM leases l JOIN containers c ON c.id = l.container \
             WHERE l.network = ?1 ORDER BY c.id <> ?2, c.name"
        );
        let mut query = tx.prepare_cached(&sql).map_err(&wrap)?;
        let rows = query.query_map([network, first], |row| {
            let raw = RawJoin::read(row)?;
            let lease = raw.lease();
            let mut names: Vec<String> = vec![row.get(12)?];
            names.extend(raw.wish.aliases);
            Ok(Peer { container: row.get(11)?, names, lease })
        });
        rows.map_err(&wrap)?.collect::<Result<_, _>>().map_err(&wrap)
    }
}
