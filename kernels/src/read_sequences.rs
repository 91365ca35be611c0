//! Fill the buffers of a batch: each rank's part of each sequence, verified, with what goes with the tokens.
//!
//! Runs of 4,096 tokens are hashed and then copied and expanded while they are in cache. A part that does not
//! begin or end with such a run reads the whole of it to verify it (at most 16 KiB on either side).
//! Bound by memory: one read of the tokens, one write of each array.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, ListArray};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arrow::to_python;
use crate::digest::{Store, fence, xxh3_64};
use crate::expand::{Documents, Index, Outputs, bytes_of};
use crate::host_buffers::{HostBuffer, Number, Writing};
use crate::shard_file::{CHECKSUM_TOKENS, Row, Shard, ShardFile};
use crate::shard_source::Scratch;
use crate::stored_order::StoredOrder;

/// Batches of more bytes of tokens than this are written around the caches.
const CACHE: usize = 8 << 20;

/// Which part of every sequence is wanted, and how it is stored.
#[derive(Clone, Copy)]
struct Wanted {
    order: StoredOrder,
    width: usize,
    rank: usize,
    degree: usize,
    multiple: i32,
    verify: bool,
    /// Whether the lengths of documents are wanted, beside what the outputs need.
    documents: bool,
    store: Store,
}

/// Tokens that are neighbours in storage and in reading order.
struct Run {
    stored: Range<usize>,
    start: usize,
    next: Option<i32>,
}

/// The buffers that one thread uses for one sequence after another.
#[derive(Default)]
struct Worker {
    row: Row,
    documents: Documents,
    runs: Vec<Run>,
    tokens: Scratch,
    following: Scratch,
    plane: Vec<i32>,
    lengths: Vec<i32>,
    counts: Vec<i32>,
    token_bytes: u64,
    other_bytes: u64,
    /// Where the next sequence begins, to ask for it early.
    next: Ahead,
}

/// An address that is only ever prefetched.
struct Ahead(*const u8);

impl Default for Ahead {
    fn default() -> Self {
        Self(std::ptr::null())
    }
}

// SAFETY: nothing reads through the pointer.
unsafe impl Send for Ahead {}

impl Wanted {
    fn part(&self) -> Range<usize> {
        let share = self.width / self.degree;
        self.rank * share..(self.rank + 1) * share
    }

    /// The chunks of one rank of a zig-zag order, as they are stored.
    fn chunks(
        &self,
        degree: usize,
        rank: usize,
        documents: &Documents,
        each: &mut dyn FnMut(Range<usize>),
    ) {
        let whole = 0..self.width;
        match self.order {
            StoredOrder::ZigzagDocuments(_) => {
                let segments = (0..documents.len()).map(|number| documents.segment(number));
                StoredOrder::chunks(degree, rank, segments).for_each(|(chunk, _)| each(chunk));
            }
            _ => StoredOrder::chunks(degree, rank, std::iter::once(whole))
                .for_each(|(chunk, _)| each(chunk)),
        }
    }

    /// Zig-zag as it is stored: the degree, where the part has to be permuted or is the part of a rank of it.
    fn zigzag(&self) -> Option<usize> {
        match self.order {
            StoredOrder::Contiguous => None,
            StoredOrder::Zigzag(degree) | StoredOrder::ZigzagDocuments(degree) => Some(degree),
        }
    }
}

impl Worker {
    /// Read one sequence into the front of `out`.
    fn read<T: Index>(
        &mut self,
        shard: &Shard,
        row: u64,
        wanted: &Wanted,
        out: &mut Outputs<'_, T>,
    ) -> Result<(), String> {
        let shape = shard.shape()?;
        if shape.width != wanted.width as u64 {
            return Err(format!(
                "{}: sequences of {} tokens, not {}",
                shard.name, shape.width, wanted.width
            ));
        }
        let fail = |error: String| format!("{}: sequence {row}: {error}", shard.name);
        let permuted = wanted.zigzag().filter(|&degree| degree != wanted.degree);
        let needs_documents = wanted.documents
            || out.beyond_tokens()
            || matches!(wanted.order, StoredOrder::ZigzagDocuments(_));
        self.other_bytes += shard.row(row, needs_documents, wanted.verify, &mut self.row)?;
        if needs_documents {
            self.documents
                .set(&self.row.lengths, wanted.multiple, wanted.width as i32)
                .map_err(fail)?;
            self.lengths.extend_from_slice(&self.row.lengths);
            self.counts.push(self.row.lengths.len() as i32);
        }
        let part = if permuted.is_some() {
            0..wanted.width
        } else {
            wanted.part()
        };
        self.runs_of(shard, row, wanted, &part, permuted, out.labels.is_some())
            .map_err(fail)?;

        let whole = if wanted.verify {
            part.start / CHECKSUM_TOKENS * CHECKSUM_TOKENS
                ..part.end.next_multiple_of(CHECKSUM_TOKENS).min(wanted.width)
        } else {
            part.clone()
        };
        let (tokens, read) = shard.tokens(row, whole.clone(), &mut self.tokens)?;
        self.token_bytes += read;
        let digests = &self.row.token_checksums;
        let check = |number: usize, size: usize, found: u64| -> Result<(), String> {
            let expected = digests.get(number).copied();
            if expected == Some(found) {
                return Ok(());
            }
            Err(fail(format!(
                "block {number} (tokens {} to {}, as stored) is damaged: xxh3_64 {found:016x}, the shard says \
                 {:016x}: fetch the shard again or rerun the write phase",
                number * CHECKSUM_TOKENS,
                number * CHECKSUM_TOKENS + size,
                expected.unwrap_or(0)
            )))
        };
        if let Some(degree) = permuted {
            if wanted.verify {
                for (number, block) in tokens.chunks(CHECKSUM_TOKENS).enumerate() {
                    check(number, block.len(), xxh3_64(bytes_of(block)))?;
                }
            }
            self.plane.resize(wanted.width, 0);
            let (plane, mut at) = (&mut self.plane, 0);
            for rank in 0..degree {
                wanted.chunks(degree, rank, &self.documents, &mut |chunk| {
                    let size = chunk.len();
                    if let (Some(to), Some(from)) =
                        (plane.get_mut(chunk), tokens.get(at..at + size))
                    {
                        to.copy_from_slice(from);
                    }
                    at += size;
                });
            }
            if let Some(out) = &mut out.tokens {
                T::copy(plane, out);
            }
            if out.beyond_tokens() {
                out.fill(0, plane, 0, None, &self.documents);
            }
            return Ok(());
        }
        let mut run = 0;
        let mut at = whole.start;
        while at < whole.end {
            let end = ((at / CHECKSUM_TOKENS + 1) * CHECKSUM_TOKENS).min(whole.end);
            let block = &tokens[at - whole.start..end - whole.start];
            let inside = part.start.max(at)..part.end.min(end);
            let digest = match &mut out.tokens {
                // All of the block is wanted: hash and copy it in one pass.
                Some(out) if wanted.verify && inside.len() == block.len() => {
                    let out = &mut out[inside.start - part.start..inside.end - part.start];
                    let next = if end < whole.end {
                        tokens[end - whole.start..].as_ptr().cast()
                    } else {
                        self.next.0
                    };
                    Some(T::copy_digest(block, out, wanted.store, next))
                }
                copied => {
                    let digest = wanted.verify.then(|| xxh3_64(bytes_of(block)));
                    if let Some(out) = copied {
                        let out = &mut out[inside.start - part.start..inside.end - part.start];
                        T::copy(&block[inside.start - at..inside.end - at], out);
                    }
                    digest
                }
            };
            if let Some(found) = digest {
                check(at / CHECKSUM_TOKENS, block.len(), found)?;
            }
            while out.beyond_tokens()
                && let Some(now) = self.runs.get(run)
            {
                let (from, to) = (now.stored.start.max(at), now.stored.end.min(end));
                if from < to {
                    let here = &tokens[from - whole.start..to - whole.start];
                    let next = if to < now.stored.end {
                        tokens.get(to - whole.start).copied()
                    } else {
                        now.next
                    };
                    let start = (now.start + from - now.stored.start) as i32;
                    out.fill(from - part.start, here, start, next, &self.documents);
                }
                if now.stored.end > end {
                    break;
                }
                run += 1;
            }
            at = end;
        }
        Ok(())
    }

    fn runs_of(
        &mut self,
        shard: &Shard,
        row: u64,
        wanted: &Wanted,
        part: &Range<usize>,
        permuted: Option<usize>,
        labels: bool,
    ) -> Result<(), String> {
        self.runs.clear();
        let Some(degree) = wanted.zigzag().filter(|_| permuted.is_none()) else {
            let mut next = None;
            // The label of the part's last token lies in the next rank's part, which verifies it.
            if labels && part.end < wanted.width && permuted.is_none() && self.goes_on(part.end) {
                let (tokens, read) =
                    shard.tokens(row, part.end..part.end + 1, &mut self.following)?;
                self.token_bytes += read;
                next = tokens.first().copied();
            }
            self.runs.push(Run {
                stored: part.clone(),
                start: part.start,
                next,
            });
            return Ok(());
        };
        let (runs, mut at) = (&mut self.runs, part.start);
        wanted.chunks(degree, wanted.rank, &self.documents, &mut |chunk| {
            runs.push(Run {
                stored: at..at + chunk.len(),
                start: chunk.start,
                next: None,
            });
            at += chunk.len();
        });
        if at != part.end {
            return Err("its documents do not divide into the chunks of its layout".to_owned());
        }
        if labels {
            let count = self.runs.len();
            let next = &self.row.next_tokens;
            if next.len() != count * degree {
                return Err(format!(
                    "{} next tokens for {} chunks",
                    next.len(),
                    count * degree
                ));
            }
            for (run, &token) in self.runs.iter_mut().zip(&next[count * wanted.rank..]) {
                run.next = Some(token);
            }
        }
        Ok(())
    }

    /// Whether the token at `at` is a real token of the document that the one before it belongs to.
    fn goes_on(&self, at: usize) -> bool {
        let number = self
            .documents
            .starts
            .partition_point(|&start| (start as usize) < at);
        number > 0 && (self.documents.ends[number - 1] as usize) > at
    }
}

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
    let width = i32::try_from(sequence_length)
        .ok()
        .filter(|&width| width > 0)
        .ok_or_else(|| {
            PyValueError::new_err(format!(
                "sequence_length {sequence_length} is not in 1..={}",
                i32::MAX
            ))
        })? as usize;
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
    debug_assert_eq!(sums.len(), sequences.rows.len());
    Ok((to_python(py, &sums)?, read))
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(read_sequences, module)?)?;
    module.add_function(wrap_pyfunction!(squared_lengths, module)?)
}
