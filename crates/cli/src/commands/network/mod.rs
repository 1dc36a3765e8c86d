//! `bulkhead network …`.

pub mod connect;
pub mod create;
pub mod inspect;
pub mod ls;
pub mod prune;
pub mod rm;

pub use self::connect::{ENTRY_CONNECT, ENTRY_DISCONNECT};
pub use self::create::ENTRY_CREATE;
pub use self::inspect::ENTRY_INSPECT;
pub use self::ls::ENTRY_LS;
pub use self::prune::ENTRY_PRUNE;
pub use self::rm::ENTRY_RM;
