//! What is said to a question: an answer of our own, or that it is asked outside. Pure (RFC 1035, RFC 6761, RFC 6891).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::{A, AAAA, OPT, PTR, RData};
use simple_dns::{CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE};

use super::table::Entry;

/// Bytes of a message's header.
pub(super) const HEADER: usize = 12;
/// Longest datagram that is never cut on its way, and that a client without EDNS takes.
const PLAIN: usize = 512;
/// Longest datagram that we send ourselves: it fits every link.
const LONGEST: usize = 1232;
/// Longest message of a stream.
const MESSAGE: usize = 65_535;
/// Bytes of an answer's record, at most: its name is that of the question.
const RECORD: usize = 28;
/// Seconds that an answer of ours may be kept: a container that is started anew has another address at once.
const LIFE: u32 = 0;

/// What the one who asks may know.
pub(super) trait Known {
    /// Addresses of a name, in small letters; `None` when nobody has it.
    fn addresses(&mut self, name: &str) -> Option<Vec<IpAddr>>;
    /// Name of an address.
    fn name(&mut self, address: IpAddr) -> Option<String>;
    /// Whether a question may be asked outside.
    fn outside(&self, name: &str) -> Outside;
    /// An answer from outside: whether it has to wait until its addresses can be reached, and the number by which that will
    /// be said.
    fn wait(&mut self, answer: &[u8]) -> Option<u32>;
}

/// Whether a question goes outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outside {
    /// It does.
    Asked,
    /// There is no outside for this container: what it does not know is not there.
    None,
    /// It is not among the names that this container may ask for.
    Unlisted,
    /// There should be one, and it has no server.
    Missing,
}

/// What to do with a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Say this.
    Say(Vec<u8>),
    /// Ask outside.
    Forward,
    /// It is no question.
    Nothing,
}

/// The two bytes at `at`.
fn pair(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The number that question and answer have in common.
pub(super) fn number(message: &[u8]) -> Option<u16> {
    pair(message, 0)
}

/// The message with another number.
pub(super) fn with_number(message: &[u8], number: u16) -> Vec<u8> {
    let mut copy = message.to_vec();
    if let Some(place) = copy.get_mut(..2) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    copy
}

/// The question's bytes: name, type and class.
fn question(message: &[u8]) -> Option<&[u8]> {
    let mut at = HEADER;
    loop {
        match *message.get(at)? {
            0 => return message.get(HEADER..at + 5),
            // A name that points elsewhere has nowhere to point to.
            length if length > 63 => return None,
            length => at += 1 + usize::from(length),
        }
    }
}

/// Whether this answers the question that was sent: its number, and its question as it was written.
pub(super) fn answers(answer: &[u8], asked: &[u8]) -> bool {
    let response = answer.get(2).is_some_and(|flags| flags & 0x80 != 0);
    // One who could not read it repeats nothing.
    let bare = pair(answer, 4) == Some(0) && answer.get(3).is_some_and(|flags| flags & 0xf != 0);
    response
        && number(answer) == number(asked)
        && (bare || question(asked).is_some_and(|q| answer.get(HEADER..HEADER + q.len()) == Some(q)))
}

/// Replies to a message. `datagram` says that an answer has to fit one.
pub(super) fn reply(message: &[u8], datagram: bool, known: &mut dyn Known) -> Reply {
    // Too short, or an answer: whoever sends that gets none, so that two of us never talk to each other for ever.
    let Some([_, _, flags, _]) = message.get(..4).filter(|_| message.len() >= HEADER) else { return Reply::Nothing };
    if flags & 0x80 != 0 {
        return Reply::Nothing;
    }
    let counts = [pair(message, 4), pair(message, 6), pair(message, 8)];
    let few = pair(message, 10).is_some_and(|additional| additional <= 4);
    if flags >> 3 & 0xf != 0 {
        return failure(message, RCODE::NotImplemented);
    }
    if counts != [Some(1), Some(0), Some(0)] || !few || question(message).is_none() {
        return failure(message, RCODE::FormatError);
    }
    let Ok(asked) = Packet::parse(message) else { return failure(message, RCODE::FormatError) };
    let Some(question) = asked.questions.first() else { return failure(message, RCODE::FormatError) };
    let room = match (datagram, asked.opt()) {
        (false, _) => MESSAGE,
        (true, None) => PLAIN,
        (true, Some(opt)) => usize::from(opt.udp_packet_size).clamp(PLAIN, LONGEST),
    };
    match decide(question, known) {
        Decision::Forward => Reply::Forward,
        Decision::Code(code) => say(&asked, code, Vec::new(), room),
        Decision::Records(records) => say(&asked, RCODE::NoError, records, room),
    }
}

enum Decision<'a> {
    Forward,
    Code(RCODE),
    Records(Vec<RData<'a>>),
}

fn decide<'a>(question: &Question<'_>, known: &mut dyn Known) -> Decision<'a> {
    let name = question.qname.to_string().to_ascii_lowercase();
    let plain = matches!(question.qclass, QCLASS::CLASS(CLASS::IN) | QCLASS::ANY);
    let outside = |known: &dyn Known| match known.outside(&name) {
        Outside::Asked => Decision::Forward,
        Outside::None | Outside::Unlisted => Decision::Code(RCODE::NameError),
        Outside::Missing => Decision::Code(RCODE::ServerFailure),
    };
    // A zone is handed over to somebody whom nobody here has asked for.
    if matches!(question.qtype, QTYPE::AXFR | QTYPE::IXFR) {
        return Decision::Code(RCODE::Refused);
    }
    if !plain {
        return outside(known);
    }
    if name == "localhost" || name.ends_with(".localhost") {
        let own = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        return Decision::Records(addresses(&own, question.qtype));
    }
    if let Some(found) = known.addresses(&name) {
        return Decision::Records(addresses(&found, question.qtype));
    }
    if let Some(found) = reversed(&name).and_then(|address| known.name(address)) {
        let wanted = matches!(question.qtype, QTYPE::TYPE(TYPE::PTR) | QTYPE::ANY);
        let record = |name: &str| Name::new(name).ok().map(|name| RData::PTR(PTR(name.into_owned())));
        return Decision::Records(record(&found).filter(|_| wanted).into_iter().collect());
    }
    // A name without a dot is a neighbour's. Asked outside while that one is away, somebody else could answer for it.
    let of_zones = [TYPE::NS, TYPE::SOA, TYPE::DS, TYPE::DNSKEY];
    let of_zone = matches!(question.qtype, QTYPE::TYPE(t) if of_zones.contains(&t));
    if !name.contains('.') && !name.is_empty() && !of_zone {
        return Decision::Code(RCODE::NameError);
    }
    outside(known)
}

fn addresses<'a>(found: &[IpAddr], wanted: QTYPE) -> Vec<RData<'a>> {
    let (four, six) = match wanted {
        QTYPE::TYPE(TYPE::A) => (true, false),
        QTYPE::TYPE(TYPE::AAAA) => (false, true),
        QTYPE::ANY => (true, true),
        _ => (false, false),
    };
    let record = |address: &IpAddr| match address {
        IpAddr::V4(a) => four.then(|| RData::A(A { address: u32::from(*a) })),
        IpAddr::V6(a) => six.then(|| RData::AAAA(AAAA { address: u128::from(*a) })),
    };
    found.iter().filter_map(record).collect()
}

/// The address that a name in `in-addr.arpa` or `ip6.arpa` stands for (RFC 1035 3.5, RFC 3596 2.5).
fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let parts = digits.rsplit('.').map(|d| d.parse::<u8>().ok()).collect::<Option<Vec<_>>>()?;
        return <[u8; 4]>::try_from(parts).ok().map(IpAddr::from);
    }
    let digits = name.strip_suffix(".ip6.arpa")?;
    let digits = digits.rsplit('.').map(|d| u8::from_str_radix(d, 16).ok().filter(|_| d.len() == 1));
    let digits = digits.collect::<Option<Vec<_>>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|d| d.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    <[u8; 16]>::try_from(bytes).ok().filter(|_| digits.len() == 32).map(IpAddr::from)
}

fn say(asked: &Packet<'_>, code: RCODE, records: Vec<RData<'_>>, room: usize) -> Reply {
    let Some(question) = asked.questions.first() else { return Reply::Nothing };
    let mut answer = Packet::new_reply(asked.id());
    answer.set_flags(PacketFlag::RECURSION_AVAILABLE | PacketFlag::AUTHORITATIVE_ANSWER);
    if asked.has_flags(PacketFlag::RECURSION_DESIRED) {
        answer.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    *answer.opcode_mut() = OPCODE::StandardQuery;
    *answer.rcode_mut() = code;
    answer.questions.push(question.clone());
    if asked.opt().is_some() {
        let size = u16::try_from(LONGEST).unwrap_or(u16::MAX);
        *answer.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size: size, version: 0 });
    }
    answer.answers =
        records.into_iter().map(|data| ResourceRecord::new(question.qname.clone(), CLASS::IN, LIFE, data)).collect();
    match answer.build_bytes_vec_compressed() {
        Ok(bytes) if bytes.len() <= room => return Reply::Say(bytes),
        Ok(_) => {}
        Err(_) => return Reply::Nothing,
    }
    // Cut off, the client comes again by a stream; there as many are said as there is room for.
    if room == MESSAGE {
        let most = (MESSAGE - PLAIN) / RECORD;
        answer.answers.truncate(most);
    } else {
        answer.set_flags(PacketFlag::TRUNCATION);
        answer.answers.clear();
    }
    answer.build_bytes_vec_compressed().map_or(Reply::Nothing, Reply::Say)
}

/// An answer that is a failure: as much of the message as can be said back.
pub(super) fn failure(message: &[u8], code: RCODE) -> Reply {
    let Some(header) = message.get(..HEADER) else { return Reply::Nothing };
    let asked = question(message).filter(|_| pair(message, 4) == Some(1));
    let mut answer = header.to_vec();
    let number = match code {
        RCODE::FormatError => 1,
        RCODE::NotImplemented => 4,
        RCODE::Refused => 5,
        _ => 2,
    };
    if let Some([flags, codes, rest @ ..]) = answer.get_mut(2..) {
        // A response of the same kind, with recursion where that was wanted.
        *flags = 0x80 | (*flags & 0x79);
        *codes = 0x80 | number;
        rest.fill(0);
        if let Some(count) = rest.get_mut(1) {
            *count = u8::from(asked.is_some());
        }
    }
    answer.extend_from_slice(asked.unwrap_or_default());
    Reply::Say(answer)
}

/// Addresses of an answer from outside and seconds that they may be kept; nothing when it has none or is not whole.
pub(super) fn addresses_of(answer: &[u8]) -> Vec<(IpAddr, u32)> {
    let counts = [4, 6, 8, 10].map(|at| pair(answer, at).map_or(usize::MAX, usize::from));
    // A record has 11 bytes at least: a count that does not fit asks for memory and nothing else.
    let room = answer.len() / 11;
    if counts.iter().any(|count| *count > room) {
        return Vec::new();
    }
    let Ok(packet) = Packet::parse(answer) else { return Vec::new() };
    let address = |record: &ResourceRecord<'_>| match &record.rdata {
        RData::A(a) => Some((Ipv4Addr::from(a.address).into(), record.ttl)),
        RData::AAAA(a) => Some((Ipv6Addr::from(a.address).into(), record.ttl)),
        _ => None,
    };
    packet.answers.iter().filter_map(address).collect()
}

/// The name that a question asks for, in small letters.
pub(super) fn asked_for(message: &[u8]) -> Option<String> {
    let packet = Packet::parse(message).ok()?;
    Some(packet.questions.first()?.qname.to_string().to_ascii_lowercase())
}

/// Addresses of everybody who has the name.
pub(super) fn named(entries: &[Entry], name: &str) -> Option<Vec<IpAddr>> {
    let mut all = entries.iter().filter(|e| e.names.iter().any(|n| n == name)).peekable();
    all.peek()?;
    Some(all.flat_map(|e| e.addresses.iter().copied()).collect())
}

#[cfg(test)]
mod tests;
