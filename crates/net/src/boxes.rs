//! Ranges in several fields at once, so that no two have a point in common: the kernel takes no others into one set.

/// From the first to the last, both included.
pub(crate) type Span = (u128, u128);

/// The same points by boxes that do not meet, in an order that depends on nothing else.
pub(crate) fn disjoint<const N: usize>(all: impl IntoIterator<Item = [Span; N]>) -> Vec<[Span; N]> {
    let mut given: Vec<[Span; N]> = all.into_iter().filter(|one| one.iter().all(|(low, high)| low <= high)).collect();
    // The widest first: what lies in one that is there already leaves nothing.
    let width = |one: &[Span; N]| one.map(|(low, high)| u128::MAX - (high - low));
    given.sort_by_key(|one| (width(one), *one));
    let mut done: Vec<[Span; N]> = Vec::new();
    for one in given {
        let mut pieces = vec![one];
        for other in &done {
            pieces = pieces.iter().flat_map(|piece| without(piece, other)).collect();
        }
        done.extend(pieces);
    }
    done.sort_unstable();
    done
}

/// What of a box is not in another.
fn without<const N: usize>(one: &[Span; N], other: &[Span; N]) -> Vec<[Span; N]> {
    let apart = one.iter().zip(other).any(|(a, b)| a.1 < b.0 || b.1 < a.0);
    if apart {
        return vec![*one];
    }
    let mut rest = *one;
    let mut pieces = Vec::new();
    for at in 0..N {
        let (Some((low, high)), Some((from, to))) = (one.get(at).copied(), other.get(at).copied()) else { continue };
        let mut cut = |span: Span| {
            let mut piece = rest;
            if let Some(place) = piece.get_mut(at) {
                *place = span;
            }
            pieces.push(piece);
        };
        if low < from {
            cut((low, from - 1));
        }
        if to < high {
            cut((to + 1, high));
        }
        if let Some(place) = rest.get_mut(at) {
            *place = (low.max(from), high.min(to));
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(all: &[[Span; 2]]) -> Vec<(u128, u128)> {
        let inside =
            |a: u128, b: u128| all.iter().filter(|[x, y]| (x.0..=x.1).contains(&a) && (y.0..=y.1).contains(&b)).count();
        (0..12).flat_map(|a| (0..12).map(move |b| (a, b))).flat_map(|(a, b)| vec![(a, b); inside(a, b)]).collect()
    }

    #[test]
    fn every_point_is_there_once_and_no_other() {
        let cases: [&[[Span; 2]]; 5] = [
            &[[(0, 11), (0, 11)], [(3, 4), (5, 6)]],
            &[[(3, 4), (5, 6)], [(0, 11), (5, 5)], [(4, 9), (0, 11)]],
            &[[(1, 5), (1, 5)], [(3, 8), (3, 8)], [(5, 5), (0, 11)], [(1, 5), (1, 5)]],
            &[[(2, 2), (2, 2)], [(3, 3), (2, 2)]],
            &[[(5, 1), (0, 11)]],
        ];
        for given in cases {
            let mut expected = points(given);
            expected.dedup();
            assert_eq!(points(&disjoint(given.iter().copied())), expected, "{given:?}");
        }
        assert_eq!(disjoint([[(3, 4), (5, 6)], [(0, 11), (0, 11)]]), [[(0, 11), (0, 11)]]);
        let whole = [(0, u128::MAX), (7, 7)];
        assert_eq!(disjoint([whole, [(9, 9), (7, 7)]]), [whole]);
    }

    #[test]
    fn the_order_of_what_is_given_is_nothing() {
        let given = [[(0, 4), (0, 4)], [(2, 8), (2, 3)], [(3, 3), (0, 9)]];
        let mut turned = given;
        turned.reverse();
        assert_eq!(disjoint(given), disjoint(turned));
    }
}
