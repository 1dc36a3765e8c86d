//! The key sequence that leaves a container running.

/// Looks for the sequence in what is typed.
#[derive(Debug)]
pub(super) struct Detach {
    keys: Vec<u8>,
    seen: usize,
}

impl Detach {
    pub(super) fn new(keys: &[u8]) -> Detach {
        Detach { keys: keys.to_vec(), seen: 0 }
    }

    /// What of `typed` is for the program, and whether the sequence is complete.
    ///
    /// The start of a sequence is kept back until the next key decides, so a program sees ctrl-p one key late.
    pub(super) fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut pass = Vec::with_capacity(typed.len());
        if self.keys.is_empty() {
            pass.extend_from_slice(typed);
            return (pass, false);
        }
        for byte in typed {
            if self.keys.get(self.seen) == Some(byte) {
                self.seen += 1;
                if self.seen == self.keys.len() {
                    self.seen = 0;
                    return (pass, true);
                }
                continue;
            }
            pass.extend(self.keys.get(..self.seen).unwrap_or_default());
            // The key that broke one sequence may begin the next.
            self.seen = usize::from(self.keys.first() == Some(byte));
            if self.seen == 0 {
                pass.push(*byte);
            }
        }
        (pass, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_may_come_in_pieces() {
        let mut detach = Detach::new(&[16, 17]);
        assert_eq!(detach.filter(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(detach.filter(b"\x11zz"), (Vec::new(), true));
        assert_eq!(detach.filter(b"\x10"), (Vec::new(), false));
        assert_eq!(detach.filter(b"x"), (b"\x10x".to_vec(), false));
        assert_eq!(detach.filter(b"\x10\x10\x11"), (b"\x10".to_vec(), true));
        assert_eq!(Detach::new(&[]).filter(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
        assert_eq!(Detach::new(b"q").filter(b"aq"), (b"a".to_vec(), true));
    }
}
