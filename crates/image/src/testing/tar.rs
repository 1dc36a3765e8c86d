//! Writer of archives that does what it is told, also what no good writer would.

/// What an entry is written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Before ustar: no magic number.
    V7,
    /// ustar, with PAX records for what does not fit.
    #[default]
    Pax,
    /// GNU, with long names and base-256 numbers for what does not fit.
    Gnu,
}

/// One entry. Every field is written as it is, sensible or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntrySpec {
    /// Name.
    pub path: Vec<u8>,
    /// Type byte.
    pub flag: u8,
    /// Link target.
    pub link: Vec<u8>,
    /// Content.
    pub data: Vec<u8>,
    /// Size in the header, when it is not that of `data`.
    pub size: Option<u64>,
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: u64,
    /// More PAX records, key and value.
    pub pax: Vec<(Vec<u8>, Vec<u8>)>,
    /// Format.
    pub style: Style,
}

impl EntrySpec {
    /// An entry with type byte `flag`, mode 0644, owner 0 and time 1,000,000,000.
    #[must_use]
    pub fn new(flag: u8, path: impl AsRef<[u8]>) -> Self {
        Self {
            path: path.as_ref().to_vec(),
            flag,
            link: Vec::new(),
            data: Vec::new(),
            size: None,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 1_000_000_000,
            pax: Vec::new(),
            style: Style::Pax,
        }
    }

    /// With a PAX record.
    #[must_use]
    pub fn pax(mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.pax.push((key.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }
}

/// An archive being written.
#[derive(Clone, Debug, Default)]
pub struct TarBuilder {
    out: Vec<u8>,
}

impl TarBuilder {
    /// An archive of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file.
    #[must_use]
    pub fn file(self, path: impl AsRef<[u8]>, mode: u32, data: impl AsRef<[u8]>) -> Self {
        self.entry(EntrySpec { mode, data: data.as_ref().to_vec(), ..EntrySpec::new(b'0', path) })
    }

    /// Adds a directory.
    #[must_use]
    pub fn dir(self, path: impl AsRef<[u8]>, mode: u32) -> Self {
        self.entry(EntrySpec { mode, ..EntrySpec::new(b'5', path) })
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(EntrySpec { link: target.as_ref().to_vec(), mode: 0o777, ..EntrySpec::new(b'2', path) })
    }

    /// Adds a hard link.
    #[must_use]
    pub fn hardlink(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(EntrySpec { link: target.as_ref().to_vec(), ..EntrySpec::new(b'1', path) })
    }

    /// Adds any entry.
    #[must_use]
    pub fn entry(mut self, spec: EntrySpec) -> Self {
        self.push(spec);
        self
    }

    /// Adds bytes as they are.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.out.extend_from_slice(bytes);
        self
    }

    /// The archive with its end marker.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.out.resize(self.out.len() + 1024, 0);
        self.out
    }

    /// The archive without an end marker.
    #[must_use]
    pub fn unfinished(self) -> Vec<u8> {
        self.out
    }

    fn push(&mut self, spec: EntrySpec) {
        let mut records = spec.pax.clone();
        let size = spec.size.unwrap_or(crate::len64(spec.data.len()));
        for (name, key, flag) in [(&spec.path, "path", b'L'), (&spec.link, "linkpath", b'K')] {
            if name.len() <= 100 {
                continue;
            }
            match spec.style {
                Style::Gnu => {
                    let mut data = name.clone();
                    data.push(0);
                    self.plain(&EntrySpec { data, style: Style::Gnu, ..EntrySpec::new(flag, "././@LongLink") });
                }
                _ => records.push((key.into(), name.clone())),
            }
        }
        if spec.style == Style::Pax {
            for (key, value, limit) in
                [("size", size, 0o777_7777_7777_u64), ("uid", spec.uid, 0o777_7777), ("gid", spec.gid, 0o777_7777)]
            {
                if value > limit && !records.iter().any(|(old, _)| old == key.as_bytes()) {
                    records.push((key.into(), value.to_string().into_bytes()));
                }
            }
        }
        if !records.is_empty() {
            let data = records.iter().flat_map(|(key, value)| pax_record(key, value)).collect();
            self.plain(&EntrySpec { data, ..EntrySpec::new(b'x', "PaxHeaders/x") });
        }
        self.plain(&spec);
    }

    /// Header, data and padding, nothing before them.
    fn plain(&mut self, spec: &EntrySpec) {
        let mut header = [0_u8; 512];
        put(&mut header, 0, 100, &spec.path);
        put(&mut header, 157, 100, &spec.link);
        let base256 = spec.style == Style::Gnu;
        for (at, width, value) in [
            (100, 8, u64::from(spec.mode)),
            (108, 8, spec.uid),
            (116, 8, spec.gid),
            (124, 12, spec.size.unwrap_or(crate::len64(spec.data.len()))),
            (136, 12, spec.mtime),
        ] {
            put(&mut header, at, width, &number(value, width, base256));
        }
        put(&mut header, 156, 1, &[spec.flag]);
        match spec.style {
            Style::V7 => {}
            Style::Pax => put(&mut header, 257, 8, b"ustar\x0000"),
            Style::Gnu => put(&mut header, 257, 8, b"ustar  \0"),
        }
        put(&mut header, 148, 8, b"        ");
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        put(&mut header, 148, 8, format!("{sum:06o}\0 ").as_bytes());
        self.out.extend_from_slice(&header);
        self.out.extend_from_slice(&spec.data);
        self.out.resize(self.out.len().next_multiple_of(512), 0);
    }
}

fn put(header: &mut [u8; 512], at: usize, width: usize, value: &[u8]) {
    for (slot, byte) in header.iter_mut().skip(at).take(width).zip(value) {
        *slot = *byte;
    }
}

/// Octal if it fits, else base 256, else zeros.
fn number(value: u64, width: usize, base256: bool) -> Vec<u8> {
    let digits = width - 1;
    let text = format!("{value:0digits$o}");
    if text.len() <= digits {
        return text.into_bytes();
    }
    if !base256 {
        return vec![b'0'; digits];
    }
    let bytes = value.to_be_bytes();
    let mut out = vec![0; width];
    for (slot, byte) in out.iter_mut().rev().zip(bytes.iter().rev()) {
        *slot = *byte;
    }
    if let Some(first) = out.first_mut() {
        *first |= 0x80;
    }
    out
}

/// One PAX record with its length.
#[must_use]
pub fn pax_record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let mut length = body + 1;
    while length != body + length.to_string().len() {
        length = body + length.to_string().len();
    }
    let mut out = format!("{length} ").into_bytes();
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
    out
}
