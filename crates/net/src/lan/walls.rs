//! Walls in the container's own namespace.
//!
//! The container cannot change them: without a right to administer its network, which is refused on such a network, it
//! neither takes a table away nor its link's address. They stand below every socket, so a foreign source that an
//! unprivileged program may write (`IPV6_FREEBIND`) does not leave the container either.

use bulkhead_sys::Errno;

use super::{Station, Uplink};
use crate::error::NetError;
use crate::nft::batch::{self, Batch, Refused};
use crate::nft::station::{self, Holder};
use crate::nft::{model::Chain, read};

fn table(inner: &str) -> String {
    format!("bulkhead-{inner}")
}

fn chains(station: &Station, uplink: &Uplink, mac: [u8; 6]) -> Vec<Chain> {
    // What is sent by links that share an address has the parent's, which the kernel sees to.
    let own = matches!(uplink.kind, super::Kind::Macvlan(_)).then_some(mac);
    station::chains(&Holder { mac: own, v4: station.v4, v6: station.v6, subnet: uplink.v4 })
}

/// Puts them around a link that is not up yet.
pub(super) fn raise(station: &Station, uplink: &Uplink, mac: [u8; 6]) -> Result<(), NetError> {
    change(&station.inner, &chains(station, uplink, mac))
}

/// Takes them away with a link.
pub(super) fn raze(inner: &str) -> Result<(), NetError> {
    change(inner, &[])
}

fn change(inner: &str, chains: &[Chain]) -> Result<(), NetError> {
    let mut socket = batch::socket()?;
    let mut attempt = |replace: bool| {
        let mut batch = Batch::new(&mut socket, None);
        batch.of_link(&table(inner), inner, chains, replace);
        batch.commit()
    };
    // To take away what is there the kernel waits some 10 ms, and mostly nothing is.
    let done = match attempt(chains.is_empty()) {
        Err(refused) if refused.no.errno == Errno::EXIST => attempt(true),
        done => done,
    };
    done.map_err(Refused::error)
}

/// Whether they are as they were put up.
pub(super) fn stand(station: &Station, uplink: &Uplink, mac: [u8; 6]) -> Result<bool, NetError> {
    read::is_of_link(&mut batch::socket()?, &table(&station.inner), &chains(station, uplink, mac))
}
