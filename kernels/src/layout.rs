//! From a packing plan to the sequences of a record batch: tokens in stored order, and their checksums.
//!
//! Planes are written front to back: pieces are put in output order and each is one bounds-checked copy out
//! of its pool, so a hostile plan is an error and never a stray read. A row is put into stored order and
//! hashed while it is in cache. Floor: one read and one write of the tokens; plus a sort of the pieces when
//! they do not come in output order, and one more copy of a row where the order is not contiguous.

use std::sync::Arc;

use arrow_array::types::{ArrowPrimitiveType, Int32Type, Int64Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, FixedSizeListArray, Int32Array, ListArray, PrimitiveArray, UInt64Array,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field};
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use crate::arrow::{numbers, to_python};
use crate::digest::{self, CHECKSUM_TOKENS, bytes_of, row_checksum};
use crate::stored_order::StoredOrder;

/// A column without nulls.
fn complete<T: ArrowPrimitiveType>(
    value: &Bound<'_, PyAny>,
    name: &str,
) -> PyResult<PrimitiveArray<T>> {
    let array = numbers::<T>(value)?;
    if array.null_count() > 0 {
        return Err(PyValueError::new_err(format!("{name} holds nulls")));
    }
    Ok(array)
}

/// Ask for huge pages under a fresh buffer: first touches of 4 KiB pages cost more than the copies.
#[cfg(target_os = "linux")]
fn want_huge_pages(buffer: &mut Vec<i32>) {
    const HUGE: usize = 2 << 20;
    const MADV_HUGEPAGE: i32 = 14;
    unsafe extern "C" {
        fn madvise(address: *mut std::ffi::c_void, length: usize, advice: i32) -> i32;
    }
    let bytes = buffer.capacity() * size_of::<i32>();
    let skip = buffer.as_ptr().addr().next_multiple_of(HUGE) - buffer.as_ptr().addr();
    if bytes >= skip + HUGE {
        let whole = (bytes - skip) / HUGE * HUGE;
        // SAFETY: [skip, skip + whole) lies inside the allocation that `buffer` owns and starts on a
        // page; the advice changes no content and no protection, and a refusal (ignored) changes nothing.
        unsafe {
            madvise(
                buffer.as_mut_ptr().byte_add(skip).cast(),
                whole,
                MADV_HUGEPAGE,
            );
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn want_huge_pages(_buffer: &mut Vec<i32>) {}

/// Room for `rows` planes of `width` tokens, and the exact number of tokens.
fn plane_buffer(rows: usize, width: usize) -> PyResult<(Vec<i32>, usize)> {
    let mut out: Vec<i32> = Vec::new();
    let tokens = rows.saturating_mul(width);
    out.try_reserve_exact(tokens).map_err(|_| {
        PyMemoryError::new_err(format!(
            "{rows} sequences of {width} tokens do not fit in memory: gather fewer at a time"
        ))
    })?;
    want_huge_pages(&mut out);
    Ok((out, tokens))
}

/// A sequence length that Arrow's lists can have.
pub fn width(sequence_length: i64) -> PyResult<i32> {
    match i32::try_from(sequence_length) {
        Ok(width) if width > 0 => Ok(width),
        _ => Err(PyValueError::new_err(format!(
            "sequence_length {sequence_length} is not in 1..={}",
            i32::MAX
        ))),
    }
}

/// The columns of a gather plan, all of one length.
struct Plan {
    pools: Vec<Int32Array>,
    pool: Int32Array,
    pool_start: PrimitiveArray<Int64Type>,
    length: Int32Array,
    sequence: Int32Array,
    start: Int32Array,
}

impl Plan {
    fn pieces(&self) -> usize {
        self.length.len()
    }

    /// Where piece `i` goes, as one number that sorts in output order.
    fn key(&self, piece: usize) -> u64 {
        let (sequence, start) = (self.sequence.values()[piece], self.start.values()[piece]);
        (u64::from(sequence as u32) << 32) | u64::from(start as u32)
    }

    /// Piece numbers in output order.
    fn order(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.pieces() as u32).collect();
        if !(1..self.pieces()).all(|i| self.key(i - 1) <= self.key(i)) {
            order.sort_by_key(|&piece| self.key(piece as usize));
        }
        order
    }

    /// The offset of piece `i` in the planes and its tokens.
    fn piece(&self, i: usize, rows: usize, width: usize) -> Result<(usize, &[i32]), String> {
        let (row, start) = (self.sequence.values()[i], self.start.values()[i]);
        let (length, pool) = (self.length.values()[i], self.pool.values()[i]);
        let from = self.pool_start.values()[i];
        let row = usize::try_from(row)
            .ok()
            .filter(|&row| row < rows)
            .ok_or_else(|| format!("piece {i}: sequence {row} is not in 0..{rows}"))?;
        let size = usize::try_from(length)
            .ok()
            .filter(|&size| size > 0)
            .ok_or_else(|| format!("piece {i}: length {length} is below 1"))?;
        let at = usize::try_from(start)
            .ok()
            .filter(|&at| size <= width && at <= width - size)
            .ok_or_else(|| {
                format!("piece {i}: {length} tokens at {start} do not fit in a sequence of {width}")
            })?;
        let source = usize::try_from(pool)
            .ok()
            .and_then(|pool| self.pools.get(pool))
            .ok_or_else(|| format!("piece {i}: pool {pool} is not in 0..{}", self.pools.len()))?
            .values();
        let tokens = usize::try_from(from)
            .ok()
            .and_then(|from| source.get(from..from.checked_add(size)?))
            .ok_or_else(|| {
                format!(
                    "piece {i}: {length} tokens at {from} reach beyond pool {pool} of {} tokens",
                    source.len()
                )
            })?;
        Ok((row * width + at, tokens))
    }

    /// Rows of `width` tokens in stored order, and what goes with them.
    fn gather(&self, rows: usize, width: usize, options: &Options) -> PyResult<Rows> {
        let (mut tokens, _) = plane_buffer(rows, width)?;
        let mut out = Rows {
            next_bounds: vec![0],
            ..Rows::default()
        };
        let order = self.order();
        let mut pieces = order.as_slice();
        let (mut starts, mut lengths, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..rows {
            let (begin, end) = (row * width, (row + 1) * width);
            starts.clear();
            lengths.clear();
            while let Some((&piece, rest)) = pieces.split_first() {
                let (at, text) = self
                    .piece(piece as usize, rows, width)
                    .map_err(PyValueError::new_err)?;
                if at >= end {
                    break;
                }
                if at < tokens.len() {
                    return Err(PyValueError::new_err(format!(
                        "piece {piece}: its place in sequence {} at {} is already taken",
                        at / width,
                        at % width
                    )));
                }
                starts.push(at - begin);
                lengths.push(text.len() as i32);
                tokens.resize(at, options.pad);
                tokens.extend_from_slice(text);
                pieces = rest;
            }
            tokens.resize(end, options.pad);
            out.finish_row(
                row,
                &mut tokens[begin..],
                &starts,
                &lengths,
                &mut scratch,
                options,
            )?;
        }
        out.tokens = tokens;
        Ok(out)
    }
}

/// How rows are stored.
struct Options {
    pad: i32,
    order: StoredOrder,
    first_row: u64, // number of the first row in its shard
}

#[derive(Default)]
struct Rows {
    tokens: Vec<i32>,
    next_tokens: Vec<i32>,
    next_bounds: Vec<i32>,
    token_checksums: Vec<u64>,
    checksums: Vec<u64>,
}

impl Rows {
    /// Put a gathered row into stored order and take its checksums, while it is in cache.
    fn finish_row(
        &mut self,
        row: usize,
        tokens: &mut [i32],
        starts: &[usize],
        lengths: &[i32],
        scratch: &mut Vec<i32>,
        options: &Options,
    ) -> PyResult<()> {
        let next_from = self.next_tokens.len();
        if options.order != StoredOrder::Contiguous {
            scratch.clear();
            scratch.extend_from_slice(tokens);
            options
                .order
                .store(scratch, starts, options.pad, tokens, &mut self.next_tokens)
                .map_err(|error| PyValueError::new_err(format!("sequence {row}: {error}")))?;
        }
        let bound = i32::try_from(self.next_tokens.len()).map_err(|_| {
            PyValueError::new_err("too many chunk boundaries for one batch: gather fewer sequences")
        })?;
        self.next_bounds.push(bound);
        let checksums_from = self.token_checksums.len();
        self.token_checksums.extend(
            tokens
                .chunks(CHECKSUM_TOKENS)
                .map(|run| digest::xxh3_64(bytes_of(run))),
        );
        self.checksums.push(row_checksum(
            options.first_row + row as u64,
            lengths,
            &self.next_tokens[next_from..],
            &self.token_checksums[checksums_from..],
        ));
        Ok(())
    }
}

fn fixed_lists<T: ArrowPrimitiveType>(values: Vec<T::Native>, width: usize) -> PyResult<ArrayRef> {
    let item = Arc::new(Field::new("item", T::DATA_TYPE, true));
    let values = Arc::new(PrimitiveArray::<T>::new(values.into(), None));
    let width = i32::try_from(width).map_err(|error| PyValueError::new_err(error.to_string()))?;
    FixedSizeListArray::try_new(item, width, values, None)
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

fn lists(bounds: Vec<i32>, values: Vec<i32>) -> PyResult<ArrayRef> {
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    let values = Arc::new(Int32Array::from(values));
    ListArray::try_new(item, OffsetBuffer::new(bounds.into()), values, None)
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

#[pyfunction]
#[pyo3(signature = (
    pools, pool, pool_start, length, sequence, start, *, sequences, sequence_length, pad,
    layout = "contiguous", context_parallel = 1, first_row = 0
))]
#[allow(clippy::too_many_arguments)] // the columns of one plan
fn gather_sequences<'py>(
    py: Python<'py>,
    pools: Vec<Bound<'py, PyAny>>,
    pool: &Bound<'py, PyAny>,
    pool_start: &Bound<'py, PyAny>,
    length: &Bound<'py, PyAny>,
    sequence: &Bound<'py, PyAny>,
    start: &Bound<'py, PyAny>,
    sequences: i64,
    sequence_length: i64,
    pad: i32,
    layout: &str,
    context_parallel: i64,
    first_row: u64,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let plan = Plan {
        pools: pools
            .iter()
            .enumerate()
            .map(|(i, pool)| complete::<Int32Type>(pool, &format!("pools[{i}]")))
            .collect::<PyResult<_>>()?,
        pool: complete::<Int32Type>(pool, "pool")?,
        pool_start: complete::<Int64Type>(pool_start, "pool_start")?,
        length: complete::<Int32Type>(length, "length")?,
        sequence: complete::<Int32Type>(sequence, "sequence")?,
        start: complete::<Int32Type>(start, "start")?,
    };
    let pieces = plan.pieces();
    let sizes = [
        plan.pool.len(),
        plan.pool_start.len(),
        plan.sequence.len(),
        plan.start.len(),
    ];
    if sizes.iter().any(|&size| size != pieces) || pieces > u32::MAX as usize {
        return Err(PyValueError::new_err(format!(
            "the columns of the plan differ in length: length {pieces}, pool, pool_start, sequence, start {sizes:?}"
        )));
    }
    let rows = usize::try_from(sequences)
        .map_err(|_| PyValueError::new_err(format!("sequences {sequences} is below 0")))?;
    let width = width(sequence_length)? as usize;
    let options = Options {
        pad,
        order: StoredOrder::new(layout, context_parallel, width).map_err(PyValueError::new_err)?,
        first_row,
    };
    let columns = py.detach(|| {
        let out = plan.gather(rows, width, &options)?;
        Ok::<_, PyErr>([
            fixed_lists::<Int32Type>(out.tokens, width)?,
            lists(out.next_bounds, out.next_tokens)?,
            fixed_lists::<UInt64Type>(out.token_checksums, width.div_ceil(CHECKSUM_TOKENS))?,
            Arc::new(UInt64Array::from(out.checksums)) as ArrayRef,
        ])
    })?;
    columns.iter().map(|column| to_python(py, column)).collect()
}

/// XXH3-64 of the bytes of any buffer.
#[pyfunction]
#[pyo3(signature = (data, seed = 0))]
fn xxh3_64(data: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(data, seed)
}

/// A streaming XXH3-128, for files that are read or written in parts.
#[pyclass(module = "curate_kernels")]
struct Checksum {
    state: Xxh3,
}

#[pymethods]
impl Checksum {
    #[new]
    fn new() -> Self {
        Self { state: Xxh3::new() }
    }

    fn update(&mut self, py: Python<'_>, data: &[u8]) {
        let state = &mut self.state;
        py.detach(|| state.update(data));
    }

    fn digest(&self) -> String {
        format!("xxh3_128:{:032x}", self.state.digest128())
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Checksum>()?;
    module.add_function(wrap_pyfunction!(gather_sequences, module)?)?;
    module.add_function(wrap_pyfunction!(xxh3_64, module)?)?;
    Ok(())
}
