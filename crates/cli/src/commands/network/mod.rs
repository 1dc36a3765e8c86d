//! `bulkhead network …`.

pub mod connect;
pub mod create;
pub mod denied;
pub mod graph;
pub mod inspect;
pub mod ls;
pub mod policy;
pub mod prune;
pub mod rm;
pub mod verify;

pub use self::connect::{ENTRY_CONNECT, ENTRY_DISCONNECT};
pub use self::create::ENTRY_CREATE;
pub use self::denied::ENTRY_DENIED;
pub use self::graph::ENTRY_GRAPH;
pub use self::inspect::ENTRY_INSPECT;
pub use self::ls::ENTRY_LS;
pub use self::policy::ENTRY_POLICY;
pub use self::prune::ENTRY_PRUNE;
pub use self::rm::ENTRY_RM;
pub use self::verify::ENTRY_VERIFY;
