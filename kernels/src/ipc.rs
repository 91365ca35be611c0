//! The framing of a shard: an Arrow IPC file whose record batch bodies begin at aligned file offsets.
//!
//! The format lets a message's metadata be followed by any number of zeros: its length prefix and the footer's
//! block count them, and every reader skips them. No writer offers that, so the messages are made here, from
//! the types of the `arrow-ipc` crate. Only framing: a batch's buffers are written by the caller, as they are.

use arrow_array::{Array, RecordBatch};
use arrow_data::ArrayData;
use arrow_ipc::convert::IpcSchemaEncoder;
use arrow_ipc::{
    Block, Buffer, FieldNode, FooterBuilder, MessageBuilder, MessageHeader, MetadataVersion,
    RecordBatchBuilder,
};
use arrow_pyarrow::FromPyArrow;
use arrow_schema::{DataType, Schema};
use flatbuffers::FlatBufferBuilder;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::digest::xxh3_64;

const MAGIC: &[u8; 6] = b"ARROW1";
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Continuation marker and length.
const PREFIX: usize = 8;
/// Every buffer of a body begins at a multiple of this.
const BUFFER_ALIGNMENT: usize = 64;
/// A body ends in this many zeros or more and is a multiple of it: a device may round its last read up.
const TAIL: usize = 512;

fn message(
    header: MessageHeader,
    body: usize,
    build: impl FnOnce(
        &mut FlatBufferBuilder<'static>,
    ) -> flatbuffers::WIPOffset<flatbuffers::UnionWIPOffset>,
) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let content = build(&mut builder);
    let mut table = MessageBuilder::new(&mut builder);
    table.add_version(MetadataVersion::V5);
    table.add_header_type(header);
    table.add_bodyLength(body as i64);
    table.add_header(content);
    let root = table.finish();
    builder.finish(root, None);
    builder.finished_data().to_vec()
}

/// A message with its prefix, filled up with zeros so that what follows begins at a multiple of `alignment`.
fn framed(flatbuffer: &[u8], position: u64, alignment: u64) -> PyResult<Vec<u8>> {
    let end = position + (PREFIX + flatbuffer.len()) as u64;
    let size = (end.next_multiple_of(alignment) - position) as usize;
    let length = i32::try_from(size - PREFIX)
        .map_err(|_| PyValueError::new_err("a message of 2 GiB or more"))?;
    let mut out = Vec::with_capacity(size);
    out.extend_from_slice(&CONTINUATION);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(flatbuffer);
    out.resize(size, 0);
    Ok(out)
}

/// Nodes and buffer sizes of a column, depth first; validity bitmaps are left out.
fn walk(
    data: &ArrayData,
    nodes: &mut Vec<FieldNode>,
    sizes: &mut Vec<usize>,
) -> Result<(), String> {
    if data.offset() != 0 || data.null_count() != 0 {
        return Err("it is a slice, or holds nulls".to_owned());
    }
    nodes.push(FieldNode::new(data.len() as i64, 0));
    sizes.push(0);
    match data.data_type() {
        DataType::List(_) => sizes.push(4 * (data.len() + 1)),
        DataType::FixedSizeList(..) => {}
        kind => {
            let width = match kind {
                DataType::FixedSizeBinary(width) => Some(*width as usize),
                kind => kind.primitive_width(),
            };
            let width = width.ok_or_else(|| format!("shards have no columns of {kind}"))?;
            sizes.push(width * data.len());
        }
    }
    data.child_data()
        .iter()
        .try_for_each(|child| walk(child, nodes, sizes))
}

/// The bytes ahead of a body; the size of each buffer and of the zeros that follow it.
type BatchFrame<'py> = (Bound<'py, PyBytes>, Vec<(usize, usize)>);

/// Where a shard file's parts begin, while it is written from front to back.
#[pyclass(module = "curate_kernels")]
struct ShardFraming {
    schema: Schema,
    alignment: u64,
    position: u64,
    blocks: Vec<Block>,
}

#[pymethods]
impl ShardFraming {
    #[new]
    #[pyo3(signature = (schema, *, alignment))]
    fn new(schema: &Bound<'_, PyAny>, alignment: u64) -> PyResult<Self> {
        if !alignment.is_power_of_two() || !(64..=1 << 30).contains(&alignment) {
            return Err(PyValueError::new_err(format!(
                "alignment {alignment} is not a power of two in 64..=2^30"
            )));
        }
        Ok(Self {
            schema: Schema::from_pyarrow_bound(schema)?,
            alignment,
            position: 0,
            blocks: Vec::new(),
        })
    }

    fn start<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let schema = message(MessageHeader::Schema, 0, |builder| {
            IpcSchemaEncoder::new()
                .schema_to_fb_offset(builder, &self.schema)
                .as_union_value()
        });
        let mut out = MAGIC.to_vec();
        out.resize(8, 0);
        out.extend(framed(&schema, out.len() as u64, BUFFER_ALIGNMENT as u64)?);
        self.position = out.len() as u64;
        Ok(PyBytes::new(py, &out))
    }

    /// The message ahead of a batch's body, and (size, zeros that follow) of each buffer, depth first.
    fn batch<'py>(
        &mut self,
        py: Python<'py>,
        batch: &Bound<'py, PyAny>,
    ) -> PyResult<BatchFrame<'py>> {
        let batch = RecordBatch::from_pyarrow_bound(batch)?;
        if batch.schema().fields() != self.schema.fields() {
            return Err(PyValueError::new_err(
                "the batch's columns are not the schema's",
            ));
        }
        let (mut nodes, mut sizes) = (Vec::new(), Vec::new());
        for (field, column) in self.schema.fields().iter().zip(batch.columns()) {
            walk(&column.to_data(), &mut nodes, &mut sizes)
                .map_err(|error| PyValueError::new_err(format!("{}: {error}", field.name())))?;
        }
        let mut buffers = Vec::with_capacity(sizes.len());
        let mut pieces = Vec::with_capacity(sizes.len());
        let mut body = 0;
        for &size in &sizes {
            buffers.push(Buffer::new(body as i64, size as i64));
            let end = (body + size).next_multiple_of(BUFFER_ALIGNMENT);
            pieces.push((size, end - body - size));
            body = end;
        }
        let end = (body + TAIL).next_multiple_of(TAIL);
        if let Some(last) = pieces.last_mut() {
            last.1 += end - body;
        }
        let metadata = message(MessageHeader::RecordBatch, end, |builder| {
            let nodes = builder.create_vector(&nodes);
            let buffers = builder.create_vector(&buffers);
            let mut table = RecordBatchBuilder::new(builder);
            table.add_length(batch.num_rows() as i64);
            table.add_nodes(nodes);
            table.add_buffers(buffers);
            table.finish().as_union_value()
        });
        let prefix = framed(&metadata, self.position, self.alignment)?;
        self.blocks.push(Block::new(
            self.position as i64,
            prefix.len() as i32,
            end as i64,
        ));
        self.position += (prefix.len() + end) as u64;
        Ok((PyBytes::new(py, &prefix), pieces))
    }

    /// The end of the file, and the checksum of its footer.
    fn finish<'py>(&mut self, py: Python<'py>) -> PyResult<(Bound<'py, PyBytes>, String)> {
        let mut builder = FlatBufferBuilder::new();
        let schema = IpcSchemaEncoder::new().schema_to_fb_offset(&mut builder, &self.schema);
        let dictionaries = builder.create_vector::<Block>(&[]);
        let blocks = builder.create_vector(&self.blocks);
        let mut table = FooterBuilder::new(&mut builder);
        table.add_version(MetadataVersion::V5);
        table.add_schema(schema);
        table.add_dictionaries(dictionaries);
        table.add_recordBatches(blocks);
        let root = table.finish();
        builder.finish(root, None);
        let footer = builder.finished_data();
        let length = i32::try_from(footer.len())
            .map_err(|_| PyValueError::new_err("a footer of 2 GiB or more"))?;
        let mut out = CONTINUATION.to_vec();
        out.extend_from_slice(&0i32.to_le_bytes());
        out.extend_from_slice(footer);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(MAGIC);
        let checksum = format!("xxh3_64:{:016x}", xxh3_64(footer));
        Ok((PyBytes::new(py, &out), checksum))
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<ShardFraming>()
}
