//! `bulkhead top`.

use clap::Args;

use super::{Entry, flags_of};
use crate::line::Flags;
use crate::output::{self, escape};
use crate::wire::{self, Processes};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "top",
    about: "Show the processes of a container",
    footer: "Examples:\n  bulkhead top web\n  bulkhead top web -o pid,user,args\n\n\
             Pids are those of the host. With options of ps, users are those of the host too.",
    flags: Flags::First,
    build: TopFlags::augment_args,
    run: |matches| {
        let words: TopFlags = flags_of(matches)?;
        output::raw(render(&wire::top(&words.container, &words.options)?).as_bytes()).map(|()| 0)
    },
};

#[derive(Debug, Args)]
struct TopFlags {
    /// Name, id or the start of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Options of the host's ps
    #[arg(value_name = "PS OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// Docker's layout of this one table: columns of 20 characters at least. What processes call themselves must not drive
/// the terminal.
fn render(processes: &Processes) -> String {
    const NARROWEST: usize = 20;
    const PADDING: usize = 3;
    let rows = std::iter::once(&processes.titles).chain(&processes.rows);
    let rows: Vec<Vec<_>> = rows.map(|row| row.iter().map(|cell| escape::cell(cell)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count() + PADDING).max().unwrap_or(0).max(NARROWEST)
    };
    let widths: Vec<usize> = (0..processes.titles.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::parsed;

    #[test]
    fn what_follows_the_container_is_for_ps() {
        let words: TopFlags = flags_of(&parsed(&ENTRY, &["web", "-o", "pid,cmd", "--help"]).unwrap()).unwrap();
        assert_eq!((words.container.as_str(), words.options.len()), ("web", 3));
        assert!(parsed(&ENTRY, &[]).is_err());
    }

    #[test]
    fn cells_are_wide_and_clean() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let table = Processes { titles: row(&["PID", "CMD"]), rows: vec![row(&["1", "a\x1b[2J\n"])] };
        assert_eq!(render(&table), format!("PID{}CMD\n1{}a\\x1b[2J\\n\n", " ".repeat(17), " ".repeat(19)));
    }
}
