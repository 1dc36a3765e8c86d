//! Plain columns, laid out as Docker does: three spaces between, ten characters at least.

use std::io::IsTerminal;

use super::{escape, human};

const PADDING: usize = 3;
const NARROWEST: usize = 10;
/// A column that has to shrink keeps this many characters.
const SHORTEST: usize = 12;

/// Columns of the terminal that standard output is; `None` when it is something else, and nothing may be cut.
pub fn room() -> Option<usize> {
    std::io::stdout().is_terminal().then(super::width)
}

/// Lays `rows` out (the first may be the header), with nothing cut; the last column is not padded. Control characters
/// are made visible always: a line end in a cell would make two rows of one.
pub fn layout(rows: &[Vec<String>]) -> String {
    layout_for(rows, None)
}

/// [`layout`] for a terminal of so many columns: where a row does not fit, the longest cells end in `…`. A terminal that
/// is too narrow for that gets whole rows.
pub fn layout_for(rows: &[Vec<String>], room: Option<usize>) -> String {
    let mut rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| escape::cell(cell).into_owned()).collect()).collect();
    let mut longest = longest(&rows);
    if let Some(limits) = room.and_then(|room| shrink(&rows, &longest, room)) {
        for row in &mut rows {
            for (cell, limit) in row.iter_mut().zip(&limits) {
                *cell = human::ellipsis(cell, *limit);
            }
        }
        longest = limits;
    }
    let mut text = String::new();
    for row in &rows {
        for (column, (cell, length)) in row.iter().zip(&longest).enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                let width = (length + PADDING).max(NARROWEST);
                text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
            }
        }
        text.push('\n');
    }
    text
}

/// Characters of the longest cell of each column.
fn longest(rows: &[Vec<String>]) -> Vec<usize> {
    let mut lengths: Vec<usize> = Vec::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let length = cell.chars().count();
            match lengths.get_mut(column) {
                Some(known) => *known = (*known).max(length),
                None => lengths.push(length),
            }
        }
    }
    lengths
}

/// How long the cells of each column may be to fit; `None` when all do, or when that cannot be. The header and the
/// first column (an id, by which things are found again) are never cut.
fn shrink(rows: &[Vec<String>], longest: &[usize], room: usize) -> Option<Vec<usize>> {
    let total = |lengths: &[usize]| -> usize {
        let (last, before) = lengths.split_last().map_or((0, &[][..]), |(last, before)| (*last, before));
        before.iter().map(|length| (length + PADDING).max(NARROWEST)).sum::<usize>() + last
    };
    if total(longest) <= room {
        return None;
    }
    let header = rows.first().cloned().unwrap_or_default();
    let least = |column: usize| match (column, longest.get(column)) {
        (0, Some(length)) => *length,
        (_, Some(length)) => header.get(column).map_or(0, |title| title.chars().count()).max(SHORTEST).min(*length),
        (_, None) => 0,
    };
    let mut limits = longest.to_vec();
    let mut over = total(&limits).saturating_sub(room);
    while over > 0 {
        // The longest gives first, until it is as long as the next; so short cells stay whole.
        let (column, length) = limits
            .iter()
            .enumerate()
            .filter(|(column, length)| **length > least(*column))
            .map(|(column, length)| (column, *length))
            .max_by_key(|(_, length)| *length)?;
        if let Some(limit) = limits.get_mut(column) {
            *limit = length - 1;
        }
        over = total(&limits).saturating_sub(room);
    }
    Some(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn columns_are_wide_enough() {
        let text = layout(&[row(&["CONTAINER ID", "IMAGE", "NAMES"]), row(&["0123", "é\n", "web"])]);
        assert_eq!(text, "CONTAINER ID   IMAGE     NAMES\n0123           é\\n       web\n");
        assert_eq!(layout(&[]), "");
    }

    #[test]
    fn long_cells_shrink_to_the_room_there_is() {
        let rows = [row(&["ID", "COMMAND", "NAMES"]), row(&["0123456789ab", &"c".repeat(60), &"n".repeat(30)])];
        assert_eq!(layout_for(&rows, Some(200)), layout(&rows));
        for room in [45, 60, 90, 107] {
            let text = layout_for(&rows, Some(room));
            assert!(text.lines().all(|line| line.chars().count() <= room), "{room}: {text}");
            assert!(text.contains("0123456789ab   c") && text.contains('…') && text.contains("NAMES"), "{text}");
        }
        // Too narrow for anything readable: whole rows, which the terminal wraps.
        assert_eq!(layout_for(&rows, Some(20)), layout(&rows));
    }
}
