use super::link::{of_nowhere, of_station, of_tag};
use super::*;
use crate::wire::Writer;

fn bytes(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    write(&mut writer);
    writer.finish().unwrap()
}

/// Attributes as a list of (type, value); those that hold others are opened by hand.
fn flat(bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    crate::wire::attributes(bytes, 0).map(|(kind, _, value)| (kind, value.to_vec())).collect()
}

fn info(bytes: &[u8]) -> (Vec<u8>, Vec<(u16, Vec<u8>)>) {
    let (_, info) = flat(bytes).into_iter().find(|(kind, _)| *kind == 18).unwrap();
    let all = flat(&info);
    let data = all.iter().find(|(kind, _)| *kind == 2).map(|(_, data)| flat(data)).unwrap_or_default();
    (all[0].1.clone(), data)
}

fn uplink(kind: Kind) -> Uplink {
    let subnet = |address: &str, prefix, gateway: &str| Subnet {
        address: address.parse().unwrap(),
        prefix,
        gateway: gateway.parse().unwrap(),
    };
    Uplink {
        name: "bh-0123456789ab".to_owned(),
        parent: Some("eth0".to_owned()),
        kind,
        v4: Some(subnet("192.0.2.0", 24, "192.0.2.1")),
        v6: Some(subnet("fd00:2::", 64, "fd00:2::1")),
        mtu: None,
        internal: false,
    }
}

fn station() -> Station {
    Station {
        uplink: "bh-0123456789ab".to_owned(),
        key: "bv0123456789ab".to_owned(),
        inner: "eth0".to_owned(),
        mac: [2, 0, 0, 0, 0, 7],
        v4: "192.0.2.7".parse().ok(),
        v6: "fd00:2::7".parse().ok(),
        default_route: true,
    }
}

#[test]
fn a_macvlan_link_in_bytes() {
    let with_mtu = Uplink { mtu: Some(1400), ..uplink(Kind::Macvlan(MacvlanMode::Bridge)) };
    let made = bytes(|w| of_station(w, &station(), &with_mtu, 3, 9));
    let name = [9, 0, 3, 0, b'e', b't', b'h', b'0', 0, 0, 0, 0];
    let on = [8, 0, 5, 0, 3, 0, 0, 0];
    let mtu = [8, 0, 4, 0, 0x78, 5, 0, 0];
    let mac = [10, 0, 1, 0, 2, 0, 0, 0, 0, 7, 0, 0];
    let namespace = [8, 0, 28, 0, 9, 0, 0, 0];
    // Kind, then what it holds: 4 is bridge.
    let kind = [12, 0, 1, 0, b'm', b'a', b'c', b'v', b'l', b'a', b'n', 0];
    let data = [12, 0, 2, 0x80, 8, 0, 1, 0, 4, 0, 0, 0];
    let head = [28, 0, 18, 0x80];
    let expected = [&name[..], &on, &mtu, &mac, &namespace, &head, &kind, &data].concat();
    if cfg!(target_endian = "little") {
        assert_eq!(made, expected);
    }
    for (mode, number) in [("private", 1_u32), ("vepa", 2), ("bridge", 4), ("passthru", 8)] {
        let mode = MacvlanMode::ALL.into_iter().find(|(name, _)| *name == mode).unwrap().1;
        let made = bytes(|w| of_station(w, &station(), &uplink(Kind::Macvlan(mode)), 3, 9));
        assert_eq!(info(&made).1, [(1, number.to_ne_bytes().to_vec())]);
        // The only link of a parent has the parent's address.
        assert_eq!(flat(&made).iter().any(|(kind, _)| *kind == 1), mode != MacvlanMode::Passthru);
    }
}

#[test]
fn an_ipvlan_link_in_bytes() {
    for (mode, flag, data) in [
        (IpvlanMode::L2, IpvlanFlag::Bridge, vec![(1, vec![0, 0])]),
        (IpvlanMode::L3, IpvlanFlag::Private, vec![(1, vec![1, 0]), (2, vec![1, 0])]),
        (IpvlanMode::L3s, IpvlanFlag::Vepa, vec![(1, vec![2, 0]), (2, vec![2, 0])]),
    ] {
        let made = bytes(|w| of_station(w, &station(), &uplink(Kind::Ipvlan(mode, flag)), 3, 9));
        let (kind, found) = info(&made);
        assert_eq!(kind, b"ipvlan\0");
        if cfg!(target_endian = "little") {
            assert_eq!(found, data);
        }
        assert!(!flat(&made).iter().any(|(kind, _)| [1, 4].contains(kind)), "neither an address nor a size of its own");
    }
}

#[test]
fn links_that_are_made_for_a_network_in_bytes() {
    let made = bytes(|w| of_tag(w, "eth0.50", 3, 50));
    assert_eq!(info(&made), (b"vlan\0".to_vec(), vec![(1, 50_u16.to_ne_bytes().to_vec())]));
    assert!(
        flat(&made).contains(&(5, 3_u32.to_ne_bytes().to_vec())) && flat(&made).contains(&(3, b"eth0.50\0".to_vec()))
    );
    let made = bytes(|w| of_nowhere(w, "bh-0123456789ab", "dummy"));
    assert_eq!(info(&made), (b"dummy\0".to_vec(), Vec::new()));
    // Both are known as ours.
    assert!(flat(&made).contains(&(27, 0x626c_0001_u32.to_ne_bytes().to_vec())));
}

#[test]
fn what_makes_no_sense_is_named() {
    let good = uplink(Kind::Macvlan(MacvlanMode::Bridge));
    assert!(checked(std::slice::from_ref(&good), &[station()]).is_ok());
    let says = |uplink: Uplink, station: Station| checked(&[uplink], &[station]).unwrap_err().to_string();
    let parent = |name: &str| Uplink { parent: Some(name.to_owned()), ..good.clone() };
    assert!(says(parent("a/b"), station()).starts_with("parent \"a/b\""));
    assert!(says(parent("0123456789abcdef"), station()).contains("1 to 15"));
    assert!(says(Uplink { mtu: Some(1279), ..good.clone() }, station()).contains("1280"));
    assert!(says(good.clone(), Station { uplink: "other".to_owned(), ..station() }).contains("one of bh-0123456789ab"));
    assert!(says(good.clone(), Station { v4: "192.0.3.1".parse().ok(), ..station() }).contains("192.0.2.0/24"));
    assert!(says(good.clone(), Station { v4: "192.0.2.1".parse().ok(), ..station() }).contains("the gateway's"));
    assert!(says(good, Station { mac: [1, 0, 0, 0, 0, 0], ..station() }).contains("01:00:00:00:00:00"));
}
