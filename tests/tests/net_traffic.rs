//! Traffic of containers on networks, in namespaces that the tests make: what must arrive, and what must not.

use bulkhead_net::{Bridge, Protocol, attach, detach, verify};
use bulkhead_tests::net::{Space, container, declared, host, member, network, outside, port, run, sysctl, tcp, udp};

#[test]
fn members_of_a_network_reach_each_other() {
    for filtered in ["1", "0"] {
        host(|| {
            // Where frames between ports go through the packet filter too, and where not.
            sysctl("bridge/bridge-nf-call-iptables", filtered);
            sysctl("bridge/bridge-nf-call-ip6tables", filtered);
            sysctl("ipv6/conf/all/forwarding", "1");
            let net = network(1, true);
            let ((one, a), (other, b)) = (container(&net, 2), container(&net, 3));
            assert_eq!(verify(&declared(&[&net], &[a, b], &[])).expect("readable"), []);
            assert!(one.pings("10.88.1.3"), "{}", run("nft list ruleset; ip a; bridge fdb; ip neigh").out);
            assert!(other.pings("10.88.1.2"));
            assert!(one.pings("fd88:1::3"));
            let listener = other.listen("0.0.0.0:80");
            assert_eq!(one.tcp(&listener, "10.88.1.3:80"), "10.88.1.2".parse().ok());
            let listener = other.listen("[fd88:1::3]:81");
            assert_eq!(one.tcp(&listener, "[fd88:1::3]:81"), "fd88:1::2".parse().ok());
            let socket = other.datagrams("0.0.0.0:80");
            assert_eq!(one.udp(&socket, "10.88.1.3:80"), "10.88.1.2".parse().ok());
            let socket = other.datagrams("[fd88:1::3]:81");
            assert_eq!(one.udp(&socket, "[fd88:1::3]:81"), "fd88:1::2".parse().ok());
            // The host reaches them, and they answer.
            let listener = other.listen("0.0.0.0:82");
            assert_eq!(tcp(&listener, "10.88.1.3:82"), "10.88.1.1".parse().ok());
        });
    }
}
