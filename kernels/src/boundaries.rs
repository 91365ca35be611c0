//! Boundary tables of packed sequences, in the conventions of the trainers, and `expand` for arrays without
//! shards.
//!
//! The tables are small (one entry per document); what they save is a Python loop over documents per batch.

use std::sync::Arc;

use arrow_array::types::Float32Type;
use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, ListArray, PrimitiveArray, make_array};
use arrow_data::ArrayData;
use arrow_pyarrow::FromPyArrow;
use pyo3::exceptions::{PyMemoryError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrow::{numbers, to_python};
use crate::expand::{Documents, Index, Outputs};
use crate::layout;

/// `document_lengths`, checked: the lengths of the documents of each sequence.
struct Lengths {
    array: ListArray,
    values: Int32Array,
    width: i32,
    multiple: i32,
}

impl Lengths {
    fn new(lengths: &Bound<'_, PyAny>, width: i64, multiple: i64) -> PyResult<Self> {
        let width = layout::width(width)?;
        let multiple = i32::try_from(multiple)
            .ok()
            .filter(|multiple| (1..=width).contains(multiple))
            .ok_or_else(|| {
                PyValueError::new_err(format!("pad_documents_to {multiple} is not in 1..={width}"))
            })?;
        // Arrow checks list offsets on import, with an error of its own.
        let imported = ArrayData::from_pyarrow_bound(lengths).map_err(|error| {
            if error.is_instance_of::<PyTypeError>(lengths.py()) {
                return error;
            }
            PyValueError::new_err(format!("document_lengths is broken: {error}"))
        })?;
        let array = make_array(imported);
        let array = array
            .as_any()
            .downcast_ref::<ListArray>()
            .cloned()
            .ok_or_else(|| {
                PyTypeError::new_err(format!("expected list<int32>, got {}", array.data_type()))
            })?;
        let values = array
            .values()
            .as_any()
            .downcast_ref::<Int32Array>()
            .filter(|values| values.null_count() == 0 && array.null_count() == 0)
            .cloned()
            .ok_or_else(|| {
                PyValueError::new_err("document_lengths must be list<int32> without nulls")
            })?;
        Ok(Self {
            array,
            values,
            width,
            multiple,
        })
    }

    fn rows(&self) -> usize {
        self.array.len()
    }

    /// Call `each` with the documents of every sequence.
    fn each(
        &self,
        mut each: impl FnMut(usize, &[i32], &Documents) -> Result<(), String>,
    ) -> PyResult<()> {
        let mut documents = Documents::default();
        for (row, bounds) in self.array.value_offsets().windows(2).enumerate() {
            let lengths = usize::try_from(bounds[0])
                .ok()
                .zip(usize::try_from(bounds[1]).ok())
                .and_then(|(from, to)| self.values.values().get(from..to))
                .ok_or_else(|| "broken list offsets".to_owned());
            lengths
                .and_then(|lengths| {
                    documents.set(lengths, self.multiple, self.width)?;
                    each(row, lengths, &documents)
                })
                .map_err(|error| PyValueError::new_err(format!("sequence {row}: {error}")))?;
        }
        Ok(())
    }
}

/// `size` values to be written over.
fn room<T: Copy + Default>(wanted: bool, size: usize) -> PyResult<Vec<T>> {
    let mut out = Vec::new();
    if wanted {
        out.try_reserve_exact(size)
            .map_err(|_| PyMemoryError::new_err(format!("no memory for {size} values")))?;
        out.resize(size, T::default());
    }
    Ok(out)
}

fn given<T>(values: &mut [T]) -> Option<&mut [T]> {
    (!values.is_empty()).then_some(values)
}

const FIELDS: [&str; 4] = ["positions", "labels", "loss_mask", "segment_ids"];

fn expanded<T: Index + Default>(
    lengths: &Lengths,
    tokens: Option<&Int32Array>,
    fields: &[String],
    ignore: i32,
    array: fn(Vec<T>) -> ArrayRef,
) -> PyResult<Vec<(&'static str, ArrayRef)>> {
    let width = lengths.width as usize;
    let size = width
        .checked_mul(lengths.rows())
        .ok_or_else(|| PyMemoryError::new_err("too many tokens"))?;
    let wants = |name: &str| fields.iter().any(|field| field == name);
    let mut positions = room::<T>(wants("positions"), size)?;
    let mut labels = room::<T>(wants("labels"), size)?;
    let mut segment_ids = room::<T>(wants("segment_ids"), size)?;
    let mut loss_mask = room::<f32>(wants("loss_mask"), size)?;
    let zeros = if tokens.is_none() {
        vec![0; width]
    } else {
        Vec::new()
    };
    let mut outputs = Outputs {
        tokens: None,
        positions: given(&mut positions),
        labels: given(&mut labels),
        segment_ids: given(&mut segment_ids),
        loss_mask: given(&mut loss_mask),
        ignore,
    };
    lengths.each(|row, _, documents| {
        let sequence = match tokens {
            Some(tokens) => &tokens.values()[row * width..][..width],
            None => &zeros[..],
        };
        outputs.fill(row * width, sequence, 0, None, documents);
        Ok(())
    })?;
    let mut out = Vec::new();
    for (name, values) in [
        ("positions", positions),
        ("labels", labels),
        ("segment_ids", segment_ids),
    ] {
        if wants(name) {
            out.push((name, array(values)));
        }
    }
    if wants("loss_mask") {
        out.push((
            "loss_mask",
            Arc::new(PrimitiveArray::<Float32Type>::from(loss_mask)) as ArrayRef,
        ));
    }
    Ok(out)
}

#[pyfunction]
#[pyo3(signature = (tokens, document_lengths, *, sequence_length, pad_documents_to = 1,
    fields = vec!["positions".to_owned()], ignore_label = -100, dtype = "int32"))]
#[allow(clippy::too_many_arguments)] // options of one call
fn expand<'py>(
    py: Python<'py>,
    tokens: Option<Bound<'py, PyAny>>,
    document_lengths: &Bound<'py, PyAny>,
    sequence_length: i64,
    pad_documents_to: i64,
    fields: Vec<String>,
    ignore_label: i32,
    dtype: &str,
) -> PyResult<Bound<'py, PyDict>> {
    let lengths = Lengths::new(document_lengths, sequence_length, pad_documents_to)?;
    if let Some(field) = fields
        .iter()
        .find(|field| !FIELDS.contains(&field.as_str()))
    {
        return Err(PyValueError::new_err(format!(
            "field {field:?} is not one of {}",
            FIELDS.join(", ")
        )));
    }
    let tokens = tokens
        .map(|tokens| numbers::<arrow_array::types::Int32Type>(&tokens))
        .transpose()?;
    if let Some(tokens) = &tokens {
        if tokens.null_count() > 0
            || Some(tokens.len()) != lengths.rows().checked_mul(lengths.width as usize)
        {
            return Err(PyValueError::new_err(format!(
                "{} tokens ({} nulls) are not {} sequences of {}",
                tokens.len(),
                tokens.null_count(),
                lengths.rows(),
                lengths.width
            )));
        }
    } else if fields.iter().any(|field| field == "labels") {
        return Err(PyValueError::new_err(
            "labels are made from the tokens: give them",
        ));
    }
    let columns = py.detach(|| match dtype {
        "int32" => expanded::<i32>(&lengths, tokens.as_ref(), &fields, ignore_label, |values| {
            Arc::new(Int32Array::from(values))
        }),
        "int64" => expanded::<i64>(&lengths, tokens.as_ref(), &fields, ignore_label, |values| {
            Arc::new(Int64Array::from(values))
        }),
        _ => Err(PyValueError::new_err(format!(
            "dtype {dtype:?} is neither int32 nor int64"
        ))),
    })?;
    let out = PyDict::new(py);
    for (name, column) in &columns {
        out.set_item(name, to_python(py, column)?)?;
    }
    Ok(out)
}

#[pyfunction]
#[pyo3(signature = (document_lengths, sequence_length, *, convention, pad_documents_to = 1, maximum = 128))]
fn boundary_table<'py>(
    py: Python<'py>,
    document_lengths: &Bound<'py, PyAny>,
    sequence_length: i64,
    convention: &str,
    pad_documents_to: i64,
    maximum: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let lengths = Lengths::new(document_lengths, sequence_length, pad_documents_to)?;
    let width = i64::from(lengths.width);
    let mut ends: Vec<i64> = Vec::new();
    let table: ArrayRef = match convention {
        "ascend" => py.detach(|| {
            lengths.each(|row, _, documents| {
                ends.extend((0..documents.len()).map(|i| row as i64 * width + i64::from(documents.segment_end(i))));
                Ok(())
            })?;
            Ok::<_, PyErr>(Arc::new(Int64Array::from(ends)) as ArrayRef)
        })?,
        "transformer_engine" => py.detach(|| {
            i32::try_from(width * lengths.rows() as i64).map_err(|_| {
                PyValueError::new_err(format!(
                    "{} sequences of {width} tokens have ends beyond int32: use a smaller batch",
                    lengths.rows()
                ))
            })?;
            let mut starts = vec![0i32];
            lengths.each(|row, _, documents| {
                let first = row as i32 * lengths.width;
                starts.extend((0..documents.len()).map(|i| first + documents.segment_end(i)));
                Ok(())
            })?;
            Ok::<_, PyErr>(Arc::new(Int32Array::from(starts)) as ArrayRef)
        })?,
        "mindformers" => py.detach(|| {
            let mut fixed = room::<i32>(true, lengths.rows().saturating_mul(maximum))?;
            fixed.fill(lengths.width);
            lengths.each(|row, _, documents| {
                if documents.len() > maximum {
                    return Err(format!(
                        "{} documents do not fit in a boundary table of {maximum}: raise maximum_documents, or \
                         write shards with at most {maximum} documents per sequence",
                        documents.len()
                    ));
                }
                for i in 0..documents.len() {
                    fixed[row * maximum + i] = documents.segment_end(i);
                }
                Ok(())
            })?;
            Ok::<_, PyErr>(Arc::new(Int32Array::from(fixed)) as ArrayRef)
        })?,
        _ => {
            return Err(PyValueError::new_err(format!(
                "convention {convention:?} is not one of ascend, transformer_engine, mindformers"
            )));
        }
    };
    to_python(py, &table)
}

#[pyfunction]
#[pyo3(signature = (document_lengths, sequence_length, *, pad_documents_to = 1, ratio))]
fn block_starts<'py>(
    py: Python<'py>,
    document_lengths: &Bound<'py, PyAny>,
    sequence_length: i64,
    pad_documents_to: i64,
    ratio: i64,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let lengths = Lengths::new(document_lengths, sequence_length, pad_documents_to)?;
    let ratio = i32::try_from(ratio)
        .ok()
        .filter(|&ratio| ratio > 0)
        .ok_or_else(|| {
            PyValueError::new_err(format!("ratio {ratio} is not in 1..={}", i32::MAX))
        })?;
    let (mut starts, mut counts): (Vec<i32>, Vec<i32>) = (Vec::new(), Vec::new());
    py.detach(|| {
        lengths.each(|_, real, documents| {
            for (&start, &length) in documents.starts.iter().zip(real) {
                let blocks = length / ratio;
                counts.push(blocks);
                starts.extend((0..blocks).map(|block| start + block * ratio));
            }
            Ok(())
        })
    })?;
    let (starts, counts): (ArrayRef, ArrayRef) = (
        Arc::new(Int32Array::from(starts)),
        Arc::new(Int32Array::from(counts)),
    );
    Ok((to_python(py, &starts)?, to_python(py, &counts)?))
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(expand, module)?)?;
    module.add_function(wrap_pyfunction!(boundary_table, module)?)?;
    module.add_function(wrap_pyfunction!(block_starts, module)?)
}
