//! Sequences of equal sums of squared lengths: what attention costs, where every document attends to itself.
//!
//! Best fit puts the longest documents together. Here, over as many sequences as best fit needs, long documents
//! go first, longest first, each to the open sequence with the least sum of squares that has room (longest
//! processing time first, Graham 1969); short ones, which hardly count, then even out the room that is left
//! (worst fit), or fill it (best fit) if that does not hold all. Several boundaries between long and short are
//! tried, from few short documents to many; what is not more even than best fit is not taken, so this
//! never costs a sequence.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::fit::{Fit, Open, Run, number_by_first_use};

/// Shares of the mean sum of squares that the short documents of a full sequence may come to.
const SHARES: [f64; 3] = [0.01, 0.05, 0.25];

/// A largest sum of this many means is even enough to stop.
const EVEN: f64 = 1.01;

/// As even a packing as is found in as many sequences as `best`, that of `fit` for the same arguments.
pub fn balanced(runs: &[Run], capacity: usize, max_documents: u32, best: Fit) -> Fit {
    let before = Sums::new(runs, &best);
    if before.largest <= EVEN * before.mean {
        return best;
    }
    for share in SHARES {
        let long = long_runs(runs, capacity, best.sequences, share);
        for worst in [true, false] {
            let tried = spread(runs, long, worst, capacity, max_documents, best.sequences);
            // The fewer documents are short, the more even; the first packing that holds all is the one.
            if let Some(fit) = tried {
                let even = Sums::new(runs, &fit).squared < before.squared;
                return if even { fit } else { best };
            }
        }
    }
    best
}

/// Sums of squared lengths by sequence. Packings are compared by the squares of the sums, not the largest: one
/// document that nothing can balance must not hide how even the other sequences are.
struct Sums {
    largest: f64,
    mean: f64,
    squared: f64,
}

impl Sums {
    fn new(runs: &[Run], fit: &Fit) -> Self {
        let mut sums = vec![0u64; fit.sequences];
        let mut at = 0;
        for run in runs {
            let square = (run.length * run.length) as u64;
            for &sequence in &fit.sequence[at..at + run.count] {
                sums[sequence as usize] += square;
            }
            at += run.count;
        }
        let sums = || sums.iter().map(|&sum| sum as f64);
        Self {
            largest: sums().fold(0.0, f64::max),
            mean: sums().sum::<f64>() / fit.sequences.max(1) as f64,
            squared: sums().map(|sum| sum * sum).sum(),
        }
    }
}

/// How many of the runs are long: a sequence's share of all the others, times the longest of them, is at most
/// `share` of the mean sum of squares.
fn long_runs(runs: &[Run], capacity: usize, sequences: usize, share: f64) -> usize {
    let tokens = |run: &Run| run.length as f64 * run.count as f64;
    let squares: f64 = runs.iter().map(|run| tokens(run) * run.length as f64).sum();
    let bound = share * squares / sequences.max(1) as f64;
    let total: f64 = runs.iter().map(tokens).sum();
    let mut rest = total;
    for (number, run) in runs.iter().enumerate() {
        if run.length as f64 * rest / total * capacity as f64 <= bound {
            return number;
        }
        rest -= tokens(run);
    }
    runs.len()
}

/// `long` runs by least sum of squares, the rest by room; None if `sequences` do not hold all.
fn spread(
    runs: &[Run],
    long: usize,
    worst: bool,
    capacity: usize,
    max_documents: u32,
    sequences: usize,
) -> Option<Fit> {
    let mut open = Open::new(capacity, max_documents, runs.last()?.length);
    let mut load = vec![(0u64, capacity); sequences]; // sum of squares and room
    // Sequences with room for the run at hand; the others hang on their room in `open` until a run fits.
    let mut heap: BinaryHeap<Reverse<(u64, u32)>> = BinaryHeap::with_capacity(sequences);
    for _ in 0..sequences {
        heap.push(Reverse((0, open.open())));
    }
    let mut sequence = Vec::with_capacity(runs.iter().map(|run| run.count).sum());
    for run in &runs[..long] {
        while let Some((number, _)) = open.take(run.length) {
            heap.push(Reverse((load[number as usize].0, number)));
        }
        for _ in 0..run.count {
            let Reverse((_, number)) = heap.pop()?;
            sequence.push(number);
            let (squares, room) = &mut load[number as usize];
            *squares += (run.length * run.length) as u64;
            *room -= run.length;
            if !open.count(number, 1) {
                continue;
            }
            if *room >= run.length {
                heap.push(Reverse((*squares, number)));
            } else {
                open.push(number, *room);
            }
        }
    }
    for Reverse((_, number)) in heap.into_sorted_vec() {
        open.push(number, load[number as usize].1);
    }
    for &run in &runs[long..] {
        if worst {
            open.worst_fit(run, &mut sequence);
        } else {
            open.best_fit(run, &mut sequence);
        }
        if open.sequences() > sequences {
            return None;
        }
    }
    Some(number_by_first_use(sequence, sequences))
}
