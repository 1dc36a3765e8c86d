//! The streaming reader.

use std::io::BufRead;

use super::header::{BLOCK, EntryKind, Flag, Header, Mtime, OCTAL_MAX};
use super::pax::Pax;
use crate::budget::Budget;
use crate::error::{ImageError, Result, show};
use crate::recipe::RecipeWriter;

/// Zero bytes accepted behind the end marker. Writers pad to a record; the largest in use is about 1 MiB.
const PADDING: u64 = 16 << 20;

/// One entry. Its data, if any, is read from the [`TarReader`] before the next entry is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name as in the archive: any bytes but NUL, not normalised, not trusted.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of data that follow; 0 for everything but a file.
    pub size: u64,
    /// Permission bits with set-id and sticky bits.
    pub mode: u32,
    /// Numeric owner; names in the archive are never looked up.
    pub uid: u64,
    /// Numeric group.
    pub gid: u64,
    /// Modification time.
    pub mtime: Mtime,
    /// Target of a link, else empty.
    pub link: Vec<u8>,
    /// Extended attributes, name and value.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the entry's own header starts, in bytes from the start of the uncompressed archive.
    pub offset: u64,
}

/// Strict reader of V7, ustar, GNU and PAX archives from a stream, in one pass.
#[derive(Debug)]
pub struct TarReader<R> {
    input: R,
    offset: u64,
    data: u64,
    padding: u64,
    last: Vec<u8>,
    header_limit: u64,
    headers_limit: u64,
    headers_left: u64,
    ended: bool,
    /// Bytes of the current entry's content that were not used yet.
    content: u64,
    recipe: Option<RecipeWriter>,
}

impl<R: BufRead> TarReader<R> {
    /// Reads from the current position of `input`, within the header limits of `budget`.
    pub fn new(input: R, budget: &Budget) -> Self {
        Self {
            input,
            offset: 0,
            data: 0,
            padding: 0,
            last: Vec::new(),
            header_limit: budget.header,
            headers_limit: budget.headers,
            headers_left: budget.headers,
            ended: false,
            content: 0,
            recipe: None,
        }
    }

    /// Writes down everything of the archive but the content of files, so that its very bytes can be made again from the
    /// unpacked tree.
    pub(crate) fn record(&mut self, recipe: RecipeWriter) {
        self.recipe = Some(recipe);
    }

    /// The recipe, once the archive was read to its end.
    pub(crate) fn take_recipe(&mut self) -> Option<RecipeWriter> {
        self.recipe.take()
    }

    /// The input, for what is behind the archive.
    pub fn into_inner(self) -> R {
        self.input
    }

    /// The next entry, or `None` behind the end marker and its padding, when the whole input was read.
    ///
    /// # Errors
    /// Anything that is not a complete, unambiguous archive, naming offset and entry; limits of the budget.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        if self.ended {
            return Ok(None);
        }
        self.skip_data()?;
        let mut pax: Option<Pax> = None;
        let mut long_name: Option<Vec<u8>> = None;
        let mut long_link: Option<Vec<u8>> = None;
        loop {
            let offset = self.offset;
            let block = self.block()?;
            if block.iter().all(|byte| *byte == 0) {
                if pax.is_some() || long_name.is_some() || long_link.is_some() {
                    return Err(self.bad("extended header without an entry"));
                }
                self.finish()?;
                return Ok(None);
            }
            let header = Header::new(&block).map_err(|e| self.bad(e))?;
            let flag = header.flag().map_err(|e| self.bad(e))?;
            match flag {
                Flag::Pax => {
                    let records = self.extension(&header)?;
                    if pax.is_some() {
                        return Err(self.bad("two PAX headers for one entry"));
                    }
                    pax = Some(Pax::parse(&records).map_err(|e| self.bad(e))?);
                }
                Flag::PaxGlobal => {
                    let records = self.extension(&header)?;
                    Pax::check_global(&records).map_err(|e| self.bad(e))?;
                }
                Flag::LongName | Flag::LongLink => {
                    let bytes = self.extension(&header)?;
                    let name = c_string(bytes).ok_or_else(|| self.bad("GNU long name is malformed"))?;
                    let slot = if flag == Flag::LongName { &mut long_name } else { &mut long_link };
                    if slot.replace(name).is_some() {
                        return Err(self.bad("two GNU long names for one entry"));
                    }
                }
                Flag::Entry(_) | Flag::OldFile => {
                    let pax = pax.unwrap_or_default();
                    let entry = merge(&header, flag, pax, long_name, long_link, offset).map_err(|(name, reason)| {
                        self.last = name;
                        ImageError::Archive { offset, entry: show(&self.last), reason }
                    })?;
                    self.last.clone_from(&entry.path);
                    self.data = entry.size;
                    self.padding = padding(entry.size);
                    if let Some(recipe) = &mut self.recipe
                        && entry.size > 0
                    {
                        recipe.content(&entry.path, entry.size)?;
                        self.content = entry.size;
                    }
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// Some bytes of the current entry's data, at least one until the data is at its end. Call [`Self::consume`] for
    /// those that were used.
    ///
    /// # Errors
    /// A truncated or damaged stream.
    pub fn chunk(&mut self) -> Result<&[u8]> {
        if self.data == 0 {
            return Ok(&[]);
        }
        let left = usize::try_from(self.data).unwrap_or(usize::MAX);
        // Two calls, because a borrow that is returned can not be given up on the error path.
        let available = loop {
            match self.input.fill_buf() {
                Ok(buf) => break buf.len(),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed(e)),
            }
        };
        if available == 0 {
            return Err(self.truncated());
        }
        match self.input.fill_buf() {
            Ok(buf) => Ok(buf.get(..left.min(available)).unwrap_or_default()),
            Err(e) => Err(ImageError::io("reading the archive", e)),
        }
    }

    /// Marks `n` bytes of the last [`Self::chunk`] as used.
    pub fn consume(&mut self, n: usize) {
        let n = usize::try_from(self.data).unwrap_or(usize::MAX).min(n);
        if let Some(recipe) = &mut self.recipe {
            let content = usize::try_from(self.content).unwrap_or(usize::MAX).min(n);
            self.content -= crate::len64(content);
            // What is consumed is in the buffer; reading it again reads nothing.
            let buffer = self.input.fill_buf().unwrap_or_default();
            recipe.bytes(buffer.get(content..n).unwrap_or_default());
        }
        self.input.consume(n);
        self.data -= crate::len64(n);
        self.offset += crate::len64(n);
    }

    /// All data of the current entry, which must not be longer than `limit` bytes.
    ///
    /// # Errors
    /// A truncated stream, or data above the limit.
    pub fn read_data(&mut self, limit: u64) -> Result<Vec<u8>> {
        if self.data > limit {
            return Err(ImageError::Limit { limit: "document", allowed: limit, unit: "bytes in a JSON document" });
        }
        let mut out = Vec::with_capacity(usize::try_from(self.data).unwrap_or(0));
        loop {
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                return Ok(out);
            }
            out.extend_from_slice(chunk);
            let n = chunk.len();
            self.consume(n);
        }
    }

    fn skip_data(&mut self) -> Result<()> {
        self.data = self.data.checked_add(self.padding).ok_or_else(|| self.bad("size is out of range"))?;
        self.padding = 0;
        loop {
            let n = self.chunk()?.len();
            if n == 0 {
                return Ok(());
            }
            self.consume(n);
        }
    }

    fn block(&mut self) -> Result<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        match self.input.read_exact(&mut block) {
            Ok(()) => {
                self.offset += crate::len64(BLOCK);
                if let Some(recipe) = &mut self.recipe {
                    recipe.bytes(&block);
                }
                Ok(block)
            }
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Err(self.end_of(&e)),
            Err(e) => Err(self.failed(e)),
        }
    }

    /// Content of an extended header.
    fn extension(&mut self, header: &Header<'_>) -> Result<Vec<u8>> {
        let size = header.size().map_err(|e| self.bad(e))?;
        if size > self.header_limit {
            return Err(ImageError::Limit {
                limit: "header",
                allowed: self.header_limit,
                unit: "bytes in an extended header",
            });
        }
        self.headers_left = self.headers_left.checked_sub(size).ok_or(ImageError::Limit {
            limit: "headers",
            allowed: self.headers_limit,
            unit: "bytes in all extended headers",
        })?;
        self.data = size;
        let bytes = self.read_data(size)?;
        self.padding = padding(size);
        self.skip_data()?;
        Ok(bytes)
    }

    /// Behind the first zero block: a second one, then only zeros until the input ends. The input is read to its end so
    /// that whoever hashes it has seen all of it.
    fn finish(&mut self) -> Result<()> {
        let second = self.block()?;
        if second.iter().any(|byte| *byte != 0) {
            return Err(self.bad("a single zero block in the middle of the archive"));
        }
        let mut zeros = 0_u64;
        loop {
            let buf = match self.input.fill_buf() {
                Ok(buf) => buf,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(self.failed(e)),
            };
            let n = buf.len();
            if n == 0 {
                self.ended = true;
                return Ok(());
            }
            zeros = zeros.saturating_add(crate::len64(n));
            if buf.iter().any(|byte| *byte != 0) {
                return Err(self.bad("data behind the end of the archive"));
            }
            if zeros > PADDING {
                return Err(self.bad("more than 16 MiB of padding behind the end of the archive"));
            }
            if let Some(recipe) = &mut self.recipe {
                let buffer = self.input.fill_buf().unwrap_or_default();
                recipe.bytes(buffer.get(..n).unwrap_or_default());
            }
            self.input.consume(n);
            self.offset += crate::len64(n);
        }
    }

    fn bad(&self, reason: impl Into<String>) -> ImageError {
        ImageError::Archive { offset: self.offset, entry: show(&self.last), reason: reason.into() }
    }

    fn truncated(&self) -> ImageError {
        self.bad("archive is truncated")
    }

    /// End of input inside a block: of the archive itself, or of the compressed stream around it.
    fn end_of(&self, error: &std::io::Error) -> ImageError {
        let text = error.to_string();
        if text.contains("stream damaged") { self.bad(text) } else { self.truncated() }
    }

    fn failed(&self, error: std::io::Error) -> ImageError {
        match error.downcast::<ImageError>() {
            Ok(inner) => inner,
            Err(error) => self.bad(error.to_string()),
        }
    }
}

fn padding(size: u64) -> u64 {
    let block = crate::len64(BLOCK);
    (block - size % block) % block
}

/// A name with a NUL behind it and nothing else.
fn c_string(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    if end == 0 || bytes.iter().skip(end).any(|byte| *byte != 0) {
        return None;
    }
    bytes.truncate(end);
    Some(bytes)
}

type Named = (Vec<u8>, String);

/// Puts header and extensions together, refusing what says the same thing twice and differently.
fn merge(
    header: &Header<'_>,
    flag: Flag,
    pax: Pax,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    offset: u64,
) -> std::result::Result<Entry, Named> {
    let both = (pax.path.is_some() && long_name.is_some()) || (pax.link.is_some() && long_link.is_some());
    let path = pax.path.or(long_name).unwrap_or_else(|| header.name());
    let named = |reason: String| (path.clone(), reason);
    if both {
        return Err(named("name given by a PAX record and by a GNU header".into()));
    }
    if path.is_empty() {
        return Err(named("entry has no name".into()));
    }
    let slash = path.last() == Some(&b'/');
    let kind = match flag {
        Flag::Entry(kind) => kind,
        _ if slash => EntryKind::Directory,
        _ => EntryKind::File,
    };
    if slash && kind != EntryKind::Directory {
        return Err(named("name ends with a slash, but the entry is not a directory".into()));
    }
    let own = header.size().map_err(named)?;
    let size = match pax.size {
        // A writer puts the size into PAX because the field is too small for it, and then leaves 0, the largest number,
        // or the same number in base 256 there. All else is two sizes for one entry.
        Some(size) if size == own || (size > OCTAL_MAX && (own == 0 || own == OCTAL_MAX)) => size,
        Some(size) => return Err(named(format!("size is {own} in the header and {size} in the PAX record"))),
        None => own,
    };
    if size != 0 && kind != EntryKind::File {
        return Err(named(format!("size is {size}, but the entry is not a file")));
    }
    // Room for the padding, and for offsets behind it.
    if size > u64::MAX / 4 {
        return Err(named("size is out of range".into()));
    }
    let is_link = matches!(kind, EntryKind::HardLink | EntryKind::Symlink);
    let link = if is_link { pax.link.or(long_link).unwrap_or_else(|| header.link()) } else { Vec::new() };
    if is_link && link.is_empty() {
        return Err(named("link has no target".into()));
    }
    let mode = header.mode().map_err(named)?;
    let uid = pax.uid.map_or_else(|| header.uid(), Ok).map_err(named)?;
    let gid = pax.gid.map_or_else(|| header.gid(), Ok).map_err(named)?;
    let mtime = pax.mtime.map_or_else(|| header.mtime(), Ok).map_err(named)?;
    Ok(Entry { path, kind, size, mode, uid, gid, mtime, link, xattrs: pax.xattrs, offset })
}
