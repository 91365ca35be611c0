//! The table of pieces: from the lengths and keys of documents to what lies where, in one call.
//!
//! 1. A document of n tokens is n / L whole sequences and one tail; a tail takes a slot, its length rounded up
//!    to the padding multiple. Everything after works in units of that multiple.
//! 2. Tails are scattered by falling slot (counting sort) as 16-byte entries (key, document, length), and
//!    those of one slot sorted by key: from here on the order of the input is forgotten.
//! 3. `fit` or `balance` gives the sequence of every tail.
//! 4. Tails are scattered by sequence (counting sort again), each sequence sorted by key, columns written.
//!
//! Both sorts by key are local, so they stay in cache. 16 bytes of input, 52 of working memory and 28 of result
//! per piece at the peak.

use std::sync::Arc;

use arrow_array::types::{Float64Type, Int64Type, UInt64Type};
use arrow_array::{Array, ArrayRef, Float64Array, Int32Array, Int64Array, UInt64Array};
use pyo3::exceptions::{PyMemoryError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use super::fit::{self, Fit, NONE};
use super::{balance, limits, slots, too_many};
use crate::arrow::{numbers, to_python};

/// A tail: key, document and length in one number, which sorts by key and then document.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Tail(u128);

/// Set in a tail's length when whole sequences of its document come before it.
const CONTINUES: u32 = 1 << 31;

impl Tail {
    fn new(key: u64, document: usize, length: u32, continues: bool) -> Self {
        let length = length | if continues { CONTINUES } else { 0 };
        Self(u128::from(key) << 64 | (document as u128) << 32 | u128::from(length))
    }

    fn document(self) -> usize {
        (self.0 >> 32) as u32 as usize
    }

    fn length(self) -> u32 {
        self.0 as u32 & !CONTINUES
    }

    fn continues(self) -> bool {
        self.0 as u32 & CONTINUES != 0
    }
}

/// What to pack; every length is at least 0 and documents number fewer than `NONE`.
struct Documents<'a> {
    lengths: &'a [i64],
    keys: Vec<u64>,
}

struct Options {
    capacity: usize,
    cap: u32,
    multiple: usize,
    balanced: bool,
}

impl Options {
    /// Whole sequences and tail of a document; most documents are shorter than the sequence.
    #[inline]
    fn cut(&self, length: i64) -> (u64, u32) {
        let (length, capacity) = (length as u64, self.capacity as u64);
        if length < capacity {
            (0, length as u32)
        } else {
            (length / capacity, (length % capacity) as u32)
        }
    }

    /// Units of the padding multiple that a tail takes.
    #[inline]
    fn units(&self, tail: u32) -> usize {
        if self.multiple == 1 {
            tail as usize
        } else {
            (tail as usize).div_ceil(self.multiple)
        }
    }
}

/// The columns of the result, by (sequence, start).
#[derive(Default)]
struct Pieces {
    document: Vec<i64>,
    offset: Vec<i64>,
    length: Vec<i32>,
    sequence: Vec<i32>,
    start: Vec<i32>,
}

impl Pieces {
    fn reserve(pieces: usize) -> Result<Self, std::collections::TryReserveError> {
        let mut columns = Self::default();
        columns.document.try_reserve_exact(pieces)?;
        columns.offset.try_reserve_exact(pieces)?;
        columns.length.try_reserve_exact(pieces)?;
        columns.sequence.try_reserve_exact(pieces)?;
        columns.start.try_reserve_exact(pieces)?;
        Ok(columns)
    }

    #[inline]
    fn push(&mut self, document: usize, offset: i64, length: u32, sequence: usize, start: usize) {
        self.document.push(document as i64);
        self.offset.push(offset);
        self.length.push(length as i32);
        self.sequence.push(sequence as i32);
        self.start.push(start as i32);
    }
}

/// What goes in and has to come out.
#[derive(Default, PartialEq, Debug)]
struct Totals {
    pieces: u64,
    tokens: u128,
    documents: u128, // sum of document numbers over pieces: a piece lost and another doubled changes it
}

/// Tails by falling slot and key, counts of tails by slot, documents with whole sequences by key.
struct Cut {
    tails: Vec<Tail>,
    counts: Vec<u32>,
    long: Vec<(u64, u32)>,
    totals: Totals,
}

fn cut(documents: &Documents<'_>, options: &Options) -> Cut {
    let mut counts = vec![0u32; options.capacity / options.multiple + 1];
    let mut totals = Totals::default();
    let mut long = Vec::new();
    for (document, &length) in documents.lengths.iter().enumerate() {
        let (whole, tail) = options.cut(length);
        counts[options.units(tail)] += 1;
        if whole > 0 {
            long.push((documents.keys[document], document as u32));
        }
        let pieces = whole + u64::from(tail > 0);
        totals.pieces = totals.pieces.saturating_add(pieces);
        totals.tokens += length as u128;
        totals.documents += u128::from(pieces) * document as u128;
    }
    counts[0] = 0; // documents that end with a whole sequence, or have no tokens
    long.sort_unstable();
    let mut slots = slots(&counts);
    let tails = counts.iter().map(|&count| count as usize).sum();
    let mut tails = vec![Tail(0); tails];
    for (document, &length) in documents.lengths.iter().enumerate() {
        let (whole, tail) = options.cut(length);
        if tail > 0 {
            let slot = &mut slots[options.units(tail)];
            tails[*slot as usize] = Tail::new(documents.keys[document], document, tail, whole > 0);
            *slot += 1;
        }
    }
    let mut rest = tails.as_mut_slice();
    for &count in counts.iter().rev().filter(|count| **count > 0) {
        let (run, after) = rest.split_at_mut(count as usize);
        run.sort_unstable();
        rest = after;
    }
    Cut {
        tails,
        counts,
        long,
        totals,
    }
}

/// Tails by sequence, and by key inside each; first tail of each sequence, and of the one after the last.
fn by_sequence(tails: &[Tail], fit: &Fit) -> (Vec<Tail>, Vec<u32>) {
    let mut bounds = vec![0u32; fit.sequences + 2];
    for &sequence in &fit.sequence {
        bounds[sequence as usize + 2] += 1;
    }
    for at in 2..bounds.len() {
        bounds[at] += bounds[at - 1];
    }
    let mut ordered = vec![Tail(0); tails.len()];
    for (&tail, &sequence) in tails.iter().zip(&fit.sequence) {
        let slot = &mut bounds[sequence as usize + 1];
        ordered[*slot as usize] = tail;
        *slot += 1;
    }
    bounds.pop();
    for pair in bounds.windows(2) {
        ordered[pair[0] as usize..pair[1] as usize].sort_unstable();
    }
    (ordered, bounds)
}

/// Whole sequences first, then the packed tails.
fn write(
    documents: &Documents<'_>,
    options: &Options,
    long: &[(u64, u32)],
    (tails, bounds): (&[Tail], &[u32]),
    mut pieces: Pieces,
) -> Result<Pieces, String> {
    let mut sequence = 0;
    for &(_, document) in long {
        let document = document as usize;
        let (whole, _) = options.cut(documents.lengths[document]);
        for piece in 0..whole as i64 {
            let offset = piece * options.capacity as i64;
            pieces.push(document, offset, options.capacity as u32, sequence, 0);
            sequence += 1;
        }
    }
    for pair in bounds.windows(2) {
        let row = &tails[pair[0] as usize..pair[1] as usize];
        let mut start = 0;
        for &tail in row {
            let (document, length) = (tail.document(), tail.length());
            let offset = if tail.continues() {
                documents.lengths[document] - i64::from(length)
            } else {
                0
            };
            pieces.push(document, offset, length, sequence, start);
            start += options.units(length) * options.multiple;
        }
        if start > options.capacity || row.len() > options.cap as usize {
            return Err(format!(
                "sequence {sequence} was packed with {} documents in {start} tokens; \
                 it takes {} in {}",
                row.len(),
                options.cap,
                options.capacity
            ));
        }
        sequence += 1;
    }
    Ok(pieces)
}

fn checked(pieces: &Pieces, totals: &Totals) -> Result<(), String> {
    let out = Totals {
        pieces: pieces.length.len() as u64,
        tokens: pieces.length.iter().map(|&length| length as u128).sum(),
        documents: pieces.document.iter().map(|&number| number as u128).sum(),
    };
    if out == *totals {
        Ok(())
    } else {
        Err(format!(
            "tokens lost while packing: {totals:?} in, {out:?} out"
        ))
    }
}

fn packed(documents: &Documents<'_>, options: &Options) -> PyResult<Pieces> {
    let Cut {
        tails,
        counts,
        long,
        totals,
    } = cut(documents, options);
    if totals.pieces > i32::MAX as u64 {
        return Err(PyValueError::new_err(format!(
            "{} pieces of {} tokens are too many for one call: pack them in groups",
            totals.pieces, options.capacity
        )));
    }
    let runs = fit::runs(&counts);
    let units = options.capacity / options.multiple;
    let mut fit = fit::fit(&runs, units, options.cap);
    if options.balanced {
        fit = balance::balanced(&runs, units, options.cap, fit);
    }
    let (ordered, bounds) = by_sequence(&tails, &fit);
    drop((tails, fit));
    let columns = Pieces::reserve(totals.pieces as usize).map_err(|_| {
        PyMemoryError::new_err(format!("{} pieces do not fit in memory", totals.pieces))
    })?;
    let pieces = write(documents, options, &long, (&ordered, &bounds), columns)
        .map_err(PyRuntimeError::new_err)?;
    checked(&pieces, &totals).map_err(PyRuntimeError::new_err)?;
    Ok(pieces)
}

/// Numbers that sort as the floats do (IEEE 754 total order without NaN; -0.0 equals 0.0).
fn ordered_bits(key: f64) -> u64 {
    let bits = (key + 0.0).to_bits();
    bits ^ ((bits as i64 >> 63) as u64 | 1 << 63)
}

/// The column of keys as it came.
enum Keys {
    Whole(UInt64Array),
    Floats(Float64Array),
}

impl Keys {
    fn new(column: &Bound<'_, PyAny>) -> PyResult<Self> {
        let keys = match numbers::<UInt64Type>(column) {
            Ok(whole) => Self::Whole(whole),
            Err(_) => Self::Floats(numbers::<Float64Type>(column)?),
        };
        if keys.column().null_count() > 0 {
            return Err(PyValueError::new_err("order_key holds nulls"));
        }
        Ok(keys)
    }

    fn column(&self) -> &dyn Array {
        match self {
            Self::Whole(keys) => keys,
            Self::Floats(keys) => keys,
        }
    }

    /// Numbers in the order of the keys.
    fn ordered(&self) -> PyResult<Vec<u64>> {
        match self {
            Self::Whole(keys) => Ok(keys.values().to_vec()),
            Self::Floats(keys) => match keys.values().iter().position(|key| key.is_nan()) {
                Some(document) => Err(PyValueError::new_err(format!(
                    "order_key of document {document} is NaN"
                ))),
                None => Ok(keys.values().iter().map(|&key| ordered_bits(key)).collect()),
            },
        }
    }
}

/// document, document_offset, length, sequence, start.
type Columns<'py> = (
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
);

#[pyfunction]
#[pyo3(signature = (
    lengths, order_key, sequence_length, *, max_documents = 1024, pad_documents_to = 1, balanced = false
))]
pub fn pack<'py>(
    py: Python<'py>,
    lengths: &Bound<'py, PyAny>,
    order_key: &Bound<'py, PyAny>,
    sequence_length: i64,
    max_documents: i64,
    pad_documents_to: i64,
    balanced: bool,
) -> PyResult<Columns<'py>> {
    let lengths = numbers::<Int64Type>(lengths)?;
    let (capacity, cap) = limits(sequence_length, max_documents)?;
    if pad_documents_to < 1 || sequence_length % pad_documents_to != 0 {
        return Err(PyValueError::new_err(format!(
            "pad_documents_to {pad_documents_to} does not divide {sequence_length}"
        )));
    }
    if lengths.null_count() > 0 {
        return Err(PyValueError::new_err("lengths holds nulls"));
    }
    if lengths.len() >= NONE as usize {
        return Err(too_many(lengths.len()));
    }
    let keys = Keys::new(order_key)?;
    if keys.column().len() != lengths.len() {
        return Err(PyValueError::new_err(format!(
            "{} lengths but {} order keys",
            lengths.len(),
            keys.column().len()
        )));
    }
    let pieces = py.detach(|| {
        let values = lengths.values();
        if let Some(document) = values.iter().position(|&length| length < 0) {
            return Err(PyValueError::new_err(format!(
                "document {document} has a negative length: {}",
                values[document]
            )));
        }
        let documents = Documents {
            lengths: values,
            keys: keys.ordered()?,
        };
        let options = Options {
            capacity,
            cap,
            multiple: pad_documents_to as usize,
            balanced,
        };
        packed(&documents, &options)
    })?;
    let long = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
    let short = |values: Vec<i32>| Arc::new(Int32Array::from(values)) as ArrayRef;
    Ok((
        to_python(py, &long(pieces.document))?,
        to_python(py, &long(pieces.offset))?,
        to_python(py, &short(pieces.length))?,
        to_python(py, &short(pieces.sequence))?,
        to_python(py, &short(pieces.start))?,
    ))
}

#[cfg(test)]
mod tests {
    use super::ordered_bits;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ordered_bits_sort_as_the_floats_do(a in any::<f64>(), b in any::<f64>()) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            prop_assert_eq!(a.partial_cmp(&b), Some(ordered_bits(a).cmp(&ordered_bits(b))));
        }
    }

    #[test]
    fn zeros_are_equal() {
        assert_eq!(ordered_bits(-0.0), ordered_bits(0.0));
    }
}
