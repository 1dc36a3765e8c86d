//! The firewall: two tables of ours in nftables, written and read over netlink.

pub(crate) mod batch;
pub(crate) mod egress;
pub(crate) mod elements;
pub(crate) mod expr;
pub(crate) mod flows;
pub(crate) mod model;
pub(crate) mod outline;
pub(crate) mod policy;
pub(crate) mod read;
pub(crate) mod rules;
pub(crate) mod station;
#[cfg(test)]
mod tests;

/// Name of our tables.
pub(crate) const TABLE: &str = "bulkhead";

/// Message types of nftables (`linux/netfilter/nf_tables.h`), with their subsystem.
pub(crate) mod kind {
    const SUBSYSTEM: u16 = 10 << 8;
    pub(crate) const NEW_TABLE: u16 = SUBSYSTEM;
    pub(crate) const GET_TABLE: u16 = SUBSYSTEM | 1;
    pub(crate) const DEL_TABLE: u16 = SUBSYSTEM | 2;
    pub(crate) const NEW_CHAIN: u16 = SUBSYSTEM | 3;
    pub(crate) const GET_CHAIN: u16 = SUBSYSTEM | 4;
    pub(crate) const NEW_RULE: u16 = SUBSYSTEM | 6;
    pub(crate) const GET_RULE: u16 = SUBSYSTEM | 7;
    pub(crate) const NEW_SET: u16 = SUBSYSTEM | 9;
    pub(crate) const GET_SET: u16 = SUBSYSTEM | 10;
    pub(crate) const NEW_ELEMENT: u16 = SUBSYSTEM | 12;
    pub(crate) const GET_ELEMENT: u16 = SUBSYSTEM | 13;
    pub(crate) const DEL_ELEMENT: u16 = SUBSYSTEM | 14;
    pub(crate) const GET_GENERATION: u16 = SUBSYSTEM | 16;
    pub(crate) const NEW_OBJECT: u16 = SUBSYSTEM | 18;
    pub(crate) const GET_OBJECT: u16 = SUBSYSTEM | 19;
    pub(crate) const BATCH_BEGIN: u16 = 0x10;
    pub(crate) const BATCH_END: u16 = 0x11;
}

/// The fixed part of a message of netfilter: family, version, and for a batch the subsystem.
pub(crate) fn header(family: u8, subsystem: u8) -> [u8; 4] {
    [family, 0, 0, subsystem]
}
