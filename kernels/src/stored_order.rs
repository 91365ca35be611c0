//! The order in which a sequence's tokens are stored: one contiguous part for each context-parallel rank.
//!
//! `contiguous` is reading order and serves any number of ranks. `zigzag` cuts the sequence into 2C chunks and
//! gives rank r the chunks r and 2C-1-r, which evens out causal attention; `zigzag_documents` does so with
//! each document's segment. Both are stored rank by rank.

use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredOrder {
    Contiguous,
    Zigzag(usize),
    ZigzagDocuments(usize),
}

/// A rank's part of a plane begins at a multiple of this many tokens (512 bytes).
const SLICE_TOKENS: usize = 128;

impl StoredOrder {
    /// The order named `layout` for `degree` ranks and sequences of `width` tokens.
    pub fn new(layout: &str, degree: i64, width: usize) -> Result<Self, String> {
        let degree = usize::try_from(degree)
            .ok()
            .filter(|&degree| degree > 0)
            .ok_or_else(|| format!("context_parallel {degree} is below 1"))?;
        let order = match layout {
            "contiguous" => return Ok(Self::Contiguous),
            "zigzag" => Self::Zigzag(degree),
            "zigzag_documents" => Self::ZigzagDocuments(degree),
            _ => {
                return Err(format!(
                    "layout {layout:?} is not one of contiguous, zigzag, zigzag_documents"
                ));
            }
        };
        if !width.is_multiple_of(2 * degree) {
            return Err(format!(
                "{width} tokens do not divide into the {} chunks of {layout} over {degree} ranks",
                2 * degree
            ));
        }
        if degree > 1 && !(width / degree).is_multiple_of(SLICE_TOKENS) {
            return Err(format!(
                "the part of each of {degree} ranks is {} tokens of {width}: not a multiple of {SLICE_TOKENS}, \
                 so that parts would not begin at multiples of 512 bytes",
                width / degree
            ));
        }
        Ok(order)
    }

    /// The ranges of reading order that rank `rank` of a zig-zag order holds, as they are stored.
    ///
    /// `segments` are (start, end) of the row's segments in reading order.
    pub fn chunks(
        degree: usize,
        rank: usize,
        segments: impl Iterator<Item = Range<usize>>,
    ) -> impl Iterator<Item = (Range<usize>, usize)> {
        segments.flat_map(move |segment| {
            let chunk = segment.len() / (2 * degree);
            [rank, 2 * degree - 1 - rank].map(move |number| {
                let start = segment.start + number * chunk;
                (start..start + chunk, segment.end)
            })
        })
    }

    /// Store a row given in reading order; `starts` are where its documents begin.
    ///
    /// `next_tokens` gains, for each chunk in stored order, the token that follows it in its segment, or `pad`.
    pub fn store(
        self,
        row: &[i32],
        starts: &[usize],
        pad: i32,
        out: &mut [i32],
        next_tokens: &mut Vec<i32>,
    ) -> Result<(), String> {
        let (degree, starts) = match self {
            Self::Contiguous => {
                out.copy_from_slice(row);
                return Ok(());
            }
            Self::Zigzag(degree) => (degree, &[0][..]),
            Self::ZigzagDocuments(degree) => (degree, starts),
        };
        if let Some(odd) = starts
            .iter()
            .find(|&start| !start.is_multiple_of(2 * degree))
        {
            return Err(format!(
                "a document begins at {odd}, not at a multiple of the {} chunks: pad documents to a multiple of that",
                2 * degree
            ));
        }
        let starts = if starts.is_empty() { &[0][..] } else { starts };
        let mut at = 0;
        for rank in 0..degree {
            for (chunk, end) in Self::chunks(degree, rank, segments(starts, row.len())) {
                next_tokens.push(if chunk.end < end { row[chunk.end] } else { pad });
                out[at..at + chunk.len()].copy_from_slice(&row[chunk.clone()]);
                at += chunk.len();
            }
        }
        Ok(())
    }
}

/// Segments from their starts: each to the next one's start, the last to the end of the row.
fn segments(starts: &[usize], width: usize) -> impl Iterator<Item = Range<usize>> {
    let ends = starts.iter().skip(1).copied().chain([width]);
    starts
        .iter()
        .copied()
        .zip(ends)
        .map(|(start, end)| start..end)
}

#[cfg(test)]
mod tests {
    use super::StoredOrder;
    use proptest::prelude::*;

    fn stored(order: StoredOrder, width: usize, starts: &[usize]) -> (Vec<i32>, Vec<i32>) {
        let row: Vec<i32> = (0..width as i32).collect();
        let (mut out, mut next) = (vec![-9; width], Vec::new());
        let result = order.store(&row, starts, -1, &mut out, &mut next);
        assert_eq!(result, Ok(()));
        (out, next)
    }

    #[test]
    fn zigzag_is_rank_major() {
        let (out, next) = stored(StoredOrder::Zigzag(2), 8, &[0, 3]);
        assert_eq!(out, [0, 1, 6, 7, 2, 3, 4, 5]);
        assert_eq!(next, [2, -1, 4, 6]);
    }

    #[test]
    fn zigzag_by_document_cuts_each_of_them() {
        let (out, next) = stored(StoredOrder::ZigzagDocuments(2), 12, &[0, 4]);
        assert_eq!(out, [0, 3, 4, 5, 10, 11, 1, 2, 6, 7, 8, 9]);
        assert_eq!(next, [1, -1, 6, -1, 2, 3, 8, 10]);
    }

    proptest! {
        #[test]
        fn every_order_is_a_permutation(
            degree in 1usize..6,
            slots in prop::collection::vec(1usize..9, 1..20),
        ) {
            let starts: Vec<usize> = slots.iter().scan(0, |at, &slot| {
                let start = *at;
                *at += slot * 2 * degree;
                Some(start)
            }).collect();
            let width = slots.iter().sum::<usize>() * 2 * degree;
            for order in [StoredOrder::Zigzag(degree), StoredOrder::ZigzagDocuments(degree)] {
                let (mut out, next) = stored(order, width, &starts);
                let ranks = match order { StoredOrder::Zigzag(_) => 1, _ => starts.len() };
                prop_assert_eq!(next.len(), 2 * degree * ranks);
                out.sort_unstable();
                prop_assert_eq!(out, (0..width as i32).collect::<Vec<_>>());
            }
        }
    }
}
