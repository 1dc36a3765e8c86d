//! What a network costs does not grow with the number of containers, and nothing waits for the kernel to let go of something.

use std::time::{Duration, Instant};

use bulkhead_net::{Member, Port, Protocol, attach, detach, mend, verify};
use bulkhead_tests::net::{Space, declared, host, member, network, port};

/// A wait for every processor takes at least this long on a machine that does something.
const WAIT: Duration = Duration::from_millis(4);

#[test]
fn starts_and_ends_cost_the_same_among_many() {
    host(|| {
        let net = network(40, false);
        let at = |n: u8| [port("0.0.0.0", 8000 + u16::from(n), Protocol::Tcp, &format!("10.88.40.{n}"), 80)];
        let mut running: Vec<(Space, Member, Port)> = Vec::new();
        let mut fastest = Vec::new();
        for round in 0..4_u8 {
            let (mut on, mut off) = (Duration::MAX, Duration::MAX);
            for n in (2 + round * 30)..(32 + round * 30) {
                let (space, me) = (Space::new(), member(&net, n));
                let begun = Instant::now();
                attach(space.pid(), &[&net], std::slice::from_ref(&me), &at(n)).expect("attached");
                on = on.min(begun.elapsed());
                if n % 3 == 0 {
                    let begun = Instant::now();
                    detach(&[me], &at(n)).expect("detached");
                    off = off.min(begun.elapsed());
                } else {
                    running.push((space, me, at(n)[0]));
                }
            }
            println!("{} containers: attach {on:?}, detach {off:?}", running.len());
            assert!(off < WAIT, "detach waits: {off:?}");
            fastest.push(on);
        }
        let (first, last) = (fastest[0], fastest[3]);
        assert!(last < first * 2 + Duration::from_millis(1), "{fastest:?}");
        // All of them at once, from nothing: one change.
        let members: Vec<Member> = running.iter().map(|(_, m, _)| m.clone()).collect();
        let ports: Vec<Port> = running.iter().map(|(.., p)| *p).collect();
        let all = declared(&[&net], &members, &ports);
        bulkhead_tests::net::run("nft flush ruleset").ok();
        mend(&all).expect("mended");
        let rest: Vec<String> = verify(&all).expect("readable").iter().map(ToString::to_string).collect();
        // Links of those that ended have gone by themselves, or were removed.
        assert!(rest.is_empty(), "{rest:?}");
    });
}

#[test]
fn a_thousand_members_are_one_change() {
    host(|| {
        let net = network(41, true);
        let members: Vec<Member> = (0..1000_u16)
            .map(|n| {
                let [high, low] = (n + 2).to_be_bytes();
                let me = member(&net, 2);
                Member {
                    host_link: format!("bv{n:012x}"),
                    mac: [2, 0x88, 0, 0, high, low],
                    v4: me.v4.map(|_| [10, 88, 41 + high, low].into()),
                    v6: me.v6.map(|a| (u128::from(a) + u128::from(n)).into()),
                    ..me
                }
            })
            .collect();
        let mut net = net;
        net.v4 = net.v4.map(|v4| bulkhead_net::Subnet { address: [10, 88, 40, 0].into(), prefix: 21, ..v4 });
        bulkhead_tests::net::sysctl("ipv6/conf/all/forwarding", "1");
        let ports: Vec<Port> = (1..=2000).map(|n| port("0.0.0.0", n, Protocol::Udp, "10.88.41.2", n)).collect();
        let all = declared(&[&net], &members, &ports);
        let begun = Instant::now();
        mend(&all).expect("mended");
        println!("mended in {:?}", begun.elapsed());
        // There are no containers behind them, and everything else is there.
        let rest = verify(&all).expect("readable");
        assert_eq!(rest.len(), 1000);
        assert!(rest.iter().all(|d| matches!(d, bulkhead_net::Drift::MemberMissing { .. })), "{:?}", rest.first());
        detach(&members, &ports).expect("detached");
        assert_eq!(verify(&declared(&[&net], &[], &[])).expect("readable"), []);
    });
}
