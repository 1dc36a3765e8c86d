//! Compression by magic number. The name of a file and the media type of a descriptor are hints at best.

use std::io::{self, BufRead, Read, Write};

use flate2::bufread::MultiGzDecoder;

use crate::error::{ImageError, Result};

/// Largest zstd window, as a power of two: 128 MiB. A frame that asks for more is refused before it is allocated.
const ZSTD_WINDOW_LOG: u32 = 27;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, one or more members.
    Gzip,
    /// zstd, one or more frames.
    Zstd,
}

impl Compression {
    /// What the first bytes of a stream say.
    ///
    /// # Errors
    /// Compressions that are not supported are refused by name.
    pub fn detect(head: &[u8]) -> Result<Self> {
        let unsupported =
            |name| Err(ImageError::Input(format!("{name} compression is not supported; recompress with gzip or zstd")));
        match head {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            // Skippable frames, which may come first.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', ..] => unsupported("xz"),
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] => unsupported("bzip2"),
            [0x04, 0x22, 0x4d, 0x18, ..] => unsupported("lz4"),
            [0x5d, 0x00, 0x00, ..] => unsupported("lzma"),
            [b'P', b'K', 3, 4, ..] => unsupported("zip"),
            [0x1f, 0x9d, ..] => unsupported("compress (.Z)"),
            _ => Ok(Self::None),
        }
    }
}

/// A reader of the uncompressed bytes of `R`.
pub enum Decoder<R: BufRead> {
    /// Passed through.
    Plain(R),
    /// gzip.
    Gzip(Box<MultiGzDecoder<R>>),
    /// zstd.
    Zstd(zstd::stream::read::Decoder<'static, R>),
}

impl<R: BufRead> std::fmt::Debug for Decoder<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Gzip(_) => "Gzip",
            Self::Zstd(_) => "Zstd",
        })
    }
}

impl<R: BufRead> Decoder<R> {
    /// Looks at the first bytes of `input` and picks the decoder.
    ///
    /// # Errors
    /// As [`Compression::detect`], and what reading returns.
    pub fn new(mut input: R) -> Result<Self> {
        let head = input.fill_buf().map_err(|e| ImageError::io("reading the input", e))?;
        // A pipe may hand over less than a magic number at first; two bytes or more decide in practice, fewer are not
        // an archive of any kind and fail as a truncated one.
        Ok(match Compression::detect(head)? {
            Compression::None => Self::Plain(input),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(input))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)
                    .map_err(|e| ImageError::io("starting the zstd decoder", e))?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(|e| ImageError::io("limiting the zstd window", e))?;
                Self::Zstd(decoder)
            }
        })
    }

    /// Which decoder was picked.
    #[must_use]
    pub fn compression(&self) -> Compression {
        match self {
            Self::Plain(_) => Compression::None,
            Self::Gzip(_) => Compression::Gzip,
            Self::Zstd(_) => Compression::Zstd,
        }
    }

    /// The compressed input, while there is nothing decoded from it that matters to the caller.
    pub(crate) fn get_mut(&mut self) -> &mut R {
        match self {
            Self::Plain(inner) => inner,
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.get_mut(),
        }
    }

    /// The compressed input.
    pub fn into_inner(self) -> R {
        match self {
            Self::Plain(inner) => inner,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(inner) => inner.read(buf),
            Self::Gzip(decoder) => decoder.read(buf).map_err(|e| label("gzip", e)),
            Self::Zstd(decoder) => decoder.read(buf).map_err(|e| label("zstd", e)),
        }
    }
}

/// A writer that compresses with gzip. The same bytes give the same output: its head has no time and no name.
#[derive(Debug)]
pub struct GzipWriter<W: Write>(flate2::write::GzEncoder<W>);

impl<W: Write> GzipWriter<W> {
    /// Onto `inner`.
    #[must_use]
    pub fn new(inner: W) -> Self {
        Self(flate2::write::GzEncoder::new(inner, flate2::Compression::default()))
    }

    /// Writes what is left, and gives the writer back.
    ///
    /// # Errors
    /// What writing returns.
    pub fn finish(self) -> io::Result<W> {
        self.0.finish()
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Says which decoder failed, and keeps errors that came from below as they are.
fn label(name: &str, error: io::Error) -> io::Error {
    if error.get_ref().is_some_and(|e| e.is::<ImageError>()) || error.kind() == io::ErrorKind::Interrupted {
        return error;
    }
    io::Error::new(error.kind(), format!("{name} stream damaged or truncated: {error}"))
}
