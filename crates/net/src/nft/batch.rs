//! One change of the tables: all of it or nothing.

use bulkhead_sys::Errno;
use rustix::net::netlink;

use super::elements::Placed;
use super::model::{Chain, Element, Family, Field, Filled, Leads, Set, Table, Value, length, shown_as};
use super::{TABLE, header, kind};
use crate::error::NetError;
use crate::socket::{ACK, APPEND, CREATE, ERROR, EXCL, REQUEST, Refusal, Socket, verdict};
use crate::wire::{Writer, messages};

/// Priority by which netfilter listens, and the subsystem of nftables.
const SUBSYSTEM: u8 = 10;
/// Elements in one message, whose list has a length of 16 bits.
const ELEMENTS: usize = 500;
/// Flag of an element that ends a range.
const RANGE_END: u32 = 1;

/// Note of `nft` to itself that a key is in the byte order of the machine, without which it cannot show names of links.
const IN_MACHINE_ORDER: [u8; 6] = {
    let [a, b, c, d] = 1_u32.to_ne_bytes();
    [0, 4, a, b, c, d]
};

/// What was refused, by what it was for.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Index among what was added, if it was one of these.
    pub(crate) at: Option<usize>,
    /// What was attempted.
    pub(crate) what: String,
    pub(crate) no: Refusal,
}

impl Refused {
    pub(crate) fn error(self) -> NetError {
        match self.no.errno {
            // Parts of nftables are told by what they cannot load.
            Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT | Errno::NOENT
                if self.what.starts_with("make ") =>
            {
                NetError::Missing { what: self.what, source: self.no.errno }
            }
            _ => NetError::refused(self.what)(self.no),
        }
    }
}

/// Opens a socket of nftables in the caller's namespace.
pub(crate) fn socket() -> Result<Socket, NetError> {
    Socket::open(Some(netlink::NETFILTER))
        .map_err(|source| NetError::Missing { what: "speak nftables (CONFIG_NF_TABLES)".to_owned(), source })
}

/// Messages that are taken together.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    socket: &'a mut Socket,
    writer: Writer,
    first: u32,
    last: u32,
    /// What each message is for, from the first on.
    what: Vec<(String, Option<usize>)>,
    ids: u32,
}

impl<'a> Batch<'a> {
    /// Begins one. With a generation it is refused (`ERESTART`) when somebody changed anything since.
    pub(crate) fn new(socket: &'a mut Socket, generation: Option<u32>) -> Self {
        let first = socket.next();
        let mut writer = Writer::default();
        writer.begin(kind::BATCH_BEGIN, REQUEST, first, &header(0, SUBSYSTEM));
        if let Some(generation) = generation {
            writer.big(1, generation);
        }
        writer.end();
        Self { socket, writer, first, last: first, what: vec![("change the firewall".to_owned(), None)], ids: 0 }
    }

    fn message(
        &mut self,
        kind: u16,
        flags: u16,
        family: Family,
        what: (String, Option<usize>),
        body: impl FnOnce(&mut Writer),
    ) {
        self.message_to(TABLE, kind, flags, family, what, body);
    }

    fn message_to(
        &mut self,
        table: &str,
        kind: u16,
        flags: u16,
        family: Family,
        what: (String, Option<usize>),
        body: impl FnOnce(&mut Writer),
    ) {
        self.last = self.socket.next();
        self.what.push(what);
        self.writer.begin(kind, REQUEST | flags, self.last, &header(family.number(), 0));
        self.writer.text(1, table);
        body(&mut self.writer);
        self.writer.end();
    }

    /// The table and all that belongs to it, whatever was there: atomically, so that no packet meets none.
    pub(crate) fn replace(&mut self, table: &Table) {
        let name = format!("the table {} {TABLE}", table.family.name());
        let make = format!("make {name} of nftables");
        // It must be there to be removed.
        self.message(kind::NEW_TABLE, CREATE, table.family, (make.clone(), None), |_| {});
        self.message(kind::DEL_TABLE, 0, table.family, (format!("replace {name}"), None), |_| {});
        self.message(kind::NEW_TABLE, CREATE | EXCL, table.family, (make, None), |_| {});
        for counter in &table.counters {
            let what = format!("make the counter {counter} of {name} (objref)");
            self.message(kind::NEW_OBJECT, CREATE | EXCL, table.family, (what, None), |w| {
                w.text(2, counter);
                w.big(3, 1);
                w.nest(4, |_| {});
            });
        }
        for set in &table.sets {
            self.set(table.family, set, &name);
        }
        for chain in &table.chains {
            self.chain(table.family, chain, &name);
        }
        for set in &table.sets {
            self.fixed(table.family, set, &name);
        }
        for chain in &table.chains {
            self.rules(table.family, chain, &name);
        }
    }

    /// A table for what one link sends and receives. With `replace` whatever was there goes; then with no chains it is gone.
    pub(crate) fn of_link(&mut self, table: &str, link: &str, chains: &[Chain], replace: bool) {
        let what = || (format!("make the walls of the link {link:?} (nftables, CONFIG_NETFILTER_EGRESS)"), None);
        let family = Family::Netdev;
        if replace {
            // It must be there to be removed.
            self.message_to(table, kind::NEW_TABLE, CREATE, family, what(), |_| {});
            self.message_to(table, kind::DEL_TABLE, 0, family, what(), |_| {});
        }
        if !chains.is_empty() {
            self.message_to(table, kind::NEW_TABLE, CREATE | EXCL, family, what(), |_| {});
        }
        for chain in chains {
            self.message_to(table, kind::NEW_CHAIN, CREATE | EXCL, family, what(), |w| {
                w.text(3, chain.name);
                if let Some(base) = chain.base {
                    w.nest(4, |w| {
                        w.big(1, base.hook);
                        w.big(2, base.priority.cast_unsigned());
                        w.text(3, link);
                    });
                    w.big(5, 1);
                    w.text(7, base.kind);
                }
            });
            for rule in &chain.rules {
                self.message_to(table, kind::NEW_RULE, CREATE | APPEND, family, what(), |w| {
                    w.text(2, chain.name);
                    w.nest(4, |w| rule.expressions.iter().for_each(|e| e.write(w)));
                    w.attribute(7, &comment(rule.says));
                });
            }
        }
    }

    fn set(&mut self, family: Family, set: &Set, table: &str) {
        self.ids += 1;
        let id = self.ids;
        let what = format!("make the set {} of {table}", set.name);
        self.message(kind::NEW_SET, CREATE | EXCL, family, (what, None), |w| {
            w.text(2, set.name);
            w.big(3, set.flags());
            w.big(4, shown_as(set.key));
            w.big(5, u32::try_from(length(set.key)).unwrap_or_default());
            match set.leads {
                Leads::Nowhere => {}
                Leads::Values(fields) => {
                    w.big(6, shown_as(fields));
                    w.big(7, u32::try_from(length(fields)).unwrap_or_default());
                }
            }
            if let Filled::Kernel { size, timeout } = set.filled {
                w.nest(9, |w| w.big(1, size));
                w.attribute(11, &timeout.to_be_bytes());
            }
            if matches!(set.filled, Filled::Boxes | Filled::Pinned) {
                // Ranges of several fields want to know where each ends.
                w.nest(9, |w| {
                    w.nest(2, |w| {
                        for field in set.key {
                            w.nest(1, |w| w.big(1, u32::try_from(field.len()).unwrap_or_default()));
                        }
                    });
                });
            }
            w.big(10, id);
            if set.key == [Field::Link] {
                w.attribute(13, &IN_MACHINE_ORDER);
            }
        });
    }

    fn chain(&mut self, family: Family, chain: &Chain, table: &str) {
        let what = match chain.base {
            Some(base) => format!("make the chain {} of {table} (a {} hook)", chain.name, base.kind),
            None => format!("make the chain {} of {table}", chain.name),
        };
        self.message(kind::NEW_CHAIN, CREATE | EXCL, family, (what, None), |w| {
            w.text(3, chain.name);
            if let Some(base) = chain.base {
                w.nest(4, |w| {
                    w.big(1, base.hook);
                    w.big(2, base.priority.cast_unsigned());
                });
                w.big(5, 1);
                w.text(7, base.kind);
            }
        });
    }

    fn fixed(&mut self, family: Family, set: &Set, table: &str) {
        let what = || (format!("make the set {} of {table}", set.name), None);
        if let Filled::Ranges(ranges) = &set.filled {
            self.message(kind::NEW_ELEMENT, CREATE, family, what(), |w| {
                w.text(2, set.name);
                w.nest(3, |w| {
                    for (from, behind) in ranges {
                        w.nest(1, |w| w.nest(1, |w| w.attribute(1, from)));
                        if let Some(behind) = behind {
                            w.nest(1, |w| {
                                w.nest(1, |w| w.attribute(1, behind));
                                w.big(3, RANGE_END);
                            });
                        }
                    }
                });
            });
        }
    }

    fn rules(&mut self, family: Family, chain: &Chain, table: &str) {
        for (index, rule) in chain.rules.iter().enumerate() {
            let mut parts: Vec<&str> = rule.expressions.iter().map(|e| e.name()).collect();
            parts.dedup();
            let what = format!("make rule {} of the chain {} of {table} ({})", index + 1, chain.name, parts.join(", "));
            self.message(kind::NEW_RULE, CREATE | APPEND, family, (what, None), |w| {
                w.text(2, chain.name);
                w.nest(4, |w| rule.expressions.iter().for_each(|e| e.write(w)));
                if !rule.says.is_empty() {
                    w.attribute(7, &comment(rule.says));
                }
            });
        }
    }

    fn element(&mut self, family: Family, set: &str, element: &Element, what: (String, Option<usize>)) {
        self.message(kind::NEW_ELEMENT, CREATE, family, what, |w| {
            w.text(2, set);
            w.nest(3, |w| write(w, element, true));
        });
    }

    /// Adds an element, which may be there already with the same value.
    pub(crate) fn add(&mut self, index: usize, placed: &Placed) {
        let what = (format!("add to the set {} of the firewall", placed.set), Some(index));
        self.element(placed.family, placed.set, &placed.element, what);
    }

    /// Adds or removes many, which then must be there, with as few messages as hold them.
    pub(crate) fn many(&mut self, all: &[Placed], add: bool) {
        let kind = if add { kind::NEW_ELEMENT } else { kind::DEL_ELEMENT };
        for alike in all.chunk_by(|a, b| (a.family, a.set) == (b.family, b.set)) {
            for piece in alike.chunks(ELEMENTS) {
                let Some(Placed { family, set, .. }) = piece.first() else { continue };
                let what = (format!("change the set {set} of the firewall"), None);
                self.message(kind, if add { CREATE } else { 0 }, *family, what, |w| {
                    w.text(2, set);
                    w.nest(3, |w| piece.iter().for_each(|p| write(w, &p.element, add)));
                });
            }
        }
    }

    /// Adds elements that must not be there, each for so many milliseconds.
    pub(crate) fn timed(&mut self, all: &[Placed], milliseconds: u64) {
        for Placed { family, set, element } in all {
            let what = (format!("add to the set {set} of the firewall"), None);
            self.message(kind::NEW_ELEMENT, CREATE | EXCL, *family, what, |w| {
                w.text(2, set);
                w.nest(3, |w| {
                    w.nest(1, |w| {
                        w.nest(1, |w| w.attribute(1, &element.key));
                        w.attribute(4, &milliseconds.to_be_bytes());
                        if let Some(end) = &element.end {
                            w.nest(10, |w| w.attribute(1, end));
                        }
                    });
                });
            });
        }
    }

    /// Marks a family as one in which only containers are forwarded.
    pub(crate) fn guard(&mut self, family: u8) {
        let element = Element::new(vec![family], Value::Nothing);
        let what = ("guard the host against forwarding for others".to_owned(), None);
        self.element(Family::Inet, super::rules::GUARDED, &element, what);
    }

    /// Sends it all.
    pub(crate) fn commit(mut self) -> Result<(), Refused> {
        if self.last == self.first {
            return Ok(());
        }
        // Every refusal is answered; of what was taken one answer is enough.
        self.writer.flag(ACK);
        let end = self.socket.next();
        self.writer.begin(kind::BATCH_END, REQUEST, end, &header(0, SUBSYSTEM));
        self.writer.end();
        let (first, last, what) = (self.first, self.last, self.what);
        let refused = |at: usize, no: Refusal| {
            let (what, at) = what.get(at).cloned().unwrap_or_else(|| ("change the firewall".to_owned(), None));
            Refused { at, what, no }
        };
        let bytes = self.writer.finish().ok_or_else(|| refused(0, Errno::MSGSIZE.into()))?;
        if bytes.len() > 1 << 15 {
            self.socket.room(bytes.len()).map_err(|e| refused(0, e.into()))?;
        }
        self.socket.send(&bytes).map_err(|e| refused(0, e.into()))?;
        // Every answer is there when the send returns.
        let mut done = false;
        loop {
            let received = match self.socket.receive(false) {
                Err(Errno::AGAIN) if done => return Ok(()),
                Err(e) => return Err(refused(0, e.into())),
                Ok(received) => received,
            };
            for answer in messages(received).filter(|m| m.kind == ERROR) {
                let at = usize::try_from(answer.sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                // What is left of a batch before this one.
                if at > what.len() {
                    continue;
                }
                if let Err(no) = verdict(&answer) {
                    return Err(refused(at, no));
                }
                done |= answer.sequence == last;
            }
        }
    }
}

/// An element of a list; to be removed it is known by its key.
fn write(w: &mut Writer, element: &Element, with_value: bool) {
    w.nest(1, |w| {
        w.nest(1, |w| w.attribute(1, &element.key));
        if let Some(end) = &element.end {
            w.nest(10, |w| w.attribute(1, end));
        }
        if with_value {
            element.value.write(w);
        }
    });
}

/// A comment as `nft` stores it.
pub(crate) fn comment(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len() + 1).unwrap_or_default();
    [&[0, length], text.as_bytes(), &[0]].concat()
}
