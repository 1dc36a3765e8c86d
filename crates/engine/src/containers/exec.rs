//! `exec`: one more program in a running container.

use std::os::fd::OwnedFd;

use bulkhead_sandbox::join::{Target, plan_join};
use bulkhead_sandbox::spec::outside;

use super::run::await_start;
use super::spawn::spawn;
use super::spec_of;
use super::stop::ready;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::events::{Event, Kind};
use crate::layout::Layout;
use crate::monitor::{History, JoinOrder};
use crate::request::ExecRequest;
use crate::resolve;
use crate::store::ContainerRecord;

/// Starts a program in a running container; the socket is `None` when it was detached.
///
/// # Errors
/// A container that does not run; a program that cannot be started.
pub fn exec(engine: &Engine, request: &ExecRequest) -> Result<Option<OwnedFd>, EngineError> {
    engine.recover()?;
    let record = engine.store()?.find_container(&request.container)?;
    let history = History {
        log: engine.events(),
        id: record.id.clone(),
        attributes: super::attributes(&record),
        renamed: Layout::new(&engine.paths, &record.id).renamed(),
    };
    let joined = join(engine, &record, request, Some(history))?;
    let action = format!("exec_start: {}", request.args.join(" "));
    engine.events().emit(&super::about(Event::new(Kind::Container, action, &record.id), &record));
    Ok(joined)
}

/// [`exec`] without a word to anybody but `history`, which is told the end.
pub(super) fn join(
    engine: &Engine,
    record: &ContainerRecord,
    request: &ExecRequest,
    history: Option<History>,
) -> Result<Option<OwnedFd>, EngineError> {
    let layout = Layout::new(&engine.paths, &record.id);
    let state = ready(&layout, record)?;
    let facts = engine.facts()?;
    let spec = spec_of(record)?;
    let image = crate::images::of_container(engine, record)?;
    let user = record.request.user.clone().unwrap_or_else(|| image.config.user.clone());
    let process = resolve::resolve_exec(request, &spec, &user, &image.lookup_dirs(&layout))?;
    let target =
        Target { pid: state.pid, started: state.started, namespaces: state.namespaces, cgroups: state.cgroups };
    let plan = plan_join(&spec, &process, &target, facts)?;
    let identity = &process.identity;
    let order = JoinOrder {
        plan,
        terminal: request.tty,
        size: request.size,
        stdin: request.stdin && !request.detach,
        pipe_owner: outside(&spec.ids.uids, identity.uid)
            .zip(outside(&spec.ids.gids, identity.gid))
            .filter(|_| facts.privileged),
        detach: request.detach,
        history,
    };
    let socket = spawn(engine, "joiner", &order, &[])?;
    if request.detach {
        await_start(&socket)?;
        return Ok(None);
    }
    Ok(Some(socket))
}
