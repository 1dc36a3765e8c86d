//! Many containers: their number changes nothing about the rules, and all of them are one change.

use bulkhead_net::{Member, Port, Protocol, attach, detach, mend, verify};
use bulkhead_tests::net::{Space, declared, host, member, network, port, run};

/// Rules of the host's firewall.
fn rules() -> usize {
    run("nft -j list ruleset").ok().matches("{\"rule\":").count()
}

#[test]
fn containers_come_and_go_among_many() {
    host(|| {
        let net = network(40, false);
        let at = |n: u8| [port("0.0.0.0", 8000 + u16::from(n), Protocol::Tcp, &format!("10.88.40.{n}"), 80)];
        let mut running: Vec<(Space, Member, Port)> = Vec::new();
        let mut counted = Vec::new();
        for n in 2..122 {
            let (space, me) = (Space::new(), member(&net, n));
            attach(space.pid(), &[&net], std::slice::from_ref(&me), &at(n)).expect("attached");
            if n % 3 == 0 {
                detach(&[me], &at(n)).expect("detached");
            } else {
                running.push((space, me, at(n)[0]));
            }
            if matches!(n, 2 | 60 | 121) {
                counted.push(rules());
            }
        }
        assert!(counted[0] > 20 && counted.iter().all(|n| *n == counted[0]), "{counted:?}");
        // All of them at once, from nothing: one change.
        let members: Vec<Member> = running.iter().map(|(_, m, _)| m.clone()).collect();
        let ports: Vec<Port> = running.iter().map(|(.., p)| *p).collect();
        let all = declared(&[&net], &members, &ports);
        run("nft flush ruleset").ok();
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
        mend(&all).expect("mended");
        // There are no containers behind them, and everything else is there.
        let rest = verify(&all).expect("readable");
        assert_eq!(rest.len(), 1000);
        assert!(rest.iter().all(|d| matches!(d, bulkhead_net::Drift::MemberMissing { .. })), "{:?}", rest.first());
        detach(&members, &ports).expect("detached");
        assert_eq!(verify(&declared(&[&net], &[], &[])).expect("readable"), []);
    });
}
