//! Fill the buffers of a batch: each rank's part of each sequence, verified, with what goes with the tokens.
//!
//! Bound by memory: one read of the tokens, one write of each array.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array, ListArray};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arrow::to_python;
use crate::digest::{Store, fence};
use crate::expand::{Index, Outputs};
use crate::host_buffers::{HostBuffer, Number, Writing};
use crate::layout;
use crate::read_row::{Ahead, Wanted, Worker};
use crate::shard_file::{Row, Shard, ShardFile};
use crate::stored_order::StoredOrder;

/// Batches of more bytes of tokens than this are written around the caches.
const CACHE: usize = 8 << 20;

/// The sequences of a batch: their shards and rows.
struct Sequences {
    shards: Vec<Arc<Shard>>,
    shard_of: Vec<i64>,
    rows: Vec<i64>,
}

impl Sequences {
    fn new(
        py: Python<'_>,
        shards: Vec<PyRef<'_, ShardFile>>,
        shard_of: PyBuffer<i64>,
        rows: PyBuffer<i64>,
    ) -> PyResult<Self> {
        let (shard_of, rows) = (shard_of.to_vec(py)?, rows.to_vec(py)?);
        if shard_of.len() != rows.len() {
            return Err(PyValueError::new_err(format!(
                "{} shards for {} rows",
                shard_of.len(),
                rows.len()
            )));
        }
        Ok(Self {
            shards: shards.iter().map(|file| file.shard.clone()).collect(),
            shard_of,
            rows,
        })
    }

    fn get(&self, number: usize) -> Result<(&Shard, u64), String> {
        let (shard, row) = (self.shard_of[number], self.rows[number]);
        let file = usize::try_from(shard)
            .ok()
            .and_then(|shard| self.shards.get(shard));
        match (file, u64::try_from(row)) {
            (Some(file), Ok(row)) => Ok((file, row)),
            _ => Err(format!(
                "row {row} of shard {shard} of {}",
                self.shards.len()
            )),
        }
    }
}

/// Read all sequences, by `threads` threads with a range of them each.
fn read_all<T: Index>(
    sequences: &Sequences,
    wanted: &Wanted,
    mut out: Outputs<'_, T>,
    threads: usize,
) -> Result<Vec<Worker>, String> {
    let count = sequences.rows.len();
    let part = wanted.width / wanted.degree;
    let share = count.div_ceil(threads.clamp(1, count.max(1))).max(1);
    let work = |range: Range<usize>, mut out: Outputs<'_, T>| {
        let mut worker = Worker::default();
        for number in range.clone() {
            let (shard, row) = sequences.get(number)?;
            if number + 1 < range.end {
                let (shard, row) = sequences.get(number + 1)?;
                worker.next = Ahead(shard.prefetch(row, wanted.part().start));
            }
            worker.read(shard, row, wanted, &mut out.take(part))?;
        }
        fence();
        Ok(worker)
    };
    if share >= count {
        return Ok(vec![work(0..count, out)?]);
    }
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..count)
            .step_by(share)
            .map(|first| {
                let range = first..(first + share).min(count);
                let out = out.take(part * range.len());
                scope.spawn(move || work(range, out))
            })
            .collect();
        handles
            .into_iter()
            .map(|handle| {
                handle
                    .join()
                    .unwrap_or_else(|_| Err("a reading thread panicked".to_owned()))
            })
            .collect()
    })
}

/// Buffers of a batch, claimed for writing.
struct Claimed([Option<Writing>; 5]);

impl Claimed {
    fn outputs<T: Index + Number>(
        &mut self,
        values: usize,
        ignore: i32,
    ) -> PyResult<Outputs<'_, T>> {
        let [tokens, positions, labels, segment_ids, loss_mask] = &mut self.0;
        Ok(Outputs {
            tokens: claimed(tokens, values)?,
            positions: claimed(positions, values)?,
            labels: claimed(labels, values)?,
            segment_ids: claimed(segment_ids, values)?,
            loss_mask: claimed(loss_mask, values)?,
            ignore,
        })
    }
}

fn claimed<V: Number>(writing: &mut Option<Writing>, values: usize) -> PyResult<Option<&mut [V]>> {
    let Some(writing) = writing else {
        return Ok(None);
    };
    let room: &mut [V] = writing.values();
    if room.len() != values {
        return Err(PyValueError::new_err(format!(
            "a buffer of {} values where {values} are read",
            room.len()
        )));
    }
    Ok(Some(room))
}

#[pyfunction]
#[pyo3(signature = (shards, shard_of, rows, *, sequence_length, layout, stored_for, rank, degree,
    pad_documents_to, verify, documents, ignore_label = -100, dtype = "int32", threads = 1,
    tokens = None, positions = None, labels = None, segment_ids = None, loss_mask = None))]
#[allow(clippy::too_many_arguments)] // the options of one batch
fn read_sequences<'py>(
    py: Python<'py>,
    shards: Vec<PyRef<'py, ShardFile>>,
    shard_of: PyBuffer<i64>,
    rows: PyBuffer<i64>,
    sequence_length: i64,
    layout: &str,
    stored_for: i64,
    rank: usize,
    degree: usize,
    pad_documents_to: i32,
    verify: bool,
    documents: bool,
    ignore_label: i32,
    dtype: &str,
    threads: usize,
    tokens: Option<PyRef<'py, HostBuffer>>,
    positions: Option<PyRef<'py, HostBuffer>>,
    labels: Option<PyRef<'py, HostBuffer>>,
    segment_ids: Option<PyRef<'py, HostBuffer>>,
    loss_mask: Option<PyRef<'py, HostBuffer>>,
) -> PyResult<(Option<Bound<'py, PyAny>>, u64, u64)> {
    let width = layout::width(sequence_length)? as usize;
    let order = StoredOrder::new(layout, stored_for, width).map_err(PyValueError::new_err)?;
    let wanted = Wanted {
        order,
        width,
        rank,
        degree,
        multiple: pad_documents_to,
        verify,
        documents,
        store: Store::Cached,
    };
    if rank >= degree || !width.is_multiple_of(degree) || pad_documents_to < 1 {
        return Err(PyValueError::new_err(format!(
            "rank {rank} of {degree} has no part of {width} tokens padded to {pad_documents_to}"
        )));
    }
    if let Some(stored) = wanted
        .zigzag()
        .filter(|&stored| degree != 1 && degree != stored)
    {
        return Err(PyValueError::new_err(format!(
            "{layout} stored for {stored} ranks, not for {degree}"
        )));
    }
    let sequences = Sequences::new(py, shards, shard_of, rows)?;
    let values = (width / degree)
        .checked_mul(sequences.rows.len())
        .ok_or_else(|| PyValueError::new_err("too many sequences"))?;
    let wanted = Wanted {
        store: if 4 * values > CACHE {
            Store::Streamed
        } else {
            Store::Cached
        },
        ..wanted
    };
    let claim = |buffer: &Option<PyRef<'py, HostBuffer>>| {
        buffer.as_ref().map(|buffer| buffer.writing()).transpose()
    };
    let mut buffers = Claimed([
        claim(&tokens)?,
        claim(&positions)?,
        claim(&labels)?,
        claim(&segment_ids)?,
        claim(&loss_mask)?,
    ]);
    let workers = match dtype {
        "int32" => {
            let out = buffers.outputs::<i32>(values, ignore_label)?;
            py.detach(|| read_all(&sequences, &wanted, out, threads))
        }
        "int64" => {
            let out = buffers.outputs::<i64>(values, ignore_label)?;
            py.detach(|| read_all(&sequences, &wanted, out, threads))
        }
        _ => {
            return Err(PyValueError::new_err(format!(
                "dtype {dtype:?} is neither int32 nor int64"
            )));
        }
    }
    .map_err(PyValueError::new_err)?;
    drop(buffers);
    let token_bytes = workers.iter().map(|worker| worker.token_bytes).sum();
    let other_bytes = workers.iter().map(|worker| worker.other_bytes).sum();
    let lengths = if documents {
        Some(to_python(py, &lengths_of(&workers)?)?)
    } else {
        None
    };
    Ok((lengths, token_bytes, other_bytes))
}

fn lengths_of(workers: &[Worker]) -> PyResult<ArrayRef> {
    let values: Vec<i32> = workers
        .iter()
        .flat_map(|worker| worker.lengths.iter().copied())
        .collect();
    let mut bounds = vec![0i32];
    let mut end = 0i32;
    for &count in workers.iter().flat_map(|worker| &worker.counts) {
        end = end
            .checked_add(count)
            .ok_or_else(|| PyValueError::new_err("too many documents in a batch"))?;
        bounds.push(end);
    }
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    let offsets = OffsetBuffer::new(ScalarBuffer::from(bounds));
    ListArray::try_new(item, offsets, Arc::new(Int32Array::from(values)), None)
        .map(|list| Arc::new(list) as ArrayRef)
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Sums of squared document lengths.
#[pyfunction]
#[pyo3(signature = (shards, shard_of, rows, *, verify))]
fn squared_lengths<'py>(
    py: Python<'py>,
    shards: Vec<PyRef<'py, ShardFile>>,
    shard_of: PyBuffer<i64>,
    rows: PyBuffer<i64>,
    verify: bool,
) -> PyResult<(Bound<'py, PyAny>, u64)> {
    let sequences = Sequences::new(py, shards, shard_of, rows)?;
    let (sums, read) = py
        .detach(|| {
            let (mut row, mut read) = (Row::default(), 0);
            let sums = (0..sequences.rows.len())
                .map(|number| {
                    let (shard, at) = sequences.get(number)?;
                    read += shard.row(at, true, verify, &mut row)?;
                    let square = |&length: &i32| i64::from(length) * i64::from(length);
                    Ok(row
                        .lengths
                        .iter()
                        .map(square)
                        .fold(0i64, i64::saturating_add))
                })
                .collect::<Result<Vec<i64>, String>>()?;
            Ok((sums, read))
        })
        .map_err(|error: String| PyValueError::new_err(error))?;
    let sums: ArrayRef = Arc::new(Int64Array::from(sums));
    Ok((to_python(py, &sums)?, read))
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(read_sequences, module)?)?;
    module.add_function(wrap_pyfunction!(squared_lengths, module)?)
}
