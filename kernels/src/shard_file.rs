//! One open shard: where its record batches lie, and the small columns of a row.
//!
//! Nothing that a file says is believed before it is checked: flatbuffers are verified, every offset is held
//! against the file, sizes against the number of rows. Opening reads the footer; a record batch's message is
//! read when the batch is first used. Costs about 20 us and one mapping (or two descriptors, `direct`).

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arrow_ipc::{Block, MessageHeader, root_as_footer, root_as_message};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::digest::{CHECKSUM_TOKENS, row_checksum, xxh3_64};
use crate::shard_source::{Scratch, Source};

const MAGIC: &[u8; 6] = b"ARROW1";
/// Buffers and nodes of the columns of a shard, depth first (`shards/format.py`).
const BUFFERS: usize = 40;
const NODES: usize = 21;
/// A footer or a message larger than this is not one of ours.
const METADATA: u64 = 256 << 20;
/// Of a message's metadata, what can hold anything but the zeros that align the body.
const MESSAGE: u64 = 16 << 10;

/// What the header says about the rows.
#[derive(Clone, Copy)]
pub struct Shape {
    pub width: u64,
    pub batch_rows: u64,
    pub rows: u64,
}

/// File offsets of the buffers of one record batch that the loader reads.
struct Columns {
    rows: u64,
    tokens: u64,
    lengths: ListColumn,
    next_tokens: ListColumn,
    token_checksums: u64,
    checksum: u64,
}

struct ListColumn {
    offsets: u64,
    values: u64,
    count: u64,
}

/// The small columns of one row.
#[derive(Default)]
pub struct Row {
    pub lengths: Vec<i32>,
    pub next_tokens: Vec<i32>,
    pub token_checksums: Vec<u64>,
    bytes: Vec<u8>,
}

pub struct Shard {
    pub name: String,
    source: Source,
    size: u64,
    footer: Vec<u8>,
    blocks: Vec<(i64, i32, i64)>,
    shape: OnceLock<Shape>,
    columns: Vec<OnceLock<Columns>>,
}

impl Shard {
    fn open(
        name: String,
        source: Source,
        size: u64,
        footer_checksum: Option<&str>,
    ) -> Result<Self, String> {
        let fail = |what: &str| format!("{name}: {what}: fetch it again or rerun the write phase");
        if size < 24 {
            return Err(fail("too short to be an Arrow file"));
        }
        let mut end = [0; 10];
        source
            .read(size - 10..size, &mut end)
            .map_err(|error| fail(&error))?;
        let length = u32::from_le_bytes([end[0], end[1], end[2], end[3]]);
        if &end[4..] != MAGIC || u64::from(length) > (size - 18).min(METADATA) {
            return Err(fail("it does not end as an Arrow file does"));
        }
        let start = size - 10 - u64::from(length);
        let mut footer = vec![0; length as usize];
        source
            .read(start..size - 10, &mut footer)
            .map_err(|error| fail(&error))?;
        if let Some(expected) = footer_checksum {
            let found = format!("xxh3_64:{:016x}", xxh3_64(&footer));
            if found != expected {
                return Err(fail(&format!(
                    "the footer's checksum is {found}, the manifest says {expected}"
                )));
            }
        }
        let blocks: Vec<_> = {
            let table = root_as_footer(&footer)
                .map_err(|error| fail(&format!("broken footer: {error}")))?;
            let blocks = table.recordBatches();
            blocks
                .iter()
                .flat_map(|blocks| blocks.iter())
                .map(|block: &Block| (block.offset(), block.metaDataLength(), block.bodyLength()))
                .collect()
        };
        let columns = blocks.iter().map(|_| OnceLock::new()).collect();
        Ok(Self {
            name,
            source,
            size,
            footer,
            blocks,
            shape: OnceLock::new(),
            columns,
        })
    }

    pub fn shape(&self) -> Result<Shape, String> {
        self.shape
            .get()
            .copied()
            .ok_or_else(|| format!("{}: expect() comes before reading", self.name))
    }

    /// The record batch that holds a row, and the row's number in it.
    fn batch(&self, row: u64) -> Result<(&Columns, u64), String> {
        let shape = self.shape()?;
        if row >= shape.rows {
            return Err(format!(
                "{}: sequence {row} is not in 0..{}",
                self.name, shape.rows
            ));
        }
        let number = (row / shape.batch_rows) as usize;
        let cell = self
            .columns
            .get(number)
            .ok_or_else(|| format!("{}: no record batch {number}", self.name))?;
        let columns = match cell.get() {
            Some(columns) => columns,
            None => {
                let rows = shape
                    .batch_rows
                    .min(shape.rows - number as u64 * shape.batch_rows);
                let found = self
                    .columns_of(number, rows, shape.width)
                    .map_err(|error| {
                        format!(
                            "{}: record batch {number} is damaged: {error}: fetch the shard again",
                            self.name
                        )
                    })?;
                cell.get_or_init(|| found)
            }
        };
        Ok((columns, row % shape.batch_rows))
    }

    fn columns_of(&self, number: usize, rows: u64, width: u64) -> Result<Columns, String> {
        let &(offset, metadata, body) = self.blocks.get(number).ok_or("it is missing")?;
        let offset = u64::try_from(offset).map_err(|_| "a negative offset")?;
        let metadata = u64::try_from(metadata).map_err(|_| "a negative length")?;
        let body = u64::try_from(body).map_err(|_| "a negative length")?;
        let start = offset
            .checked_add(metadata)
            .ok_or("an offset that overflows")?;
        let end = start
            .checked_add(body)
            .filter(|&end| end <= self.size)
            .ok_or("it lies outside the file")?;
        if !(8..=METADATA).contains(&metadata) {
            return Err("its message has no sensible length".to_owned());
        }
        let message = metadata.min(MESSAGE);
        let mut bytes = vec![0; message as usize];
        self.source.read(offset..offset + message, &mut bytes)?;
        let (prefix, message) = bytes.split_at(8);
        if prefix[..4] != [0xff; 4] || prefix[4..] != (metadata as u32 - 8).to_le_bytes() {
            return Err("its message does not begin as one".to_owned());
        }
        let message = root_as_message(message).map_err(|error| error.to_string())?;
        let batch = message
            .header_as_record_batch()
            .ok_or("its message is of another kind")?;
        if message.header_type() != MessageHeader::RecordBatch || batch.compression().is_some() {
            return Err("it is compressed".to_owned());
        }
        if batch.length() != rows as i64 || message.bodyLength() != body as i64 {
            return Err(format!(
                "{} rows in {} bytes where {rows} were expected",
                batch.length(),
                message.bodyLength()
            ));
        }
        let nodes = batch.nodes().ok_or("no nodes")?;
        let buffers = batch.buffers().ok_or("no buffers")?;
        if nodes.len() != NODES || buffers.len() != BUFFERS {
            return Err("its columns are not those of a shard".to_owned());
        }
        if nodes.iter().any(|node| node.null_count() != 0) {
            return Err("it holds nulls".to_owned());
        }
        let place = |buffer: usize, bytes: u64| -> Result<u64, String> {
            let buffer = buffers.get(buffer);
            let at = u64::try_from(buffer.offset())
                .ok()
                .filter(|at| at % 64 == 0);
            let length = u64::try_from(buffer.length())
                .ok()
                .filter(|&length| length >= bytes);
            at.zip(length)
                .and_then(|(at, length)| at.checked_add(length))
                .filter(|&buffer_end| buffer_end <= end - start)
                .map(|_| start + buffer.offset() as u64)
                .ok_or_else(|| "a buffer that is misplaced or too short".to_owned())
        };
        let list = |first: usize| -> Result<ListColumn, String> {
            let count = buffers.get(first + 3).length();
            let count = u64::try_from(count).map_err(|_| "a negative length")? / 4;
            Ok(ListColumn {
                offsets: place(first + 1, 4 * (rows + 1))?,
                values: place(first + 3, 4 * count)?,
                count,
            })
        };
        let runs = width.div_ceil(CHECKSUM_TOKENS as u64);
        Ok(Columns {
            rows,
            tokens: place(2, 4 * width * rows)?,
            lengths: list(3)?,
            next_tokens: list(11)?,
            token_checksums: place(17, 8 * runs * rows)?,
            checksum: place(19, 8 * rows)?,
        })
    }

    fn list(
        &self,
        column: &ListColumn,
        row: u64,
        out: &mut Vec<i32>,
        bytes: &mut Vec<u8>,
    ) -> Result<u64, String> {
        out.clear();
        if column.count == 0 {
            return Ok(0);
        }
        let mut bounds = [0; 8];
        let at = column.offsets + 4 * row;
        self.source.read(at..at + 8, &mut bounds)?;
        let [from, to] = [0, 4]
            .map(|i| i32::from_le_bytes([bounds[i], bounds[i + 1], bounds[i + 2], bounds[i + 3]]));
        if from < 0 || to < from || to as u64 > column.count {
            return Err(format!("list offsets {from} and {to} make no sense"));
        }
        let size = 4 * (to - from) as u64;
        let at = column.values + 4 * from as u64;
        let data = self.small(at..at + size, bytes)?;
        out.extend(
            data.chunks_exact(4)
                .map(|value| i32::from_le_bytes([value[0], value[1], value[2], value[3]])),
        );
        Ok(8 + size)
    }

    fn small<'a>(&self, range: Range<u64>, bytes: &'a mut Vec<u8>) -> Result<&'a [u8], String> {
        bytes.resize((range.end - range.start) as usize, 0);
        self.source.read(range, bytes)?;
        Ok(bytes)
    }

    /// The small columns of a row; bytes read. `documents`: its lengths and next tokens. `checksums`: with
    /// `documents`, the row's checksum is compared; alone, only those of the tokens are read.
    pub fn row(
        &self,
        row: u64,
        documents: bool,
        checksums: bool,
        out: &mut Row,
    ) -> Result<u64, String> {
        let (columns, at) = self.batch(row)?;
        let fail = |error: String| format!("{}: sequence {row}: {error}", self.name);
        let mut read = 0;
        if documents {
            read += self
                .list(&columns.lengths, at, &mut out.lengths, &mut out.bytes)
                .map_err(fail)?;
            read += self
                .list(
                    &columns.next_tokens,
                    at,
                    &mut out.next_tokens,
                    &mut out.bytes,
                )
                .map_err(fail)?;
        }
        if !checksums {
            return Ok(read);
        }
        let runs = self.shape()?.width.div_ceil(CHECKSUM_TOKENS as u64);
        let from = columns.token_checksums + 8 * runs * at;
        let data = self
            .small(from..from + 8 * runs, &mut out.bytes)
            .map_err(fail)?;
        let value = |value: &[u8]| {
            value
                .try_into()
                .map(u64::from_le_bytes)
                .map_err(|_| "a checksum of another size".to_owned())
        };
        out.token_checksums.clear();
        for digest in data.chunks_exact(8) {
            out.token_checksums.push(value(digest).map_err(fail)?);
        }
        read += 8 * runs;
        if documents {
            let found = row_checksum(row, &out.lengths, &out.next_tokens, &out.token_checksums);
            let from = columns.checksum + 8 * at;
            let expected =
                value(self.small(from..from + 8, &mut out.bytes).map_err(fail)?).map_err(fail)?;
            read += 8;
            if found != expected {
                return Err(fail(format!(
                    "its lengths and checksums are damaged: xxh3_64 {found:016x}, the shard says {expected:016x}: \
                     fetch the shard again or rerun the write phase"
                )));
            }
        }
        Ok(read)
    }

    /// Ask for what will be read of a row beside its tokens, if its record batch has been used before; where
    /// its tokens from `part` on begin.
    pub fn prefetch(&self, row: u64, part: usize) -> *const u8 {
        let nothing = std::ptr::null();
        let Ok(shape) = self.shape() else {
            return nothing;
        };
        let (number, at) = ((row / shape.batch_rows) as usize, row % shape.batch_rows);
        let Some(columns) = self.columns.get(number).and_then(OnceLock::get) else {
            return nothing;
        };
        let runs = shape.width.div_ceil(CHECKSUM_TOKENS as u64);
        self.source.prefetch(columns.lengths.offsets + 4 * at, 8);
        self.source
            .prefetch(columns.token_checksums + 8 * runs * at, 8 * runs);
        self.source.prefetch(columns.checksum + 8 * at, 8);
        self.source
            .address(columns.tokens + 4 * (shape.width * at + part as u64))
    }

    /// Stored tokens of a row, and the bytes read for them.
    pub fn tokens<'a>(
        &'a self,
        row: u64,
        part: Range<usize>,
        scratch: &'a mut Scratch,
    ) -> Result<(&'a [i32], u64), String> {
        let (columns, at) = self.batch(row)?;
        debug_assert!(at < columns.rows);
        let from = columns.tokens + 4 * (self.shape()?.width * at + part.start as u64);
        let range = from..from + 4 * part.len() as u64;
        let (bytes, read) = self
            .source
            .view(range, scratch)
            .map_err(|error| format!("{}: sequence {row}: {error}", self.name))?;
        // SAFETY: any bits are a valid i32.
        let (head, tokens, tail) = unsafe { bytes.align_to::<i32>() };
        if !head.is_empty() || !tail.is_empty() {
            return Err(format!(
                "{}: sequence {row}: its tokens are not aligned",
                self.name
            ));
        }
        Ok((tokens, read))
    }
}

/// An open shard, as the loader holds it.
#[pyclass(module = "curate_kernels", frozen)]
pub struct ShardFile {
    pub shard: Arc<Shard>,
}

#[pymethods]
impl ShardFile {
    /// Open a file. `size` and `footer_checksum` are those of the manifest.
    #[new]
    #[pyo3(signature = (path, *, name, size, footer_checksum = None, direct = false, fetch = None))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        name: String,
        size: u64,
        footer_checksum: Option<String>,
        direct: bool,
        fetch: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let opened = match fetch {
            Some(function) => Ok((Source::Fetched(function), size)),
            None => py.detach(|| Source::open(&path, direct)),
        };
        let (source, found) = opened.map_err(|error| {
            pyo3::exceptions::PyOSError::new_err((
                error.raw_os_error().unwrap_or(0),
                error.to_string(),
            ))
        })?;
        if found != size {
            let what = if found < size {
                "truncated"
            } else {
                "longer than written"
            };
            return Err(PyValueError::new_err(format!(
                "{name}: {what}: {found} bytes, the manifest says {size}: fetch it again or rerun the write phase"
            )));
        }
        let shard = py
            .detach(|| Shard::open(name, source, size, footer_checksum.as_deref()))
            .map_err(PyValueError::new_err)?;
        Ok(Self {
            shard: Arc::new(shard),
        })
    }

    /// A file of the footer alone, which Arrow can read the schema from.
    fn schema_file<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let footer = &self.shard.footer;
        let mut out = b"ARROW1\0\0".to_vec();
        out.extend_from_slice(footer);
        out.extend_from_slice(&(footer.len() as u32).to_le_bytes());
        out.extend_from_slice(MAGIC);
        PyBytes::new(py, &out)
    }

    /// Say what the header and the manifest say, before anything is read.
    #[pyo3(signature = (*, sequences, batch_sequences, sequence_length))]
    fn expect(&self, sequences: u64, batch_sequences: u64, sequence_length: u64) -> PyResult<()> {
        let shard = &self.shard;
        if batch_sequences == 0
            || sequence_length == 0
            || sequence_length > i32::MAX as u64
            || sequences > 1 << 40
        {
            return Err(PyValueError::new_err(format!(
                "{}: sizes that make no sense",
                shard.name
            )));
        }
        let batches = sequences.div_ceil(batch_sequences);
        if shard.blocks.len() as u64 != batches {
            return Err(PyValueError::new_err(format!(
                "{}: {} record batches, but {sequences} sequences make {batches}: \
                 the manifest and the shard do not belong together",
                shard.name,
                shard.blocks.len()
            )));
        }
        if batch_sequences.checked_mul(4 * sequence_length).is_none() {
            return Err(PyValueError::new_err(format!(
                "{}: sizes that make no sense",
                shard.name
            )));
        }
        let _ = shard.shape.set(Shape {
            width: sequence_length,
            batch_rows: batch_sequences,
            rows: sequences,
        });
        Ok(())
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<ShardFile>()
}
