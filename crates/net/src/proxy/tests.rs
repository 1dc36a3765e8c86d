use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::{About, Forward, Listening, serve, shares};

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// A proxy that ends when this is let go of.
struct Running {
    at: SocketAddr,
    thread: Option<JoinHandle<()>>,
    end: Option<OwnedFd>,
}

impl Running {
    fn new(listening: Listening, at: SocketAddr, to: SocketAddr, room: u64) -> Self {
        let kind = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (until, end) = socketpair(kind.0, kind.1, kind.2, None).unwrap();
        let thread = std::thread::spawn(move || serve(vec![Forward { listening, to }], &until, room).unwrap());
        Self { at, thread: Some(thread), end: Some(end) }
    }

    fn stream(to: SocketAddr) -> Self {
        let listener = TcpListener::bind(ANY).unwrap();
        let at = listener.local_addr().unwrap();
        Self::new(Listening::Stream(listener), at, to, 716)
    }

    fn datagram(to: SocketAddr) -> Self {
        let socket = UdpSocket::bind(ANY).unwrap();
        let at = socket.local_addr().unwrap();
        Self::new(Listening::Datagram(socket), at, to, 716)
    }

    fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.at).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.end.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Serves each connection by `each` in a thread of its own.
fn server(each: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind(ANY).unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || each(stream.unwrap()));
        }
    });
    at
}

fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let step = |state: &mut u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()[7]
    };
    (0..length).map(|_| step(&mut state)).collect()
}

#[test]
fn what_an_event_is_about_survives_the_kernel() {
    for about in
        [About::Word, About::Names, About::Listener(7), About::Side(0x3fff_ffff, 1), About::Flow(3, 0x3fff_ffff)]
    {
        assert_eq!(About::of(about.data()), about);
    }
}

#[test]
fn many_connections_carry_much_both_ways_and_end_one_way_at_a_time() {
    // Says what it got only when the client has said all.
    let at = server(|mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
    });
    let proxy = Running::stream(at);
    let clients: Vec<_> = (0..20)
        .map(|seed| {
            let mut client = proxy.client();
            std::thread::spawn(move || {
                let sent = pattern(seed, 700_000 + usize::try_from(seed).unwrap());
                client.write_all(&sent).unwrap();
                client.shutdown(std::net::Shutdown::Write).unwrap();
                let mut got = Vec::new();
                client.read_to_end(&mut got).unwrap();
                assert!(got == sent, "{} of {}", got.len(), sent.len());
            })
        })
        .collect();
    clients.into_iter().for_each(|c| c.join().unwrap());
}

#[test]
fn a_reader_that_waits_holds_the_writer_and_loses_nothing() {
    let at = server(|mut stream| {
        let mut all = pattern(5, 8_000_000);
        stream.write_all(&all).unwrap();
        all.clear();
    });
    let proxy = Running::stream(at);
    let mut client = proxy.client();
    std::thread::sleep(Duration::from_millis(300));
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert!(got == pattern(5, 8_000_000), "{}", got.len());
}

#[test]
fn nobody_inside_is_a_refusal_and_a_server_that_breaks_off_is_heard() {
    let closed = TcpListener::bind(ANY).unwrap().local_addr().unwrap();
    let proxy = Running::stream(closed);
    let error = proxy.client().read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let at = server(|stream| {
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    });
    let proxy = Running::stream(at);
    let error = proxy.client().read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    // The proxy goes on.
    assert!(proxy.client().read(&mut [0; 1]).is_err());
}

#[test]
fn who_comes_when_all_places_are_taken_waits_for_one() {
    let at = server(|mut stream| {
        let mut byte = [0; 1];
        while stream.read_exact(&mut byte).is_ok() {
            stream.write_all(&byte).unwrap();
        }
    });
    let listener = TcpListener::bind(ANY).unwrap();
    let proxy = Running::new(Listening::Stream(listener.try_clone().unwrap()), listener.local_addr().unwrap(), at, 453);
    let echo = |client: &mut TcpStream| {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0; 1])
    };
    let (mut first, mut second, mut third) = (proxy.client(), proxy.client(), proxy.client());
    echo(&mut first).unwrap();
    echo(&mut second).unwrap();
    third.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(echo(&mut third).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(first);
    third.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    third.read_exact(&mut [0; 1]).unwrap();
    echo(&mut second).unwrap();
}

#[test]
fn descriptors_are_shared_out() {
    assert_eq!(shares(453, 1, 0), (2, 0));
    assert_eq!(shares(20_000, 3, 1), (9_262, 1024));
    assert_eq!(shares(10, 200, 200), (1, 1));
    assert_eq!(shares(1_000_000, 1, 0), (16_384, 0));
}

#[test]
fn a_client_that_has_said_all_gets_all() {
    let at = server(|mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        let answer = pattern(7, 1_000_000 * usize::from(all[0]));
        stream.write_all(&answer).unwrap();
    });
    let proxy = Running::stream(at);
    let clients: Vec<_> = (1..=8_u8)
        .map(|n| {
            let mut client = proxy.client();
            std::thread::spawn(move || {
                client.write_all(&[n]).unwrap();
                client.shutdown(std::net::Shutdown::Write).unwrap();
                std::thread::sleep(Duration::from_millis(u64::from(n) * 60));
                let mut got = Vec::new();
                client.read_to_end(&mut got).unwrap();
                assert!(got == pattern(7, 1_000_000 * usize::from(n)), "{n}: {}", got.len());
            })
        })
        .collect();
    clients.into_iter().for_each(|c| c.join().unwrap());
}

/// As a web server that refuses a large request: it answers and closes, and does not read the rest.
#[test]
fn an_answer_to_a_request_that_was_not_read_arrives() {
    let at = server(|mut stream| {
        stream.read_exact(&mut [0; 10]).unwrap();
        stream.write_all(&pattern(9, 200_000)).unwrap();
    });
    let proxy = Running::stream(at);
    for _ in 0..20 {
        let mut client = proxy.client();
        let mut other = client.try_clone().unwrap();
        let writer = std::thread::spawn(move || other.write_all(&vec![1; 3_000_000]).is_ok());
        let mut got = Vec::new();
        let end = client.read_to_end(&mut got);
        // All of it, or a reset: never a part that looks whole.
        assert!(end.is_err() || got == pattern(9, 200_000), "{} of 200000, {end:?}", got.len());
        assert!(!got.is_empty());
        drop(client);
        let _: bool = writer.join().unwrap();
    }
}

#[test]
fn what_is_cut_off_does_not_look_whole() {
    let at = server(|mut stream| {
        stream.write_all(&pattern(3, 300_000)).unwrap();
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    });
    let proxy = Running::stream(at);
    for _ in 0..20 {
        let mut got = Vec::new();
        let error = proxy.client().read_to_end(&mut got).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{}", got.len());
        assert!(pattern(3, 300_000).starts_with(&got));
    }
}

#[test]
fn a_client_that_leaves_is_not_waited_for() {
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    let at = server(|mut stream| {
        while stream.write_all(&[0; 65_536]).is_ok() {}
        ENDED.fetch_add(1, Ordering::SeqCst);
    });
    let proxy = Running::stream(at);
    for _ in 0..50 {
        let mut client = proxy.client();
        client.read_exact(&mut [0; 1000]).unwrap();
    }
    let began = Instant::now();
    while ENDED.load(Ordering::SeqCst) < 50 {
        assert!(began.elapsed() < Duration::from_secs(20), "{} of 50", ENDED.load(Ordering::SeqCst));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn answers_find_the_client_that_asked() {
    let inside = UdpSocket::bind(ANY).unwrap();
    let at = inside.local_addr().unwrap();
    let proxy = Running::datagram(at);
    std::thread::spawn(move || {
        let mut buffer = [0; 65_535];
        while let Ok((length, from)) = inside.recv_from(&mut buffer) {
            let mut answer = b"to ".to_vec();
            answer.extend(&buffer[..length]);
            inside.send_to(&answer[..answer.len().min(60_000)], from).unwrap();
        }
    });
    let clients: Vec<UdpSocket> = (0..5)
        .map(|_| {
            let client = UdpSocket::bind(ANY).unwrap();
            client.connect(proxy.at).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            client
        })
        .collect();
    for turn in 0..3 {
        for (number, client) in clients.iter().enumerate() {
            client.send(format!("{number}/{turn}").as_bytes()).unwrap();
        }
        for (number, client) in clients.iter().enumerate() {
            let mut buffer = [0; 100];
            let length = client.recv(&mut buffer).unwrap();
            assert_eq!(String::from_utf8_lossy(&buffer[..length]), format!("to {number}/{turn}"));
        }
    }
    clients[0].send(&vec![7; 59_000]).unwrap();
    let mut buffer = vec![0; 65_535];
    assert_eq!(clients[0].recv(&mut buffer).unwrap(), 59_003);
}

#[test]
fn a_port_where_nobody_listens_serves_the_next_one_that_does() {
    let inside = UdpSocket::bind(ANY).unwrap();
    let at = inside.local_addr().unwrap();
    drop(inside);
    let proxy = Running::datagram(at);
    let client = UdpSocket::bind(ANY).unwrap();
    client.connect(proxy.at).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.send(b"lost").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let inside = UdpSocket::bind(at).unwrap();
    inside.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut buffer = [0; 100];
    let mut heard = None;
    for _ in 0..50 {
        client.send(b"hello").unwrap();
        if let Ok((length, from)) = inside.recv_from(&mut buffer) {
            heard = Some((buffer[..length].to_vec(), from));
            break;
        }
    }
    let (text, from) = heard.unwrap();
    assert_eq!(text, b"hello");
    inside.send_to(b"back", from).unwrap();
    let length = client.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"back");
}
