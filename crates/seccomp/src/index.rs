//! Words of a text by a hash, made when the program is built: a process that needs a few hundred look-ups once does not
//! have to read the text first. The slots hold offsets, which unlike references cost nothing when the program starts.

/// A word of the text.
#[derive(Debug, Clone, Copy)]
struct Slot {
    value: u32,
    start: u16,
    /// 0 for a free slot.
    len: u8,
}

/// Open addressing in `N` slots, a power of two above the number of words.
#[derive(Debug)]
pub(crate) struct Index<const N: usize> {
    slots: [Slot; N],
}

/// What a word is hashed to (FNV-1a).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hash(u32);

impl Hash {
    pub(crate) fn of(word: &str) -> Self {
        hash(word.as_bytes(), 0, word.len())
    }
}

const fn hash(bytes: &[u8], start: usize, end: usize) -> Hash {
    let mut hash = 0x811c_9dc5_u32;
    let mut at = start;
    while at < end {
        hash = (hash ^ widen(bytes[at])).wrapping_mul(0x0100_0193);
        at += 1;
    }
    Hash(hash ^ (hash >> 15))
}

#[allow(clippy::as_conversions, reason = "`From` is not for constants yet; nothing is cut")]
const fn widen(byte: u8) -> u32 {
    byte as u32
}

impl<const N: usize> Index<N> {
    pub(crate) const fn new() -> Self {
        assert!(N.is_power_of_two() && N <= 1 << 16);
        Self { slots: [Slot { value: 0, start: 0, len: 0 }; N] }
    }

    #[allow(clippy::as_conversions, reason = "`usize` has at least the 16 bits that are kept")]
    const fn slot(hash: Hash) -> usize {
        hash.0 as usize & (N - 1)
    }

    /// Adds the word from `start` to `end`. Fails to build when it is there, or there is no room.
    #[allow(clippy::as_conversions, reason = "what would be cut fails to build")]
    pub(crate) const fn insert(&mut self, text: &[u8], start: usize, end: usize, value: u32) {
        assert!(end > start && end - start < 256 && start < 1 << 16);
        let mut at = Self::slot(hash(text, start, end));
        let mut tried = 0;
        while self.slots[at].len != 0 {
            tried += 1;
            assert!(tried < N);
            at = (at + 1) & (N - 1);
        }
        self.slots[at] = Slot { value, start: start as u16, len: (end - start) as u8 };
    }

    /// The word as the text has it, and its value.
    pub(crate) fn get(&self, text: &'static str, word: &str, hash: Hash) -> Option<(&'static str, u32)> {
        let mut at = Self::slot(hash);
        loop {
            let slot = self.slots.get(at)?;
            if slot.len == 0 {
                return None;
            }
            let start = usize::from(slot.start);
            if usize::from(slot.len) == word.len() {
                let found = text.get(start..start + word.len())?;
                if found == word {
                    return Some((found, slot.value));
                }
            }
            at = (at + 1) & (N - 1);
        }
    }
}

pub(crate) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n')
}

/// The offset behind the word that begins at `start`.
pub(crate) const fn word_end(text: &[u8], start: usize) -> usize {
    let mut end = start;
    while end < text.len() && !is_space(text[end]) {
        end += 1;
    }
    end
}
