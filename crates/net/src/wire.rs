//! Netlink messages as bytes: a writer that counts, a reader that trusts no length (`netlink(7)`).
//!
//! Lengths of attributes are 16 bits on the wire. One that does not fit makes the whole message unusable here; cut short
//! silently it let a caller smuggle attributes of its own (CVE-2021-43784).

/// The attribute holds attributes.
const NESTED: u16 = 0x8000;
/// Bits of a type that are the type.
const TYPE: u16 = 0x3fff;
/// Length of a message's header.
pub(crate) const HEADER: usize = 16;
/// Length of an attribute's header.
const ATTRIBUTE: usize = 4;

/// Messages one after the other.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    start: usize,
    too_long: bool,
}

impl Writer {
    /// Begins a message. `header` is the fixed part of its family.
    pub(crate) fn begin(&mut self, kind: u16, flags: u16, sequence: u32, header: &[u8]) {
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(&0_u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0_u32.to_ne_bytes());
        self.bytes.extend_from_slice(header);
        self.pad();
    }

    /// Ends the message that was begun last.
    pub(crate) fn end(&mut self) {
        let length = u32::try_from(self.bytes.len() - self.start);
        self.too_long |= length.is_err();
        if let Some(place) = self.bytes.get_mut(self.start..self.start + 4) {
            place.copy_from_slice(&length.unwrap_or_default().to_ne_bytes());
        }
    }

    /// Adds a flag to the message that was begun last.
    pub(crate) fn flag(&mut self, flag: u16) {
        if let Some(place) = self.bytes.get_mut(self.start + 6..self.start + 8) {
            let flags = short(place, 0).unwrap_or_default() | flag;
            place.copy_from_slice(&flags.to_ne_bytes());
        }
    }

    /// What was written; nothing when something was too long for its field.
    pub(crate) fn finish(self) -> Option<Vec<u8>> {
        (!self.too_long).then_some(self.bytes)
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }

    /// An attribute.
    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + ATTRIBUTE);
        self.too_long |= length.is_err();
        self.bytes.extend_from_slice(&length.unwrap_or_default().to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
    }

    /// A number in the byte order of the machine, as rtnetlink has them.
    pub(crate) fn number(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    /// A number in network byte order, as nftables has them.
    pub(crate) fn big(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// A text with its end.
    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.attribute(kind, &bytes);
    }

    /// An attribute of attributes, which `inside` writes.
    pub(crate) fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) {
        let at = self.bytes.len();
        self.attribute(kind | NESTED, &[]);
        inside(self);
        let length = u16::try_from(self.bytes.len() - at);
        self.too_long |= length.is_err();
        if let Some(place) = self.bytes.get_mut(at..at + 2) {
            place.copy_from_slice(&length.unwrap_or_default().to_ne_bytes());
        }
    }

    /// Bytes that are no attribute, inside one.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.pad();
    }
}

/// A message that was received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received<'a> {
    /// Its type.
    pub(crate) kind: u16,
    /// Its flags.
    pub(crate) flags: u16,
    /// What it answers.
    pub(crate) sequence: u32,
    /// What is behind the header.
    pub(crate) body: &'a [u8],
}

/// Messages of what one receive gave. Ends at the first that is not whole.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(number(bytes, 0)?).ok()?;
        let whole = bytes.get(..length).filter(|_| length >= HEADER)?;
        let received = Received {
            kind: short(bytes, 4)?,
            flags: short(bytes, 6)?,
            sequence: number(bytes, 8)?,
            body: whole.get(HEADER..)?,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(received)
    })
}

/// An attribute: its type, whether it says that it holds others, and what it holds.
pub(crate) type Attribute<'a> = (u16, bool, &'a [u8]);

/// Attributes from `offset` on. Ends at the first that is not whole.
pub(crate) fn attributes(bytes: &[u8], offset: usize) -> impl Iterator<Item = Attribute<'_>> {
    let mut rest = bytes.get(offset..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(short(rest, 0)?);
        let kind = short(rest, 2)?;
        let value = rest.get(ATTRIBUTE..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & TYPE, kind & NESTED != 0, value))
    })
}

/// The first attribute of this type.
pub(crate) fn find(bytes: &[u8], offset: usize, kind: u16) -> Option<&[u8]> {
    attributes(bytes, offset).find(|(k, ..)| *k == kind).map(|(_, _, value)| value)
}

/// Two bytes in the order of the machine.
pub(crate) fn short(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

/// Four bytes in the order of the machine.
pub(crate) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// Four bytes in the order of the network.
pub(crate) fn big(bytes: &[u8]) -> Option<u32> {
    bytes.get(..4)?.try_into().ok().map(u32::from_be_bytes)
}

/// Text up to its end.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.begin(16, 5, 7, &[1, 2, 3]);
        writer.text(3, "eth0");
        writer.nest(18, |w| {
            w.number(1, 9);
            w.big(2, 9);
        });
        writer.end();
        writer.begin(17, 0, 8, &[]);
        writer.end();
        let bytes = writer.finish().expect("it fits");
        let all: Vec<Received<'_>> = messages(&bytes).collect();
        assert_eq!(all.iter().map(|m| (m.kind, m.flags, m.sequence)).collect::<Vec<_>>(), [(16, 5, 7), (17, 0, 8)]);
        assert_eq!(text(find(all[0].body, 4, 3).expect("a name")), "eth0");
        let (_, nested, inner) = attributes(all[0].body, 4).nth(1).expect("a nest");
        assert!(nested);
        assert_eq!(number(find(inner, 0, 1).expect("a number"), 0), Some(9));
        assert_eq!(big(find(inner, 0, 2).expect("a number")), Some(9));
    }

    #[test]
    fn a_length_that_does_not_fit_is_no_message() {
        let mut writer = Writer::default();
        writer.begin(1, 0, 1, &[]);
        writer.attribute(1, &[0; 65_532]);
        writer.end();
        assert!(writer.finish().is_none());
        let mut writer = Writer::default();
        writer.begin(1, 0, 1, &[]);
        writer.nest(1, |w| (0..3).for_each(|_| w.attribute(1, &[0; 30_000])));
        writer.end();
        assert!(writer.finish().is_none());
    }

    #[test]
    fn lengths_that_lie_end_the_reading() {
        for bytes in [&[3, 0, 1, 0][..], &[0, 0, 1, 0], &[9, 0, 1, 0, 1, 2, 3, 4], &[4, 0, 1], &[]] {
            assert_eq!(attributes(bytes, 0).count(), 0, "{bytes:?}");
        }
        assert_eq!(attributes(&[4, 0, 1, 0], 9).count(), 0);
        let mut long = [0_u8; 20];
        long[0] = 21;
        assert_eq!(messages(&long).count(), 0);
        long[0] = 15;
        assert_eq!(messages(&long).count(), 0);
        long[0] = 20;
        assert_eq!(messages(&long).count(), 1);
    }
}
