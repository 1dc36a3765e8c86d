//! Starting a container that waits.

use std::os::fd::OwnedFd;

use super::config::Config;
use super::step::OciStep;
use super::{Rights, filter, ids, namespaces::Namespaces, process};
use crate::error::StartError;
use crate::facts::HostFacts;
use crate::plan::PlanError;
use crate::protocol::{Channel, Message};
use crate::spec::MapWriter;
use crate::step::Step;
use crate::supervise::{Deliver, deliver_from};

/// The steps that a waiting container has left, and how many came before them.
#[derive(Debug)]
pub struct Rest {
    first: usize,
    steps: Vec<Step>,
    program: String,
}

impl Rest {
    /// Of the config that the container was made from; `first` is the index of its first step that is left.
    ///
    /// # Errors
    /// As [`super::plan`].
    pub fn of(config: &Config, first: usize, facts: &HostFacts) -> Result<Self, PlanError> {
        let linux = config.linux();
        let namespaces = Namespaces::of(&linux, facts)?;
        let ids = ids(&linux, &namespaces, facts)?;
        let filter = filter::filter(&linux, facts)?;
        let set_groups = ids.writer != MapWriter::Single;
        let rights = Rights { keyring: None, filter: filter.as_ref(), set_groups };
        let mut steps = Vec::new();
        let wanted = config.process.clone().unwrap_or_default();
        process::late(&wanted, &rights, true, &mut steps)?;
        let waits = steps.iter().position(|step| *step == OciStep::AwaitStart.into());
        steps.drain(..waits.map_or(0, |at| at + 1));
        Ok(Self { first, steps, program: wanted.args.first().cloned().unwrap_or_default() })
    }
}

/// Gives the word over a connection to the container's socket and returns when the program runs.
///
/// `deliver` gets the descriptor of a filter that asks as soon as it exists: the start of the program may be among what
/// is asked. `rest` is asked only when something failed: what failed is then told in words.
///
/// # Errors
/// The step that failed; the container has ended by then.
pub fn start(
    connection: OwnedFd,
    deliver: &mut Deliver<'_>,
    rest: impl FnOnce() -> Result<Rest, PlanError>,
) -> Result<(), StartError> {
    let channel = Channel::new(connection);
    channel.send(Message::Exec, &[]).map_err(StartError::parent("tell the container to start"))?;
    let mut fds = Vec::with_capacity(1);
    loop {
        match channel.recv_in_time(&mut fds).map_err(StartError::parent("hear from the container"))? {
            None => return Ok(()),
            Some(Message::Listener) => deliver_from(&mut fds, deliver)?,
            Some(Message::Failed { step, errno }) => {
                let rest = rest()?;
                let index = usize::try_from(step).unwrap_or(usize::MAX).saturating_sub(rest.first);
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                return Err(StartError::step(&rest.steps, &rest.program, index, errno));
            }
            Some(_) => return Err(StartError::Vanished("it broke the protocol".to_owned())),
        }
    }
}
