use proptest::prelude::*;

use super::*;

struct Test {
    outside: Outside,
}

impl Known for Test {
    fn addresses(&mut self, name: &str) -> Option<Vec<IpAddr>> {
        let many = || (0..200).map(|n| Ipv4Addr::new(10, 0, 1, n).into()).collect();
        match name {
            "web" => Some(vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()]),
            "many" => Some(many()),
            "all" => Some((0..30).flat_map(|_| many()).collect()),
            _ => None,
        }
    }
    fn name(&mut self, address: IpAddr) -> Option<String> {
        ["10.0.0.2", "fd00::2"].iter().any(|a| a.parse() == Ok(address)).then(|| "web".to_owned())
    }
    fn outside(&self, _: &str) -> Outside {
        self.outside
    }
    fn wait(&mut self, _: &[u8]) -> Option<u32> {
        None
    }
}

fn query(name: &str, kind: TYPE) -> Vec<u8> {
    let mut packet = Packet::new_query(0x1234);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(Name::new(name).unwrap(), kind.into(), CLASS::IN.into(), false));
    packet.build_bytes_vec().unwrap()
}

/// Code and answers, as texts.
fn ask_at(outside: Outside, name: &str, kind: TYPE) -> Option<(RCODE, Vec<String>)> {
    let Reply::Say(bytes) = reply(&query(name, kind), true, &mut Test { outside }) else { return None };
    let answer = Packet::parse(&bytes).unwrap();
    assert_eq!((answer.id(), answer.questions.len()), (0x1234, 1));
    assert!(answer.has_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_AVAILABLE | PacketFlag::RECURSION_DESIRED));
    assert!(answer.answers.iter().all(|r| r.ttl == 0 && r.name == answer.questions[0].qname));
    let text = |r: &ResourceRecord<'_>| match &r.rdata {
        RData::A(a) => Ipv4Addr::from(a.address).to_string(),
        RData::AAAA(a) => Ipv6Addr::from(a.address).to_string(),
        RData::PTR(p) => p.0.to_string(),
        other => format!("{other:?}"),
    };
    Some((answer.rcode(), answer.answers.iter().map(text).collect()))
}

fn ask(name: &str, kind: TYPE) -> Option<(RCODE, Vec<String>)> {
    ask_at(Outside::Asked, name, kind)
}

fn found(all: &[&str]) -> Option<(RCODE, Vec<String>)> {
    Some((RCODE::NoError, all.iter().map(|a| (*a).to_owned()).collect()))
}

#[test]
fn members_have_addresses_of_both_families_and_names() {
    assert_eq!(ask("web", TYPE::A), found(&["10.0.0.2"]));
    assert_eq!(ask("WeB", TYPE::AAAA), found(&["fd00::2"]));
    // It is there and has no such record: that is no "no such name", and nobody outside is asked.
    assert_eq!(ask("web", TYPE::MX), found(&[]));
    assert_eq!(ask("2.0.0.10.in-addr.arpa", TYPE::PTR), found(&["web"]));
    let six = format!("2.{}d.f.ip6.arpa", "0.".repeat(27) + "0.0.");
    assert_eq!(ask(&six, TYPE::PTR), found(&["web"]));
    assert_eq!(ask("x.localhost", TYPE::A), found(&["127.0.0.1"]));
}

#[test]
fn who_is_no_member_is_asked_outside_by_a_full_name_only() {
    assert_eq!(ask("example.org", TYPE::A), None);
    assert_eq!(ask("3.0.0.10.in-addr.arpa", TYPE::PTR), None);
    assert_eq!(ask("db", TYPE::A), Some((RCODE::NameError, Vec::new())));
    assert_eq!(ask("org", TYPE::NS), None);
    for (outside, code) in [
        (Outside::None, RCODE::NameError),
        (Outside::Unlisted, RCODE::NameError),
        (Outside::Missing, RCODE::ServerFailure),
    ] {
        assert_eq!(ask_at(outside, "example.org", TYPE::A), Some((code, Vec::new())));
        assert_eq!(ask_at(outside, "web", TYPE::A), found(&["10.0.0.2"]));
    }
}

#[test]
fn an_answer_that_is_too_long_says_so_and_is_whole_by_a_stream() {
    let mut known = Test { outside: Outside::Asked };
    let Reply::Say(bytes) = reply(&query("many", TYPE::A), true, &mut known) else { panic!() };
    let answer = Packet::parse(&bytes).unwrap();
    assert!(bytes.len() <= 512 && answer.has_flags(PacketFlag::TRUNCATION) && answer.answers.is_empty());
    for (name, count) in [("many", 200), ("all", 2322)] {
        let Reply::Say(bytes) = reply(&query(name, TYPE::A), false, &mut known) else { panic!() };
        let answer = Packet::parse(&bytes).unwrap();
        assert_eq!(answer.answers.len(), count);
        assert!(bytes.len() <= MESSAGE && !answer.has_flags(PacketFlag::TRUNCATION));
    }
    let mut packet = Packet::parse(&bytes).unwrap();
    packet.answers.clear();
    *packet.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size: 9000, version: 0 });
    packet.remove_flags(PacketFlag::RESPONSE);
    let wide = packet.build_bytes_vec().unwrap();
    let Reply::Say(bytes) = reply(&wide, true, &mut known) else { panic!() };
    assert!(Packet::parse(&bytes).unwrap().opt().is_some() && bytes.len() <= LONGEST);
}

#[test]
fn what_is_no_question_gets_a_failure_or_nothing() {
    let mut known = Test { outside: Outside::Asked };
    let good = query("web", TYPE::A);
    let mut said = |bytes: &[u8]| match reply(bytes, true, &mut known) {
        Reply::Say(bytes) => Some(bytes[3] & 0xf),
        Reply::Forward => panic!("forwarded"),
        Reply::Nothing => None,
    };
    assert_eq!(said(&good[..11]), None);
    // An answer.
    let mut bad = good.clone();
    bad[2] |= 0x80;
    assert_eq!(said(&bad), None);
    // A notification.
    let mut bad = good.clone();
    bad[2] |= 4 << 3;
    assert_eq!(said(&bad), Some(4));
    // Two questions; a name that points to itself; one that is cut off.
    let mut bad = good.clone();
    bad[5] = 2;
    assert_eq!(said(&bad), Some(1));
    let mut bad = good.clone();
    bad[12..14].copy_from_slice(&[0xc0, 12]);
    assert_eq!(said(&bad), Some(1));
    assert_eq!(said(&good[..14]), Some(1));
}

#[test]
fn only_the_answer_to_what_was_asked_is_one() {
    let asked = query("example.org", TYPE::A);
    let mut answer = asked.clone();
    answer[2] |= 0x80;
    assert!(answers(&answer, &asked));
    let mut other = answer.clone();
    other[0] ^= 1;
    assert!(!answers(&other, &asked));
    let mut other = answer.clone();
    other[13] ^= 0x20;
    assert!(!answers(&other, &asked));
    assert!(!answers(&asked, &asked));
    assert!(!answers(&answer[..20], &asked));
}

proptest! {
    #[test]
    fn no_bytes_are_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..600), datagram: bool) {
        for outside in [Outside::Asked, Outside::None] {
            if let Reply::Say(said) = reply(&bytes, datagram, &mut Test { outside }) {
                prop_assert_eq!(number(&said), number(&bytes));
                prop_assert!(said[2] & 0x80 != 0);
            }
        }
        let _ = (addresses_of(&bytes), asked_for(&bytes), answers(&bytes, &bytes));
    }

    #[test]
    fn no_changed_question_is_too_much(at in 0_usize..40, to: u8, cut in 0_usize..60) {
        let mut bytes = query("a.web.example.org", TYPE::A);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = to;
        }
        bytes.truncate(cut.max(4));
        let _ = reply(&bytes, true, &mut Test { outside: Outside::Asked });
        let _ = addresses_of(&bytes);
    }
}
