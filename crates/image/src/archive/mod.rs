//! Archives: one strict tar reader, and the compressions around it.
//!
//! Two readers that understand one archive differently are how unsigned or unscanned content gets in. So this reader
//! is the only one in the project, and what real readers are known to disagree on is refused, not guessed:
//! a size given twice, data behind links and directories, bytes behind the end marker, an archive without an end.

mod compress;
mod header;
mod pax;
mod tar;
mod write;

pub use compress::{Compression, Decoder, GzipWriter};
pub use header::{EntryKind, Mtime};
pub use tar::{Entry, TarReader};
pub use write::{NewEntry, TarWriter};
