//! Addresses outside that containers reach because a name on their list has them, for as long as it does.

use std::net::IpAddr;
use std::time::Duration;

use bulkhead_sys::Errno;

use crate::Traffic;
use crate::error::NetError;
use crate::firewall::Firewall;
use crate::nft::batch::{Batch, Refused};
use crate::nft::elements::Placed;
use crate::nft::model::{Element, Family, Value};
use crate::nft::{egress, flows, read};
use crate::socket::Socket;

/// Times that a change is tried again when somebody else changes the same.
const ATTEMPTS: u32 = 5;

/// Lets a container reach an address outside for so long, by what its list says of a name that was answered with it. One that
/// it reaches already is reached for so long from now.
///
/// `own` are the container's addresses, `traffic` what the list says of the name. Of the container's own names no two may
/// have a part of their ports in common: the same ports or others. Whether the address may be reached at all is for the
/// caller to know; what no container may send to is refused in any case.
///
/// # Errors
/// What the kernel refuses.
pub fn pin(own: &[IpAddr], to: IpAddr, traffic: &[Traffic], lifetime: Duration) -> Result<(), NetError> {
    let each = own.iter().flat_map(|own| traffic.iter().map(move |traffic| flows::of_pin(*own, to, *traffic)));
    let mut all: Vec<Placed> = each.flatten().collect();
    all.sort();
    all.dedup();
    let milliseconds = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX).max(1);
    let mut firewall = Firewall::open()?;
    let socket = firewall.socket()?;
    let (mut there, mut refused) = (Vec::new(), None);
    for _ in 0..ATTEMPTS {
        let mut batch = Batch::new(socket, None);
        // The time of one that is there is not changed by adding it again.
        batch.many(&there, false);
        batch.timed(&all, milliseconds);
        match batch.commit() {
            Ok(()) => return Ok(()),
            Err(Refused { no, what, .. }) if matches!(no.errno, Errno::EXIST | Errno::NOENT) => {
                refused = Some(NetError::refused(what)(no));
                there = of(socket, own)?.into_iter().filter(|p| all.contains(p)).collect();
            }
            Err(other) => return Err(other.error()),
        }
    }
    refused.map_or(Ok(()), Err)
}

/// Takes away all that was pinned for a container with these addresses.
///
/// # Errors
/// What the kernel refuses.
pub(crate) fn forget(socket: &mut Socket, own: &[IpAddr]) -> Result<(), NetError> {
    if own.is_empty() {
        return Ok(());
    }
    for _ in 0..ATTEMPTS {
        let there = of(socket, own)?;
        let mut batch = Batch::new(socket, None);
        batch.many(&there, false);
        match batch.commit() {
            // Its time was over meanwhile.
            Err(Refused { no, .. }) if no.errno == Errno::NOENT => {}
            done => return done.map_err(Refused::error),
        }
    }
    Ok(())
}

/// What is pinned for these addresses.
fn of(socket: &mut Socket, own: &[IpAddr]) -> Result<Vec<Placed>, NetError> {
    let mut all = Vec::new();
    for (set, length) in [(egress::PINNED4, 4), (egress::PINNED6, 16)] {
        for shown in read::elements(socket, Family::Inet, set)? {
            let source = shown.key.get(..length).and_then(address);
            if source.is_some_and(|source| own.contains(&source)) {
                let element = Element { key: shown.key, end: shown.end, value: Value::Nothing };
                all.push(Placed { family: Family::Inet, set, element });
            }
        }
    }
    Ok(all)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
