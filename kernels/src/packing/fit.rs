//! Which sequence each item goes to: best-fit decreasing, and worst-fit decreasing under a cap.
//!
//! Items come as runs of one length, longest first; what comes out is one sequence number per item, in that
//! order, so every store is sequential. Best fit (Ding et al. 2024, arXiv:2404.10830) puts an item into
//! the fullest open sequence that has room. If room r is the smallest that takes length n, the same
//! sequence stays the best for the next item of length n while it has room: one lookup places r / n items.
//!
//! A cap on documents per sequence spoils plain best fit where sequences are long: the last sequences hold
//! only short documents and are closed by the cap while nearly empty. When that happens a second packing is
//! made, worst-fit decreasing over the fewest sequences that could do, which spreads long and short
//! documents evenly, and the one with fewer sequences is kept.

use super::bit_tree::BitTree;

pub const NONE: u32 = u32::MAX;

/// Percents of the items, the shortest, that fill up what worst fit left.
const FILLING: [usize; 3] = [25, 5, 0];

/// `count` items of one `length`.
#[derive(Clone, Copy)]
pub struct Run {
    pub length: usize,
    pub count: usize,
}

/// The runs of a table of counts by length, longest first.
pub fn runs(counts: &[u32]) -> Vec<Run> {
    let filled = counts
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, count)| **count > 0);
    filled
        .map(|(length, &count)| Run {
            length,
            count: count as usize,
        })
        .collect()
}

/// The sequence of every item, longest first, numbered by first use.
#[derive(Default)]
pub struct Fit {
    pub sequence: Vec<u32>,
    pub sequences: usize,
}

/// Sequences that still take documents, by remaining room; the one opened to a room last comes first.
pub struct Open {
    rooms: BitTree,
    first: Vec<u32>,       // by room: the sequence to use next
    next: Vec<(u32, u32)>, // by sequence: the one after it in its room, and its documents
    capacity: usize,
    max_documents: u32,
    shortest: usize,        // less room than this is never asked for
    closed_with_room: bool, // the cap, not the capacity, closed a sequence
}

impl Open {
    pub fn new(capacity: usize, max_documents: u32, shortest: usize) -> Self {
        Self {
            rooms: BitTree::new(capacity + 1),
            first: vec![NONE; capacity + 1],
            next: Vec::new(),
            capacity,
            max_documents,
            shortest,
            closed_with_room: false,
        }
    }

    pub fn sequences(&self) -> usize {
        self.next.len()
    }

    /// An empty sequence's number, not yet hung on its room; callers keep items, and so sequences, below
    /// `NONE`.
    pub fn open(&mut self) -> u32 {
        self.next.push((NONE, 0));
        (self.next.len() - 1) as u32
    }

    /// Hang a sequence on its room.
    #[inline]
    pub fn push(&mut self, sequence: u32, room: usize) {
        let first = &mut self.first[room];
        if *first == NONE {
            self.rooms.insert(room);
        }
        self.next[sequence as usize].0 = *first;
        *first = sequence;
    }

    #[inline]
    fn pop(&mut self, room: usize) -> u32 {
        let sequence = self.first[room];
        let after = self.next[sequence as usize].0;
        self.first[room] = after;
        if after == NONE {
            self.rooms.remove(room);
        }
        sequence
    }

    /// Take down the fullest sequence that has room for `length`, with its room.
    #[inline]
    pub fn take(&mut self, length: usize) -> Option<(u32, usize)> {
        let room = self.rooms.successor(length)?;
        Some((self.pop(room), room))
    }

    /// Count documents into a sequence: whether the cap lets it take more.
    #[inline]
    pub fn count(&mut self, sequence: u32, items: usize) -> bool {
        let documents = &mut self.next[sequence as usize].1;
        *documents += items as u32;
        *documents < self.max_documents
    }

    /// Put `items` documents of `length` into a sequence with `room`, and hang it up again if it takes more.
    #[inline]
    fn fill(&mut self, sequence: u32, room: usize, length: usize, items: usize) {
        let left = room - length * items;
        let more = self.count(sequence, items);
        if left >= self.shortest {
            if more {
                self.push(sequence, left);
            } else {
                self.closed_with_room = true;
            }
        }
    }

    /// Put a run's items into the fullest sequences with room, opening new ones where none has.
    pub fn best_fit(&mut self, run: Run, sequence: &mut Vec<u32>) {
        let mut left = run.count;
        while left > 0 {
            let (number, room) = match self.take(run.length) {
                Some(found) => found,
                None => (self.open(), self.capacity),
            };
            let free = (self.max_documents - self.next[number as usize].1) as usize;
            // Rooms are often used up by one item: no division then.
            let fits = if room < 2 * run.length {
                1
            } else {
                room / run.length
            };
            let items = fits.min(free).min(left);
            sequence.extend(std::iter::repeat_n(number, items));
            self.fill(number, room, run.length, items);
            left -= items;
        }
    }

    /// Put a run's items into the emptiest sequences; a new one where none has room.
    pub fn worst_fit(&mut self, run: Run, sequence: &mut Vec<u32>) {
        for _ in 0..run.count {
            let (number, room) = match self.rooms.maximum().filter(|&room| room >= run.length) {
                Some(room) => (self.pop(room), room),
                None => (self.open(), self.capacity),
            };
            sequence.push(number);
            self.fill(number, room, run.length, 1);
        }
    }
}

/// Best-fit decreasing; worst-fit decreasing instead where the cap makes that need fewer sequences.
///
/// Lengths are in `1..=capacity`, the items number fewer than `NONE`, `max_documents` is positive.
pub fn fit(runs: &[Run], capacity: usize, max_documents: u32) -> Fit {
    let Some(shortest) = runs.last().map(|run| run.length) else {
        return Fit::default();
    };
    let items: usize = runs.iter().map(|run| run.count).sum();
    let mut open = Open::new(capacity, max_documents, shortest);
    let mut sequence = Vec::with_capacity(items);
    for &run in runs {
        open.best_fit(run, &mut sequence);
    }
    let best = Fit {
        sequence,
        sequences: open.next.len(),
    };
    let fewest = fewest(runs, items, capacity, max_documents);
    if !open.closed_with_room || best.sequences <= fewest {
        return best;
    }
    let mut best = best;
    for filling in FILLING {
        let mut open = Open::new(capacity, max_documents, shortest);
        for _ in 0..fewest {
            let number = open.open();
            open.push(number, capacity);
        }
        let mut sequence = Vec::with_capacity(items);
        for &run in runs {
            if items - sequence.len() > items * filling / 100 {
                open.worst_fit(run, &mut sequence);
            } else {
                open.best_fit(run, &mut sequence);
            }
            if open.sequences() >= best.sequences {
                break;
            }
        }
        if sequence.len() == items && open.sequences() < best.sequences {
            best = number_by_first_use(sequence, open.sequences());
        }
        if best.sequences <= fewest {
            break;
        }
    }
    best
}

/// No packing needs fewer sequences than this.
fn fewest(runs: &[Run], items: usize, capacity: usize, max_documents: u32) -> usize {
    let tokens: usize = runs.iter().map(|run| run.length * run.count).sum();
    tokens
        .div_ceil(capacity)
        .max(items.div_ceil(max_documents as usize))
}

/// Renumber sequences by the first item that uses them; unused numbers vanish.
pub fn number_by_first_use(mut sequence: Vec<u32>, sequences: usize) -> Fit {
    let mut number = vec![NONE; sequences];
    let mut used = 0;
    for place in &mut sequence {
        let new = &mut number[*place as usize];
        if *new == NONE {
            *new = used;
            used += 1;
        }
        *place = *new;
    }
    Fit {
        sequence,
        sequences: used as usize,
    }
}
