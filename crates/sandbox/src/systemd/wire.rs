//! The message format of D-Bus (specification 0.43, "Message Protocol"), as much of it as systemd's manager needs.
//!
//! Whoever answers is trusted with a container's start but not with this process: every length is bounded before it is
//! used, nesting too, and what does not fit is an error.

use std::collections::BTreeMap;

/// Most bytes of a message that is read; systemd's answers have some hundred. The format allows 128 MiB.
pub(super) const MOST_BYTES: usize = 1 << 20;
/// Most levels of arrays, structs and variants, as the format has it for one kind.
const MOST_DEPTH: usize = 32;

/// A value with its type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// `y`
    Byte(u8),
    /// `b`
    Bool(bool),
    /// `n`
    I16(i16),
    /// `q`
    U16(u16),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `h`, the index of a descriptor that came along; none is taken here.
    Handle(u32),
    /// `x`
    I64(i64),
    /// `t`
    U64(u64),
    /// `d`
    Double(f64),
    /// `s`
    Str(String),
    /// `o`
    Path(String),
    /// `g`
    Signature(String),
    /// `a`, with the type of its members.
    Array(String, Vec<Value>),
    /// `(…)`, and `{…}` in an array of entries.
    Struct(Vec<Value>),
    /// `v`
    Variant(Box<Value>),
}

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is no D-Bus message: {0}")]
pub struct WireError(&'static str);

impl Value {
    /// Its type as the format writes it.
    pub(super) fn signature(&self) -> String {
        match self {
            Self::Byte(_) => "y".into(),
            Self::Bool(_) => "b".into(),
            Self::I16(_) => "n".into(),
            Self::U16(_) => "q".into(),
            Self::I32(_) => "i".into(),
            Self::U32(_) => "u".into(),
            Self::Handle(_) => "h".into(),
            Self::I64(_) => "x".into(),
            Self::U64(_) => "t".into(),
            Self::Double(_) => "d".into(),
            Self::Str(_) => "s".into(),
            Self::Path(_) => "o".into(),
            Self::Signature(_) => "g".into(),
            Self::Array(of, _) => format!("a{of}"),
            Self::Struct(all) => format!("({})", all.iter().map(Self::signature).collect::<String>()),
            Self::Variant(_) => "v".into(),
        }
    }

    /// The text of a string, path or signature.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Str(s) | Self::Path(s) | Self::Signature(s) => Some(s),
            _ => None,
        }
    }
}

/// Boundary that a type begins on.
fn alignment(kind: u8) -> usize {
    match kind {
        b'y' | b'g' | b'v' => 1,
        b'n' | b'q' => 2,
        b'x' | b't' | b'd' | b'(' | b'{' => 8,
        _ => 4,
    }
}

fn pad(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

fn length(n: usize) -> [u8; 4] {
    u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes()
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    pad(out, 4);
    out.extend(length(text.len()));
    out.extend(text.as_bytes());
    out.push(0);
}

fn put_signature(out: &mut Vec<u8>, text: &str) {
    out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.extend(text.as_bytes());
    out.push(0);
}

/// Appends a value.
pub(super) fn put(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Byte(n) => out.push(*n),
        Value::Bool(b) => put(out, &Value::U32(u32::from(*b))),
        Value::I16(n) => {
            pad(out, 2);
            out.extend(n.to_le_bytes());
        }
        Value::U16(n) => {
            pad(out, 2);
            out.extend(n.to_le_bytes());
        }
        Value::I32(n) => {
            pad(out, 4);
            out.extend(n.to_le_bytes());
        }
        Value::U32(n) | Value::Handle(n) => {
            pad(out, 4);
            out.extend(n.to_le_bytes());
        }
        Value::I64(n) => {
            pad(out, 8);
            out.extend(n.to_le_bytes());
        }
        Value::U64(n) => {
            pad(out, 8);
            out.extend(n.to_le_bytes());
        }
        Value::Double(n) => {
            pad(out, 8);
            out.extend(n.to_le_bytes());
        }
        Value::Str(text) | Value::Path(text) => put_text(out, text),
        Value::Signature(text) => put_signature(out, text),
        Value::Array(of, members) => {
            pad(out, 4);
            let at = out.len();
            out.extend([0; 4]);
            // Also where the array is empty; the length does not count it.
            pad(out, alignment(of.bytes().next().unwrap_or(b'y')));
            let start = out.len();
            for member in members {
                put(out, member);
            }
            let size = length(out.len() - start);
            out.splice(at..at + 4, size);
        }
        Value::Struct(members) => {
            pad(out, 8);
            for member in members {
                put(out, member);
            }
        }
        Value::Variant(inner) => {
            put_signature(out, &inner.signature());
            put(out, inner);
        }
    }
}

/// One message.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Message {
    /// [`CALL`], [`REPLY`], [`ERROR`] or [`SIGNAL`].
    pub(super) kind: u8,
    /// Number of the message.
    pub(super) serial: u32,
    /// By their codes, see the constants.
    pub(super) fields: BTreeMap<u8, Value>,
    /// Arguments.
    pub(super) body: Vec<Value>,
}

pub(super) const CALL: u8 = 1;
pub(super) const REPLY: u8 = 2;
pub(super) const ERROR: u8 = 3;
pub(super) const SIGNAL: u8 = 4;

pub(super) const PATH: u8 = 1;
pub(super) const INTERFACE: u8 = 2;
pub(super) const MEMBER: u8 = 3;
pub(super) const ERROR_NAME: u8 = 4;
pub(super) const REPLY_SERIAL: u8 = 5;
pub(super) const DESTINATION: u8 = 6;
pub(super) const SIGNATURE: u8 = 8;

impl Message {
    /// As bytes, the lower byte first.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for value in &self.body {
            put(&mut body, value);
        }
        let mut fields = self.fields.clone();
        if !self.body.is_empty() {
            fields.insert(SIGNATURE, Value::Signature(self.body.iter().map(Value::signature).collect()));
        }
        let mut out = vec![b'l', self.kind, 0, 1];
        out.extend(length(body.len()));
        out.extend(self.serial.to_le_bytes());
        let entry =
            |(code, value): (u8, Value)| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]);
        put(&mut out, &Value::Array("(yv)".into(), fields.into_iter().map(entry).collect()));
        pad(&mut out, 8);
        out.extend(body);
        out
    }

    /// How many bytes the message has that begins with these 16.
    pub(super) fn size(start: &[u8; 16]) -> Result<usize, WireError> {
        let big = match start[0] {
            b'l' => false,
            b'B' => true,
            _ => return Err(WireError("its byte order is unknown")),
        };
        let number = |at: usize| {
            let bytes = [start[at], start[at + 1], start[at + 2], start[at + 3]];
            usize::try_from(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
        };
        let (Ok(body), Ok(fields)) = (number(4), number(12)) else { return Err(WireError("it is too long")) };
        if body > MOST_BYTES || fields > MOST_BYTES {
            return Err(WireError("it is too long"));
        }
        Ok((16 + fields).next_multiple_of(8) + body)
    }

    /// From all of its bytes.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let start: &[u8; 16] = bytes.first_chunk().ok_or(WireError("it is too short"))?;
        if Self::size(start)? != bytes.len() {
            return Err(WireError("its length is wrong"));
        }
        let mut reader = Reader { bytes, at: 4, big: start[0] == b'B' };
        let body = reader.u32()?;
        let serial = reader.u32()?;
        let Value::Array(_, entries) = reader.value(&mut "a(yv)".bytes().collect::<Vec<u8>>().as_slice(), 0)? else {
            return Err(WireError("it has no header"));
        };
        let mut fields = BTreeMap::new();
        for entry in entries {
            if let Value::Struct(pair) = entry
                && let [Value::Byte(code), Value::Variant(value)] = pair.as_slice()
            {
                fields.insert(*code, (**value).clone());
            }
        }
        let mut message = Self { kind: start[1], serial, fields, body: Vec::new() };
        if body == 0 {
            return Ok(message);
        }
        reader.align(8)?;
        let signature = match message.fields.get(&SIGNATURE) {
            Some(Value::Signature(signature)) => signature.clone(),
            _ => return Err(WireError("its arguments have no types")),
        };
        // Alignment in the body counts from its start, which lies on a boundary of 8.
        let mut kinds = signature.as_bytes();
        while !kinds.is_empty() {
            let value = reader.value(&mut kinds, 0)?;
            message.body.push(value);
        }
        Ok(message)
    }

    /// The text of a header field.
    pub(super) fn field(&self, code: u8) -> Option<&str> {
        self.fields.get(&code).and_then(Value::text)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big: bool,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) -> Result<(), WireError> {
        self.at = self.at.next_multiple_of(to);
        if self.at > self.bytes.len() { Err(WireError("it ends too early")) } else { Ok(()) }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.align(N)?;
        let chunk = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<N>);
        let mut bytes = *chunk.ok_or(WireError("it ends too early"))?;
        self.at += N;
        if self.big {
            bytes.reverse();
        }
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn text(&mut self, length: usize) -> Result<String, WireError> {
        let end = self.at.checked_add(length).ok_or(WireError("a text is too long"))?;
        let bytes = self.bytes.get(self.at..end).ok_or(WireError("a text is too long"))?;
        if self.bytes.get(end) != Some(&0) {
            return Err(WireError("a text has no end"));
        }
        self.at = end + 1;
        String::from_utf8(bytes.to_vec()).map_err(|_| WireError("a text is no UTF-8"))
    }

    fn signature(&mut self) -> Result<String, WireError> {
        let [length] = self.take::<1>()?;
        self.text(usize::from(length))
    }

    /// Reads a value of the first type in `kinds`, and takes that type away from it.
    fn value(&mut self, kinds: &mut &[u8], depth: usize) -> Result<Value, WireError> {
        if depth > MOST_DEPTH {
            return Err(WireError("it is nested too deeply"));
        }
        let (&kind, rest) = kinds.split_first().ok_or(WireError("a type is missing"))?;
        *kinds = rest;
        let size = |n: u32| usize::try_from(n).map_err(|_| WireError("it is too long"));
        Ok(match kind {
            b'y' => Value::Byte(self.take::<1>()?[0]),
            b'b' => Value::Bool(self.u32()? != 0),
            b'n' => Value::I16(i16::from_le_bytes(self.take()?)),
            b'q' => Value::U16(u16::from_le_bytes(self.take()?)),
            b'i' => Value::I32(i32::from_le_bytes(self.take()?)),
            b'u' => Value::U32(self.u32()?),
            b'h' => Value::Handle(self.u32()?),
            b'x' => Value::I64(i64::from_le_bytes(self.take()?)),
            b't' => Value::U64(u64::from_le_bytes(self.take()?)),
            b'd' => Value::Double(f64::from_le_bytes(self.take()?)),
            b's' | b'o' => {
                let length = size(self.u32()?)?;
                let text = self.text(length)?;
                if kind == b's' { Value::Str(text) } else { Value::Path(text) }
            }
            b'g' => Value::Signature(self.signature()?),
            b'v' => {
                let signature = self.signature()?;
                let mut inner = signature.as_bytes();
                let value = self.value(&mut inner, depth + 1)?;
                if !inner.is_empty() {
                    return Err(WireError("a variant has more than one type"));
                }
                Value::Variant(Box::new(value))
            }
            b'a' => return self.array(kinds, depth),
            b'(' => return self.members(kinds, b')', depth),
            _ => return Err(WireError("a type is unknown")),
        })
    }

    /// The members of a struct or an entry, up to the letter that ends it.
    fn members(&mut self, kinds: &mut &[u8], end: u8, depth: usize) -> Result<Value, WireError> {
        self.align(8)?;
        let mut members = Vec::new();
        while kinds.first() != Some(&end) {
            members.push(self.value(kinds, depth + 1)?);
        }
        *kinds = kinds.get(1..).unwrap_or_default();
        Ok(Value::Struct(members))
    }

    fn array(&mut self, kinds: &mut &[u8], depth: usize) -> Result<Value, WireError> {
        let size = usize::try_from(self.u32()?).map_err(|_| WireError("it is too long"))?;
        let one = first_type(kinds)?;
        let (of, rest) = kinds.split_at(one);
        *kinds = rest;
        self.align(alignment(of.first().copied().unwrap_or(b'y')))?;
        let end =
            self.at.checked_add(size).filter(|e| *e <= self.bytes.len()).ok_or(WireError("an array is too long"))?;
        let mut members = Vec::new();
        while self.at < end {
            let before = self.at;
            // An entry stands in an array and nowhere else.
            let member = match of.split_first() {
                Some((b'{', mut of)) => self.members(&mut of, b'}', depth + 1)?,
                _ => self.value(&mut &*of, depth + 1)?,
            };
            members.push(member);
            if self.at == before {
                return Err(WireError("an array has members of no size"));
            }
        }
        if self.at != end {
            return Err(WireError("an array ends in a member"));
        }
        Ok(Value::Array(String::from_utf8_lossy(of).into_owned(), members))
    }
}

/// How many letters the first complete type of a signature has.
pub(super) fn first_type(kinds: &[u8]) -> Result<usize, WireError> {
    let mut open = 0_usize;
    for (index, kind) in kinds.iter().enumerate() {
        match kind {
            b'(' | b'{' => open += 1,
            b')' | b'}' => open = open.checked_sub(1).ok_or(WireError("a type is broken"))?,
            b'a' => continue,
            _ => {}
        }
        if open == 0 {
            return Ok(index + 1);
        }
    }
    Err(WireError("a type is broken"))
}

#[cfg(test)]
mod tests;
