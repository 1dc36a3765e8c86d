//! Commands about the store as a whole: `system df`, `system fsck`, and the prunes.

pub mod df;
pub mod fsck;
pub mod halt;
pub mod info;
pub mod prune;
pub mod restore;
pub mod unit;
