//! `list`.

use super::compact;
use super::state::State;
use crate::output::{self, escape};
use crate::runc::args::Global;
use crate::runc::error::RuncError;
use crate::runc::group;
use crate::runc::state::{Record, Status, ids};

/// Columns are as wide as other runtimes have them: callers cut by position.
const NARROWEST: usize = 12;
const PADDING: usize = 3;

/// Prints all containers below the root. One that cannot be read is named on standard error, and the others are shown.
///
/// # Errors
///
/// A root that cannot be read.
pub fn execute(global: &Global, json: bool, quiet: bool) -> Result<u8, RuncError> {
    let mut states = Vec::new();
    for id in ids(global)? {
        let seen = Record::load(global, &id)
            .and_then(|record| Status::of(&record, group::frozen).map(|status| State::shown(&record, status)));
        match seen {
            Ok(state) => states.push(state),
            Err(error) => output::note(&format!("load container {id}: {error}")),
        }
    }
    if quiet {
        let ids: String = states.iter().map(|state| format!("{}\n", state.id)).collect();
        output::raw(ids.as_bytes())?;
    } else if json {
        // An empty list is `null`, as other runtimes have it.
        compact(&(!states.is_empty()).then_some(&states))?;
    } else {
        output::raw(table(&states).as_bytes())?;
    }
    Ok(0)
}

fn table(states: &[State]) -> String {
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let mut rows = vec![header];
    rows.extend(states.iter().map(|state| {
        let bundle = escape::cell(&state.bundle).into_owned();
        let status = state.status.to_owned();
        [state.id.clone(), state.pid.to_string(), status, bundle, state.created.clone(), state.owner.clone()]
    }));
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (cell.chars().count() + PADDING).max(NARROWEST).max(*width);
        }
    }
    let mut text = String::new();
    for [id, pid, status, bundle, created, owner] in &rows {
        for (cell, width) in [id, pid, status, bundle, created].into_iter().zip(widths) {
            text.push_str(&format!("{cell:<width$}"));
        }
        text.push_str(&format!("{owner}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_other_runtimes() {
        assert_eq!(table(&[]), "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
        let mut record = Record::new("a-long-identifier");
        record.bundle = "/b\n".into();
        record.owner = 4_294_967_294;
        record.created = 1_700_000_000_000_000_000;
        let text = table(&[State::shown(&record, Status::Stopped)]);
        assert_eq!(
            text.lines().nth(1).unwrap(),
            "a-long-identifier   0           stopped     /b\\n        2023-11-14T22:13:20.000000000Z   #4294967294"
        );
    }
}
