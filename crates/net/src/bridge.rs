//! Bridges of networks.

use bulkhead_sys::Errno;
use bulkhead_sys::proc::Proc;

use crate::error::NetError;
use crate::link::{self, Link};
use crate::nft::rules;
use crate::socket::Socket;
use crate::{Bridge, Port, Subnet, attach, check, firewall, sysctl, user};

/// The bridge of a network, made if there is none. Also says whether it was made.
pub(crate) fn ensure(socket: &mut Socket, proc: &Proc, bridge: &Bridge) -> Result<(Link, bool), NetError> {
    if let Some(link) = link::by_name(socket, &bridge.link)? {
        let link = ours(link)?;
        // Or whoever made it did not come to an end.
        if !link.up {
            set_up(socket, proc, bridge, &link)?;
        }
        return Ok((link, false));
    }
    apart(socket, bridge)?;
    let made = match link::make_bridge(socket, bridge) {
        Ok(()) => true,
        // Somebody else was faster, and does the rest too.
        Err(no) if no.errno == Errno::EXIST => false,
        Err(no) if no.errno == Errno::OPNOTSUPP => {
            return Err(NetError::Missing { what: "make a bridge (CONFIG_BRIDGE)".to_owned(), source: no.errno });
        }
        Err(no) => return Err(NetError::refused(format!("make the bridge {:?}", bridge.link))(no)),
    };
    let found = link::by_name(socket, &bridge.link)?;
    let link = found.ok_or_else(|| NetError::kernel(format!("find the bridge {:?}", bridge.link))(Errno::NODEV))?;
    let link = ours(link)?;
    let done = set_up(socket, proc, bridge, &link);
    if done.is_err() && made {
        // The first failure is what matters.
        link::remove(socket, link.index).unwrap_or_default();
    }
    done.map(|()| (link, made))
}

/// Packets of two links with the same addresses would go by whichever has the first route: to another's containers.
fn apart(socket: &mut Socket, bridge: &Bridge) -> Result<(), NetError> {
    user::make_room(socket, bridge)?;
    let all = link::all_addresses(socket)?;
    for subnet in subnets(bridge) {
        let own = (subnet.address, subnet.prefix);
        let both = |a: &link::Address| [(a.address, a.prefix, a.link), (a.other, a.prefix, a.link)];
        let taken = all.iter().flat_map(both).find(|(ip, prefix, _)| check::overlap(own, (*ip, *prefix)));
        if let Some((address, prefix, index)) = taken {
            return Err(NetError::Overlap {
                subnet: format!("{}/{}", subnet.address, subnet.prefix),
                address: format!("{address}/{prefix}"),
                link: link::name_of(socket, index)?.unwrap_or_default(),
            });
        }
    }
    Ok(())
}

fn ours(link: Link) -> Result<Link, NetError> {
    if link.kind == "bridge" && link.group == rules::BRIDGES {
        Ok(link)
    } else {
        Err(NetError::Foreign { link: link.name })
    }
}

/// Addresses, settings and state, as far as they are missing.
pub(crate) fn set_up(socket: &mut Socket, proc: &Proc, bridge: &Bridge, link: &Link) -> Result<(), NetError> {
    let name = &bridge.link;
    // A container must not tell the host another way, nor its packets the way (`send_redirects` of others is none of ours).
    for setting in ["accept_redirects", "accept_source_route"] {
        sysctl::set(proc, &format!("ipv4/conf/{name}/{setting}"), "0")?;
    }
    if bridge.v6.is_some() {
        sysctl::with_ipv6(proc, name)?;
    } else {
        sysctl::without_ipv6(proc, name)?;
    }
    for subnet in subnets(bridge) {
        match link::add_address(socket, link.index, subnet.gateway, subnet) {
            Err(no) if no.errno != Errno::EXIST => {
                let what = format!("give {name:?} the address {}/{}", subnet.gateway, subnet.prefix);
                return Err(NetError::refused(what)(no));
            }
            _ => {}
        }
    }
    if link.mtu != bridge.mtu {
        let what = format!("set the MTU of {name:?} to {}", bridge.mtu);
        link::set_mtu(socket, link.index, bridge.mtu).map_err(NetError::refused(what))?;
    }
    link::up(socket, link.index).map_err(NetError::refused(format!("bring the bridge {name:?} up")))
}

/// Its subnets.
pub(crate) fn subnets(bridge: &Bridge) -> impl Iterator<Item = &Subnet> {
    [&bridge.v4, &bridge.v6].into_iter().flatten()
}

/// Whether the host has to forward IPv4, and IPv6, for these, and does not.
pub(crate) fn not_forwarding(proc: &Proc, bridges: &[&Bridge], ports: &[Port]) -> Result<(bool, bool), NetError> {
    let outward = |has: fn(&Bridge) -> bool| bridges.iter().any(|b| !b.internal && has(b));
    let published = |v4: bool| ports.iter().any(|p| p.address.is_ipv4() == v4);
    let v4 = outward(|b| b.v4.is_some()) || published(true);
    let v6 = outward(|b| b.v6.is_some()) || published(false);
    Ok((v4 && !sysctl::is_on(proc, "ipv4/ip_forward")?, v6 && !sysctl::is_on(proc, "ipv6/conf/all/forwarding")?))
}

/// Lets the host forward for containers, if it does not forward yet. IPv4 is turned on, with a rule that the host forwards
/// for nobody else. IPv6 is not: a host that forwards it stops listening to its own routers.
pub(crate) fn forward(proc: &Proc, firewall: &mut Socket, bridges: &[&Bridge], ports: &[Port]) -> Result<(), NetError> {
    let (v4, v6) = not_forwarding(proc, bridges, ports)?;
    if v4 {
        firewall::guard(firewall)?;
        sysctl::set(proc, "ipv4/ip_forward", "1")?;
    }
    if v6 { Err(NetError::Forwarding) } else { Ok(()) }
}

/// Note on a bridge while the host forwards only because we asked it to: it is still there when somebody flushed all tables.
const GUARDS: &str = "bulkhead: IPv4 is forwarded for containers only";

/// Whether a bridge has that note.
pub(crate) fn guards(link: &Link) -> bool {
    link.group == rules::BRIDGES && link.alias == GUARDS
}

/// Whether any bridge of ours has it.
pub(crate) fn any_guards(socket: &mut Socket) -> Result<bool, NetError> {
    Ok(link::ours(socket)?.iter().any(guards))
}

/// Makes tables and bridges agree about whether the host forwards for containers only: it does if one of them says so.
pub(crate) fn keep_guard(socket: &mut Socket, firewall: &mut Socket, bridges: &[Link]) -> Result<(), NetError> {
    let known = firewall::is_guarded(firewall)?;
    if !known && !bridges.iter().any(guards) {
        return Ok(());
    }
    if !known {
        firewall::guard(firewall)?;
    }
    bridges.iter().filter(|b| !guards(b)).try_for_each(|bridge| {
        let what = format!("note on {:?} that the host forwards for containers only", bridge.name);
        link::set_alias(socket, bridge.index, GUARDS).map_err(NetError::refused(what))
    })
}

/// Removes the bridge of a network that nobody is on, and what the firewall knows of it. One that is gone is no error.
///
/// # Errors
/// [`NetError::InUse`] when it has ports, [`NetError::Foreign`] when it is none of ours; else what the kernel says.
pub fn remove_bridge(link: &str) -> Result<(), NetError> {
    check::name("link of a network", link)?;
    let mut socket = link::socket()?;
    let there = link::by_name(&mut socket, link)?.map(ours).transpose()?;
    if let Some(bridge) = &there {
        let all = link::ours(&mut socket)?;
        let mut ports = all.iter().filter(|l| l.master == Some(bridge.index));
        if let Some(first) = ports.next() {
            return Err(NetError::InUse { link: link.to_owned(), count: 1 + ports.count(), first: first.name.clone() });
        }
    }
    take_away(&mut socket, link, there.as_ref(), &[])
}

/// Removes the bridge of a network that is no more, with what is left of containers on it: the host's ends of their links,
/// which go with their namespaces and so stay as long as somebody keeps one of these. What the firewall knows of all of them
/// goes first. What is gone is no error.
///
/// # Errors
/// [`NetError::Foreign`] when the bridge is none of ours; else what the kernel says.
pub fn remove_network(link: &str) -> Result<(), NetError> {
    check::name("link of a network", link)?;
    let mut socket = link::socket()?;
    let there = link::by_name(&mut socket, link)?.map(ours).transpose()?;
    let all = if there.is_some() { link::ours(&mut socket)? } else { Vec::new() };
    let index = there.as_ref().map(|bridge| bridge.index);
    let ports: Vec<&Link> = all.iter().filter(|l| l.group == rules::PORTS && l.master == index).collect();
    take_away(&mut socket, link, there.as_ref(), &ports)
}

fn take_away(socket: &mut Socket, link: &str, bridge: Option<&Link>, ports: &[&Link]) -> Result<(), NetError> {
    let mut firewall = firewall::Firewall::open()?;
    let names: Vec<&str> = ports.iter().map(|p| p.name.as_str()).chain([link]).collect();
    firewall::forget_links(firewall.socket()?, &names)?;
    let indexes: Vec<u32> = ports.iter().map(|p| p.index).collect();
    attach::remove_links(socket, &indexes)?;
    if let Some(bridge) = bridge {
        let what = format!("remove the bridge {link:?}");
        link::remove(socket, bridge.index).map_err(NetError::refused(what))?;
    }
    Ok(())
}
