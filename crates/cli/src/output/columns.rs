//! Plain columns, laid out as Docker does: three spaces between, ten characters at least.

use super::escape;

const PADDING: usize = 3;
const NARROWEST: usize = 10;

/// Lays `rows` out (the first may be the header); the last column is not padded. Control characters are made visible
/// always: a line end in a cell would make two rows of one.
pub fn layout(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<_>> = rows.iter().map(|row| row.iter().map(|cell| escape::cell(cell)).collect()).collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let width = (cell.chars().count() + PADDING).max(NARROWEST);
            match widths.get_mut(column) {
                Some(known) => *known = (*known).max(width),
                None => widths.push(width),
            }
        }
    }
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

    #[test]
    fn columns_are_wide_enough() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let text = layout(&[row(&["CONTAINER ID", "IMAGE", "NAMES"]), row(&["0123", "é\n", "web"])]);
        assert_eq!(text, "CONTAINER ID   IMAGE     NAMES\n0123           é\\n       web\n");
        assert_eq!(layout(&[]), "");
    }
}
