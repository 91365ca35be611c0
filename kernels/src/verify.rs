//! Whether the sequences of a record batch are what their own checksums and boundaries say.
//!
//! Every token is read and hashed once, and pads are compared with the pad id: about 10 GB/s a core in reading
//! order. A zig-zag order is put back into reading order first, which costs three more passes over a row in cache.
//! Nothing stops at the first problem: each is a row and a reason, so that one run names all that is wrong.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Int16Type, Int32Type, Int64Type, UInt64Type};
use arrow_array::{Array, FixedSizeListArray, ListArray, RecordBatch};
use arrow_ipc::root_as_footer;
use arrow_pyarrow::FromPyArrow;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::digest::{CHECKSUM_TOKENS, bytes_of, row_checksum, xxh3_64};
use crate::stored_order::StoredOrder;

/// Reasons that one call returns; a batch in which every row is wrong does not need thousands of lines.
const MOST: usize = 64;

/// The values under a list column; the list's offsets are those of the batch.
struct Lists<'a, V> {
    offsets: &'a [i32],
    values: V,
}

fn list<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ListArray, String> {
    batch
        .column_by_name(name)
        .and_then(|column| column.as_list_opt::<i32>())
        .filter(|column| column.null_count() == 0 && column.values().null_count() == 0)
        .ok_or_else(|| format!("{name} is missing, of another type, or holds nulls"))
}

fn lists<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<Lists<'a, &'a [T::Native]>, String> {
    let column = list(batch, name)?;
    let values = column
        .values()
        .as_primitive_opt::<T>()
        .ok_or_else(|| format!("{name} is not a list of {}", T::DATA_TYPE))?;
    Ok(Lists {
        offsets: column.value_offsets(),
        values: values.values(),
    })
}

impl<T> Lists<'_, &[T]> {
    fn row(&self, row: usize) -> Option<&[T]> {
        self.values.get(range(self.offsets, row)?)
    }
}

fn range(offsets: &[i32], row: usize) -> Option<Range<usize>> {
    let [from, to] = offsets.get(row..row + 2)? else {
        return None;
    };
    Some(usize::try_from(*from).ok()?..usize::try_from(*to).ok()?)
}

fn plain<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a [T::Native], String> {
    batch
        .column_by_name(name)
        .and_then(|column| column.as_primitive_opt::<T>())
        .filter(|column| column.null_count() == 0)
        .map(|column| &column.values()[..])
        .ok_or_else(|| format!("{name} is missing, of another type, or holds nulls"))
}

fn fixed<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<(&'a [T::Native], usize), String> {
    let wrong = || format!("{name} is missing, of another type, or holds nulls");
    let column: &FixedSizeListArray = batch
        .column_by_name(name)
        .and_then(|column| column.as_fixed_size_list_opt())
        .ok_or_else(wrong)?;
    let values = column
        .values()
        .as_primitive_opt::<T>()
        .filter(|values| values.null_count() == 0 && column.null_count() == 0)
        .ok_or_else(wrong)?;
    let width = usize::try_from(column.value_length()).map_err(|_| wrong())?;
    if width == 0 || values.len() != width * batch.num_rows() {
        return Err(wrong());
    }
    Ok((values.values(), width))
}

/// What all rows of a shard have in common.
struct Rules {
    first_row: u64,
    pad: i32,
    multiple: i64,
    sources: i16,
    order: StoredOrder,
}

struct Columns<'a> {
    tokens: &'a [i32],
    width: usize,
    lengths: Lists<'a, &'a [i32]>,
    padded: Lists<'a, &'a [i32]>,
    next_tokens: Lists<'a, &'a [i32]>,
    token_checksums: &'a [u64],
    runs: usize,
    checksum: &'a [u64],
    document_ids: &'a ListArray,
    document_offsets: Lists<'a, &'a [i64]>,
    source_ids: Lists<'a, &'a [i16]>,
    epochs: Lists<'a, &'a [i16]>,
    padding: &'a [i32],
    squares: &'a [i64],
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, String> {
        let (tokens, width) = fixed::<Int32Type>(batch, "tokens")?;
        let (token_checksums, runs) = fixed::<UInt64Type>(batch, "token_checksums")?;
        if runs != width.div_ceil(CHECKSUM_TOKENS) {
            return Err(format!("{runs} token_checksums for {width} tokens"));
        }
        Ok(Self {
            tokens,
            width,
            lengths: lists::<Int32Type>(batch, "document_lengths")?,
            padded: lists::<Int32Type>(batch, "padded_lengths")?,
            next_tokens: lists::<Int32Type>(batch, "next_tokens")?,
            token_checksums,
            runs,
            checksum: plain::<UInt64Type>(batch, "checksum")?,
            document_ids: list(batch, "document_ids")?,
            document_offsets: lists::<Int64Type>(batch, "document_offsets")?,
            source_ids: lists::<Int16Type>(batch, "source_ids")?,
            epochs: lists::<Int16Type>(batch, "epochs")?,
            padding: plain::<Int32Type>(batch, "padding")?,
            squares: plain::<Int64Type>(batch, "sum_squared_lengths")?,
        })
    }

    /// The row's slots and its documents' lengths; None after saying why they make no sense.
    fn boundaries(
        &self,
        row: usize,
        rules: &Rules,
        say: &mut dyn FnMut(String),
    ) -> Option<(&[i32], &[i32])> {
        let Some((lengths, padded)) = self.lengths.row(row).zip(self.padded.row(row)) else {
            say("broken list offsets".to_owned());
            return None;
        };
        let documents = lengths.len();
        let others = [
            ("padded_lengths", Some(padded.len())),
            (
                "document_ids",
                range(self.document_ids.value_offsets(), row).map(|ids| ids.len()),
            ),
            (
                "document_offsets",
                self.document_offsets.row(row).map(<[_]>::len),
            ),
            ("source_ids", self.source_ids.row(row).map(<[_]>::len)),
            ("epochs", self.epochs.row(row).map(<[_]>::len)),
        ];
        for (name, entries) in others {
            if entries != Some(documents) {
                let entries = entries.unwrap_or(0);
                say(format!(
                    "{name} has {entries} entries for {documents} documents"
                ));
                return None;
            }
        }
        if documents == 0 {
            say("it has no documents".to_owned());
            return None;
        }
        let mut slots = 0i64;
        for (document, (&length, &slot)) in lengths.iter().zip(padded).enumerate() {
            let expected = (i64::from(length).max(0) as u64).div_ceil(rules.multiple as u64) as i64
                * rules.multiple;
            if length < 1 {
                say(format!("document_lengths[{document}] is {length}, below 1"));
                return None;
            }
            if i64::from(slot) != expected {
                say(format!(
                    "padded_lengths[{document}] is {slot}: {length} rounded up to {} is {expected}",
                    rules.multiple
                ));
                return None;
            }
            slots += i64::from(slot);
        }
        if slots > self.width as i64 {
            say(format!(
                "its documents take {slots} tokens of {}",
                self.width
            ));
            return None;
        }
        Some((lengths, padded))
    }

    /// What follows from the boundaries, and what may stand beside them.
    fn sums(&self, row: usize, lengths: &[i32], rules: &Rules, say: &mut dyn FnMut(String)) {
        let tokens: i64 = lengths.iter().map(|&length| i64::from(length)).sum();
        let squares: i64 = lengths.iter().map(|&length| i64::from(length).pow(2)).sum();
        let padding = self.width as i64 - tokens;
        if i64::from(self.padding[row]) != padding {
            say(format!(
                "padding is {}, its documents leave {padding}",
                self.padding[row]
            ));
        }
        if self.squares[row] != squares {
            say(format!(
                "sum_squared_lengths is {}, its documents make {squares}",
                self.squares[row]
            ));
        }
        let sources = self.source_ids.row(row).unwrap_or_default();
        if let Some(id) = sources.iter().find(|id| !(0..rules.sources).contains(id)) {
            say(format!("source id {id} is not in 0..{}", rules.sources));
        }
        let offsets = self.document_offsets.row(row).unwrap_or_default();
        if let Some(offset) = offsets.iter().find(|&&offset| offset < 0) {
            say(format!("document offset {offset} is below 0"));
        }
        let epochs = self.epochs.row(row).unwrap_or_default();
        if let Some(epoch) = epochs.iter().find(|&&epoch| epoch < 0) {
            say(format!("epoch {epoch} is below 0"));
        }
    }

    fn checksums(&self, row: usize, stored: &[i32], rules: &Rules, say: &mut dyn FnMut(String)) {
        let sums = &self.token_checksums[row * self.runs..][..self.runs];
        for (run, (tokens, &expected)) in stored.chunks(CHECKSUM_TOKENS).zip(sums).enumerate() {
            if xxh3_64(bytes_of(tokens)) != expected {
                let first = run * CHECKSUM_TOKENS;
                say(format!(
                    "stored tokens {first} to {} are not those of token_checksums[{run}]",
                    first + tokens.len() - 1
                ));
            }
        }
        let found = row_checksum(
            rules.first_row + row as u64,
            self.lengths.row(row).unwrap_or_default(),
            self.next_tokens.row(row).unwrap_or_default(),
            sums,
        );
        if found != self.checksum[row] {
            say(
                "its document_lengths, next_tokens and token_checksums are not those of its checksum, \
                 or are another row's"
                    .to_owned(),
            );
        }
    }

    /// Pads hold the pad id, and what follows each chunk of a zig-zag order is in `next_tokens`.
    fn pads(
        &self,
        row: usize,
        slots: (&[i32], &[i32]),
        scratch: &mut Scratch,
        rules: &Rules,
        say: &mut dyn FnMut(String),
    ) {
        let stored = &self.tokens[row * self.width..][..self.width];
        let next = self.next_tokens.row(row).unwrap_or_default();
        let reading = match rules.order {
            StoredOrder::Contiguous => {
                if !next.is_empty() {
                    say(format!(
                        "{} next_tokens, which the contiguous layout has none of",
                        next.len()
                    ));
                }
                stored
            }
            order => match scratch.restore(order, stored, slots.1, rules.pad) {
                Ok(()) => {
                    if scratch.next != next {
                        say("next_tokens are not the tokens that follow its chunks".to_owned());
                    }
                    &scratch.reading
                }
                Err(error) => return say(error),
            },
        };
        let mut at = 0;
        let mut check = |from: usize, to: usize| {
            if let Some(odd) = reading[from..to]
                .iter()
                .position(|&token| token != rules.pad)
            {
                say(format!(
                    "token {} is padding and holds {}, not the pad id {}",
                    from + odd,
                    reading[from + odd],
                    rules.pad
                ));
            }
        };
        for (&length, &slot) in slots.0.iter().zip(slots.1) {
            check(at + length as usize, at + slot as usize);
            at += slot as usize;
        }
        check(at, self.width);
    }
}

/// Buffers for putting a row back into reading order.
#[derive(Default)]
struct Scratch {
    numbers: Vec<i32>,
    places: Vec<i32>,
    reading: Vec<i32>,
    stored: Vec<i32>,
    next: Vec<i32>,
}

impl Scratch {
    /// Fill `reading` with the row in reading order, and `next` with the tokens that follow its chunks.
    fn restore(
        &mut self,
        order: StoredOrder,
        stored: &[i32],
        slots: &[i32],
        pad: i32,
    ) -> Result<(), String> {
        let starts: Vec<usize> = slots
            .iter()
            .scan(0, |at, &slot| {
                let start = *at;
                *at += slot as usize;
                Some(start)
            })
            .collect();
        self.numbers.clear();
        self.numbers.extend(0..stored.len() as i32);
        for buffer in [&mut self.places, &mut self.reading, &mut self.stored] {
            buffer.resize(stored.len(), 0);
        }
        self.next.clear();
        // Storing the numbers 0, 1, ... says where each stored token comes from.
        order.store(&self.numbers, &starts, 0, &mut self.places, &mut self.next)?;
        for (&place, &token) in self.places.iter().zip(stored) {
            self.reading[place as usize] = token;
        }
        self.next.clear();
        order.store(
            &self.reading,
            &starts,
            pad,
            &mut self.stored,
            &mut self.next,
        )
    }
}

fn problems(batch: &RecordBatch, rules: &Rules) -> Result<(usize, Vec<(usize, String)>), String> {
    let columns = Columns::of(batch)?;
    let (mut wrong, mut found) = (0, Vec::new());
    let mut scratch = Scratch::default();
    for row in 0..batch.num_rows() {
        let mut sound = true;
        let mut say = |reason: String| {
            sound = false;
            if found.len() < MOST {
                found.push((row, reason));
            }
        };
        let stored = &columns.tokens[row * columns.width..][..columns.width];
        columns.checksums(row, stored, rules, &mut say);
        if let Some(slots) = columns.boundaries(row, rules, &mut say) {
            columns.sums(row, slots.0, rules, &mut say);
            columns.pads(row, slots, &mut scratch, rules, &mut say);
        }
        wrong += usize::from(!sound);
    }
    Ok((wrong, found))
}

#[pyfunction]
#[pyo3(signature = (
    batch, *, first_row, pad, pad_documents_to, sources, layout = "contiguous", context_parallel = 1
))]
#[allow(clippy::too_many_arguments)] // a shard's header
fn wrong_sequences(
    py: Python<'_>,
    batch: &Bound<'_, PyAny>,
    first_row: u64,
    pad: i32,
    pad_documents_to: i64,
    sources: i64,
    layout: &str,
    context_parallel: i64,
) -> PyResult<(usize, Vec<(usize, String)>)> {
    let batch = RecordBatch::from_pyarrow_bound(batch)?;
    let (_, width) = fixed::<Int32Type>(&batch, "tokens").map_err(PyValueError::new_err)?;
    if !(1..=i64::from(i32::MAX)).contains(&pad_documents_to) {
        return Err(PyValueError::new_err(format!(
            "pad_documents_to {pad_documents_to} is not in 1..={}",
            i32::MAX
        )));
    }
    let rules = Rules {
        first_row,
        pad,
        multiple: pad_documents_to,
        sources: i16::try_from(sources.max(0)).unwrap_or(i16::MAX),
        order: StoredOrder::new(layout, context_parallel, width).map_err(PyValueError::new_err)?,
    };
    py.detach(|| problems(&batch, &rules))
        .map_err(PyValueError::new_err)
}

/// (offset of its message, size of message and zeros, size of body) of each record batch of a footer.
#[pyfunction]
fn footer_blocks(footer: &[u8]) -> PyResult<Vec<(i64, i32, i64)>> {
    let footer = root_as_footer(footer).map_err(|error| {
        PyValueError::new_err(format!("not the footer of an Arrow file: {error}"))
    })?;
    Ok(footer
        .recordBatches()
        .iter()
        .flatten()
        .map(|block| (block.offset(), block.metaDataLength(), block.bodyLength()))
        .collect())
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(wrong_sequences, module)?)?;
    module.add_function(wrap_pyfunction!(footer_blocks, module)?)
}
