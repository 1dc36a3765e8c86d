use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::FileExt as _;
use std::thread::JoinHandle;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, ResourceRecord, TYPE};

use super::*;

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// A resolver in a thread, with the file of one network.
struct Running {
    at: SocketAddr,
    word: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    file: File,
}

impl Running {
    fn new(order: Order, entries: &[Entry]) -> Self {
        let (word, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        // A port that both protocols have free.
        let both = |_| {
            let datagrams = UdpSocket::bind(ANY).unwrap();
            let streams = TcpListener::bind(datagrams.local_addr().unwrap()).ok()?;
            Some((datagrams, streams))
        };
        let (datagrams, streams) = (0..100).find_map(both).unwrap();
        let at = datagrams.local_addr().unwrap();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&render(1, entries), 0).unwrap();
        let thread = std::thread::spawn(move || crate::proxy::serve(Vec::new(), &theirs, 300).unwrap());
        let order = Order { doors: true, ..order };
        order.send(word.as_fd(), &[datagrams.as_fd(), streams.as_fd(), file.as_fd()]).unwrap();
        Self { at, word: Some(word), thread: Some(thread), file }
    }

    fn datagram(&self, question: &[u8]) -> Vec<u8> {
        let client = UdpSocket::bind(ANY).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        // From there and nowhere else: the port was somebody else's a moment ago.
        client.connect(self.at).unwrap();
        let mut bytes = vec![0; 65_535];
        // One that is lost is sent again, as everybody does.
        let ask = |_| {
            client.send(question).unwrap();
            client.recv(&mut bytes).ok()
        };
        let length = (0..10).find_map(ask).unwrap();
        bytes.truncate(length);
        bytes
    }

    fn ask(&self, name: &str) -> (RCODE, Vec<Ipv4Addr>) {
        read(&self.datagram(&query(name)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.word.take());
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

fn query(name: &str) -> Vec<u8> {
    let mut packet = Packet::new_query(0x4242);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(Name::new(name).unwrap(), TYPE::A.into(), CLASS::IN.into(), false));
    packet.build_bytes_vec().unwrap()
}

fn read(answer: &[u8]) -> (RCODE, Vec<Ipv4Addr>) {
    let packet = Packet::parse(answer).unwrap();
    assert_eq!(packet.id(), 0x4242);
    let address = |r: &ResourceRecord<'_>| match &r.rdata {
        RData::A(a) => Ipv4Addr::from(a.address),
        other => panic!("{other:?}"),
    };
    (packet.rcode(), packet.answers.iter().map(address).collect())
}

/// What a server outside says: the address, for as many records, with this code.
fn said(question: &[u8], code: RCODE, address: Ipv4Addr, records: usize) -> Vec<u8> {
    let asked = Packet::parse(question).unwrap();
    let mut answer = Packet::new_reply(asked.id());
    *answer.rcode_mut() = code;
    answer.questions = asked.questions.clone();
    let record = || {
        ResourceRecord::new(asked.questions[0].qname.clone(), CLASS::IN, 77, RData::A(A { address: address.into() }))
    };
    answer.answers = (0..records).map(|_| record()).collect();
    answer.build_bytes_vec_compressed().unwrap()
}

/// A server outside for datagrams, which says what `says` makes of a question.
fn outside(says: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind(ANY).unwrap();
    let at = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut bytes = vec![0; 65_535];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            for answer in says(&bytes[..length]) {
                socket.send_to(&answer, from).unwrap();
            }
        }
    });
    at
}

fn member(container: &str, name: &str, address: &str) -> Entry {
    Entry { container: container.into(), names: vec![name.into()], addresses: vec![address.parse().unwrap()] }
}

#[test]
fn members_are_named_as_the_file_says_at_the_moment() {
    let running = Running::new(Order::default(), &[member("a", "web", "10.0.0.2")]);
    assert_eq!(running.ask("web"), (RCODE::NoError, vec![Ipv4Addr::new(10, 0, 0, 2)]));
    assert_eq!(running.ask("db").0, RCODE::NameError);
    running.file.write_all_at(&render(2, &[member("a", "db", "10.0.0.3")]), 0).unwrap();
    assert_eq!(running.ask("db").1, [Ipv4Addr::new(10, 0, 0, 3)]);
    assert_eq!(running.ask("web").0, RCODE::NameError);
    // No outside: a full name is nobody's.
    assert_eq!(running.ask("example.org").0, RCODE::NameError);
}

#[test]
fn links_are_this_containers_words_and_orders_can_change() {
    let entries = [member("a", "web", "10.0.0.2"), member("b", "db", "10.0.0.3")];
    let order = Order { links: vec![("web".into(), "b".into()), ("store".into(), "b".into())], ..Order::default() };
    let running = Running::new(order, &entries);
    for name in ["web", "store", "db"] {
        assert_eq!(running.ask(name).1, [Ipv4Addr::new(10, 0, 0, 3)], "{name}");
    }
    Order::default().send(running.word.as_ref().unwrap().as_fd(), &[running.file.as_fd()]).unwrap();
    // What is being answered at that moment is answered by the one before.
    let other = |_: &u32| running.ask("web").1 == [Ipv4Addr::new(10, 0, 0, 2)];
    assert!((0..100).find(other).is_some());
    assert_eq!(running.ask("store").0, RCODE::NameError);
}

#[test]
fn the_outside_is_asked_and_its_answer_is_given_as_it_is() {
    let right = Ipv4Addr::new(192, 0, 2, 7);
    let at = outside(move |question| {
        // First two that anybody could send: another number, and another question.
        let answer = said(question, RCODE::NoError, Ipv4Addr::new(192, 0, 2, 66), 1);
        let (mut number, mut name) = (answer.clone(), answer);
        number[0] ^= 0xff;
        name[13] ^= 1;
        vec![number, name, said(question, RCODE::NoError, right, 1)]
    });
    let running = Running::new(Order { outside: true, servers: vec![at], ..Order::default() }, &[]);
    let answer = running.datagram(&query("www.example.org"));
    assert_eq!(read(&answer), (RCODE::NoError, vec![right]));
    assert_eq!(Packet::parse(&answer).unwrap().answers[0].ttl, 77);
}

#[test]
fn another_server_is_asked_when_one_is_not_there_or_cannot_say() {
    let closed = {
        let socket = UdpSocket::bind(ANY).unwrap();
        socket.local_addr().unwrap()
    };
    let failing = outside(|q| vec![said(q, RCODE::ServerFailure, Ipv4Addr::UNSPECIFIED, 0)]);
    let good = outside(|q| vec![said(q, RCODE::NoError, Ipv4Addr::new(192, 0, 2, 7), 1)]);
    let order = Order { outside: true, servers: vec![closed, failing, good], ..Order::default() };
    let running = Running::new(order, &[]);
    assert_eq!(running.ask("www.example.org").1.len(), 1);
    let order = Order { outside: true, servers: vec![closed], ..Order::default() };
    assert_eq!(Running::new(order, &[]).ask("www.example.org").0, RCODE::ServerFailure);
    let none = Running::new(Order { outside: true, ..Order::default() }, &[]);
    assert_eq!(none.ask("www.example.org").0, RCODE::ServerFailure);
}

#[test]
fn streams_carry_what_datagrams_cannot() {
    let many: Vec<Entry> = (0..200).map(|n| member(&n.to_string(), "many", &format!("10.0.1.{n}"))).collect();
    let listener = TcpListener::bind(ANY).unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut question).unwrap();
            let answer = said(&question, RCODE::NoError, Ipv4Addr::new(192, 0, 2, 7), 3000);
            // In pieces.
            let framed = [&u16::try_from(answer.len()).unwrap().to_be_bytes(), &answer[..]].concat();
            framed.chunks(5000).for_each(|piece| stream.write_all(piece).unwrap());
        }
    });
    let running = Running::new(Order { outside: true, servers: vec![at], ..Order::default() }, &many);
    let short = running.datagram(&query("many"));
    assert!(Packet::parse(&short).unwrap().has_flags(PacketFlag::TRUNCATION) && short.len() <= 512);
    let mut stream = TcpStream::connect(running.at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // Two questions at once, the second byte by byte.
    let frame = |name| [&u16::try_from(query(name).len()).unwrap().to_be_bytes(), &query(name)[..]].concat();
    stream.write_all(&frame("many")).unwrap();
    frame("www.example.org").iter().for_each(|byte| stream.write_all(&[*byte]).unwrap());
    for count in [200, 3000] {
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(read(&answer).1.len(), count);
    }
}

#[test]
fn a_flood_costs_no_more_than_it_may_and_leaves_the_names() {
    // A server that never answers, and more questions than may be on their way.
    let silent = outside(|_| Vec::new());
    let order = Order { outside: true, servers: vec![silent], ..Order::default() };
    let running = Running::new(order, &[member("a", "web", "10.0.0.2")]);
    let client = UdpSocket::bind(ANY).unwrap();
    let streams: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(running.at).unwrap()).collect();
    for n in 0..10_000 {
        client.send_to(&query(&format!("{n}.example.org")), running.at).unwrap();
        if n % 1000 == 0 {
            assert_eq!(running.ask("web").1.len(), 1);
        }
    }
    assert_eq!(running.ask("web").1.len(), 1);
    drop(streams);
}

#[test]
fn only_what_is_listed_is_asked_and_its_addresses_are_told_before() {
    let right = Ipv4Addr::new(192, 0, 2, 7);
    let at = outside(move |question| vec![said(question, RCODE::NoError, right, 1)]);
    let listed = vec!["api.example.org".into(), "*.deep.example.org".into()];
    let order = Order { outside: true, servers: vec![at], listed, only: true, ..Order::default() };
    let running = Running::new(order, &[]);
    for name in ["example.org", "www.example.org", "deep.example.org", "x.api.example.org", "xdeep.example.org"] {
        assert_eq!(running.ask(name), (RCODE::NameError, Vec::new()), "{name}");
    }
    let word = running.word.as_ref().unwrap().as_fd();
    for name in ["api.example.org", "A.deep.example.org"] {
        let client = UdpSocket::bind(ANY).unwrap();
        client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        client.connect(running.at).unwrap();
        client.send(&query(name)).unwrap();
        let mut bytes = [0; 512];
        assert!(client.recv(&mut bytes).is_err(), "answered before it was said");
        let found = hear(word).unwrap().unwrap().unwrap();
        assert_eq!((found.name, found.addresses), (name.to_ascii_lowercase(), vec![(right.into(), 77)]));
        ready(word, found.number).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let length = client.recv(&mut bytes).unwrap();
        assert_eq!(read(&bytes[..length]).1, [right]);
    }
}
