//! The store as a whole: what there is, what it takes, whether it is sound, and what a boot needs.

mod boot;
mod df;
mod fsck;
mod info;
mod size;

pub(crate) use self::boot::mark_lost;
pub use self::boot::{Restored, restore};
pub use self::df::{DiskUsage, ImageUsage, VolumeUsage, df};
pub use self::fsck::{Finding, fsck};
pub use self::info::{Info, info};
pub use self::size::size_of;
