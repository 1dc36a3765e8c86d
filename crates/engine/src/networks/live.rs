//! The networks of a container that runs, as its monitor has them: they can be changed meanwhile.

use std::os::fd::BorrowedFd;
use std::rc::Rc;

use bulkhead_net::{Declared, Member, Station, names};
use bulkhead_sys::Errno;

use super::kernel;
use super::lease::{NetworkOrder, ends};
use super::listed::Opened;
use super::place::Place;
use super::proxy::Proxy;
use crate::error::EngineError;
use crate::monitor::History;

/// What a container has while it runs.
#[derive(Debug)]
pub(crate) struct Live {
    order: NetworkOrder,
    pid: i32,
    user: u32,
    place: Rc<Place>,
    /// Answers for names, and for root carries ports.
    proxy: Option<Proxy>,
    /// Carries ports of an ordinary user.
    carrier: Option<Proxy>,
    /// How often another had to take its place.
    revived: u32,
    /// What names of its lists have opened.
    opened: Opened,
}

/// Times that the process which carries and answers is started anew in one run. One that ends more often is not worth it.
const LIVES: u32 = 100;

impl Live {
    /// Connects the program with this process id, which does not run yet. `binary` is the protected copy of this program,
    /// `user` an id of the container's own, with whose rights ports are carried and names answered.
    ///
    /// # Errors
    /// What the kernel refused; then nothing of it is left.
    pub(crate) fn begin(
        order: NetworkOrder,
        place: Rc<Place>,
        pid: i32,
        binary: BorrowedFd<'_>,
        user: u32,
        history: &History,
    ) -> Result<Self, EngineError> {
        order.begin(history);
        // What is taken by somebody else is found before anything is made.
        let mut live =
            Self { order, pid, user, place, proxy: None, carrier: None, revived: 0, opened: Opened::default() };
        live.carrier = live.carrier(binary)?;
        live.proxy = live.answerer(binary)?;
        if let Err(e) = live.wire(&live.order, &live.order.wiring).and_then(|()| live.introduce()) {
            live.order.undo(&live.place);
            return Err(e);
        }
        live.order.tell(history, "connect");
        Ok(live)
    }

    /// The process that answers, and carries ports of root.
    fn answerer(&self, binary: BorrowedFd<'_>) -> Result<Option<Proxy>, EngineError> {
        let (wiring, names) = (&self.order.wiring, self.order.names.is_some());
        match (&*self.place, names) {
            (Place::User(_), true) => Proxy::start(&self.place, &Declared::default(), binary, self.user, true),
            (Place::User(_), false) => Ok(None),
            _ => Proxy::start(&self.place, wiring, binary, self.user, names),
        }
    }

    /// The process that carries ports of an ordinary user.
    fn carrier(&self, binary: BorrowedFd<'_>) -> Result<Option<Proxy>, EngineError> {
        match &*self.place {
            Place::User(_) => Proxy::start(&self.place, &self.order.wiring, binary, self.user, false),
            _ => Ok(None),
        }
    }

    /// Makes what the kernel is to have, all or nothing.
    fn wire(&self, order: &NetworkOrder, wiring: &Declared) -> Result<(), EngineError> {
        let (_calm, wiring) = order.with_policies(wiring)?;
        if !kernel::attach(&self.place, self.pid, &wiring)? {
            return Ok(());
        }
        // The firewall was gone, or somebody else has changed it: those that run get back what they lack.
        self.order.everything().and_then(|all| kernel::restore(&self.place, &all)).map(drop).inspect_err(|_| {
            kernel::unplug(&self.place, self.pid, &wiring).unwrap_or_default();
        })
    }

    /// Makes the container known to the other members, and them to it. The first time its resolver gets its sockets. One that
    /// has left all networks with names knows nothing any more, and asks nobody.
    fn introduce(&mut self) -> Result<(), EngineError> {
        let Some(proxy) = self.proxy.as_mut() else { return Ok(()) };
        let Some(names) = &self.order.names else {
            return if proxy.answers() { super::names::silence(proxy.word()?) } else { Ok(()) };
        };
        names.announce(&self.order.run, &|network| self.order.entries(network))?;
        let first = !proxy.answers();
        let doors = if first { Some(kernel::open_names(&self.place, self.pid)?) } else { None };
        names.tell(&self.order.run, proxy.word()?, doors.as_ref())?;
        if let Some(doors) = doors {
            proxy.keep(doors.redirect);
        }
        Ok(())
    }

    /// Goes from what it has to another order.
    ///
    /// # Errors
    /// What the kernel refused; then it has what it had.
    pub(crate) fn change(
        &mut self,
        mut new: NetworkOrder,
        binary: BorrowedFd<'_>,
        history: &History,
    ) -> Result<(), EngineError> {
        new.keep_links_of(&self.order);
        let added = beyond(&new.wiring, &self.order.wiring);
        let gone = beyond(&self.order.wiring, &new.wiring);
        self.wire(&new, &added)?;
        let before = std::mem::replace(&mut self.order, new);
        let done = self.helper(binary).and_then(|()| self.introduce()).and_then(|()| self.leave(&before, &gone));
        if let Err(e) = done {
            // What was added goes again; whoever it was made known to forgets it.
            let new = std::mem::replace(&mut self.order, before);
            new.withdraw_beyond(&self.order);
            // What stays is nobody else's until the container has ended.
            let undone = kernel::unplug(&self.place, self.pid, &added).inspect_err(|_| self.order.keep());
            return self.introduce().and(undone).and(Err(e));
        }
        self.order.tell_changes(&before, history);
        Ok(())
    }

    /// Can be read when a process that carries or answers has something to say, or has ended.
    pub(crate) fn words(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.proxy, &self.carrier].into_iter().flatten().filter_map(|proxy| proxy.word().ok())
    }

    /// Something came from the processes that carry and answer: what is found is opened, and that is told. One that has ended
    /// gets a successor.
    pub(crate) fn hear(&mut self, binary: BorrowedFd<'_>) {
        if self.carrier.as_ref().is_some_and(Proxy::has_ended) {
            drop(self.carrier.take());
            self.revived += 1;
            if self.revived <= LIVES {
                // Without it, a comparison says so.
                self.carrier = self.carrier(binary).unwrap_or_default();
            }
        }
        let Some(word) = self.proxy.as_ref().and_then(|proxy| proxy.word().ok()) else { return };
        let found = match names::hear(word) {
            Ok(Some(Some(found))) => found,
            Ok(Some(None)) | Err(Errno::AGAIN | Errno::INTR) => return,
            Ok(None) | Err(_) => return self.revive(binary),
        };
        // What cannot be opened is not answered.
        if let Some(own) = &self.order.names
            && own.open(&self.place, &found, &mut self.opened).is_ok()
        {
            names::ready(word, found.number).unwrap_or_default();
        }
    }

    /// The process that carries and answers has ended: another takes its place. Where that fails, there are no names and no
    /// ports of loopback until the container is started again; a comparison says so.
    fn revive(&mut self, binary: BorrowedFd<'_>) {
        drop(self.proxy.take());
        self.revived += 1;
        if self.revived > LIVES {
            return;
        }
        if let Ok(proxy) = self.answerer(binary) {
            self.proxy = proxy;
            // Without its sockets nobody is answered.
            self.introduce().unwrap_or_else(|_| drop(self.proxy.take()));
        }
    }

    /// The process that answers, where there was no need for one so far.
    fn helper(&mut self, binary: BorrowedFd<'_>) -> Result<(), EngineError> {
        if self.proxy.is_none() && self.order.names.is_some() {
            self.proxy = Proxy::start(&self.place, &Declared::default(), binary, self.user, true)?;
        }
        Ok(())
    }

    /// Leaves networks, and finds another way out where one of them was it.
    fn leave(&self, before: &NetworkOrder, gone: &Declared) -> Result<(), EngineError> {
        before.withdraw_beyond(&self.order);
        kernel::unplug(&self.place, self.pid, gone)?;
        let (members, stations) = (&before.wiring.members, &before.wiring.stations);
        let had_not = |key: &String| {
            let member = members.iter().any(|old| old.host_link == *key && !old.default_route);
            member || stations.iter().any(|old| old.key == *key && !old.default_route)
        };
        let now = &self.order.wiring;
        for member in now.members.iter().filter(|m| m.default_route && had_not(&m.host_link)) {
            if let Some(bridge) = now.bridges.iter().find(|b| b.link == member.bridge) {
                // What is left cannot be had back. A container that may change its own routes can be in the way.
                drop(kernel::route(&self.place, self.pid, member, bridge));
            }
        }
        for station in now.stations.iter().filter(|s| s.default_route && had_not(&s.key)) {
            if let Some(uplink) = now.uplinks.iter().find(|u| u.name == station.uplink) {
                drop(kernel::route_by_link(self.pid, station, uplink));
            }
        }
        Ok(())
    }

    /// The program has ended: takes away what the kernel has. What is left is what another run begins with.
    pub(crate) fn end(self, history: &History) -> NetworkOrder {
        drop((self.proxy, self.carrier));
        self.order.detach(&self.place, history);
        self.order
    }
}

/// The places that only the first has, with their networks and no ports.
fn beyond(wiring: &Declared, other: &Declared) -> Declared {
    let kept = |key: &String| ends(other).any(|(known, _)| known == key);
    let members: Vec<Member> = wiring.members.iter().filter(|m| !kept(&m.host_link)).cloned().collect();
    let stations: Vec<Station> = wiring.stations.iter().filter(|s| !kept(&s.key)).cloned().collect();
    let bridges = wiring.bridges.iter().filter(|b| members.iter().any(|m| m.bridge == b.link)).cloned().collect();
    let uplinks = wiring.uplinks.iter().filter(|u| stations.iter().any(|s| s.uplink == u.name)).cloned().collect();
    Declared { bridges, members, ports: Vec::new(), uplinks, stations }
}
