//! For tests only: archives and images made in memory, good ones and hostile ones. Deterministic; no I/O but
//! [`write_files`]. Not part of the interface of the engine.

mod image;
mod tar;

pub use image::{Files, ImageSpec, docker_archive, docker_archive_files, oci_files, oci_in_docker_files, write_files};
pub use tar::{EntrySpec, Style, TarBuilder, pax_record};

use std::io::Write;

/// `bytes` as one gzip member, at the lowest level. Empty if the compressor fails, which it does not in memory.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap_or_default()
}

/// `bytes` as one zstd frame, at the lowest level. Empty if the compressor fails, which it does not in memory.
#[must_use]
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::stream::encode_all(bytes, 1).unwrap_or_default()
}
