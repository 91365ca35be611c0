//! Fill in the middle: which documents are split and where, and the final ids of every document
//! (Bavarian et al. 2022, arXiv:2207.14255 §3, prefix-suffix-middle order; a document is split before
//! packing, at two characters).
//!
//! Splitting copies no text: pieces are new offsets into the same bytes. Assembling is one copy of each
//! token. Every choice comes from (document id, seed), so neither batches nor workers can change it.

use std::sync::Arc;

use arrow_array::types::{Float64Type, Int64Type, UInt8Type, UInt32Type};
use arrow_array::{
    Array, ArrayRef, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array, LargeListArray,
    LargeStringArray, UInt8Array, UInt32Array,
};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arrow::{fixed_binary, large_strings, numbers, to_python};
use crate::identity::{ID_BYTES, keyed_hash, uniform};

/// A document of fewer characters stays whole, so that no piece is empty.
const MIN_CHARACTERS: u64 = 3;
const WHOLE: u8 = 1;
const SPLIT: u8 = 3;

fn starts_a_character(byte: &u8) -> bool {
    byte & 0xC0 != 0x80
}

/// A number below `bound`, from 64 uniform bits.
fn below(bits: u64, bound: u64) -> u64 {
    ((u128::from(bits) * u128::from(bound)) >> 64) as u64
}

/// The byte offsets of a document's two cuts, uniform over pairs of different inner character
/// boundaries; `None` where it stays whole.
fn cuts(text: &[u8], id: &[u8], rate: f64, seed: u64) -> Option<(usize, usize)> {
    if uniform(id, seed, "fim") >= rate {
        return None;
    }
    let characters = text.iter().filter(|byte| starts_a_character(byte)).count() as u64;
    if characters < MIN_CHARACTERS {
        return None;
    }
    // Boundaries 1 to characters - 1: one of them, then one of the others.
    let one = 1 + below(keyed_hash(id, seed, "fim cut"), characters - 1);
    let other = 1 + below(keyed_hash(id, seed, "fim other cut"), characters - 2);
    let other = if other >= one { other + 1 } else { other };
    let (first, second) = (one.min(other) as usize, one.max(other) as usize);
    let mut starts = (0..text.len()).filter(|&at| starts_a_character(&text[at]));
    let start = starts.nth(first)?;
    Some((start, starts.nth(second - first - 1)?))
}

fn pieces(
    texts: &LargeStringArray,
    ids: &FixedSizeBinaryArray,
    rates: &Float64Array,
    seed: u64,
) -> Result<(LargeStringArray, UInt8Array), String> {
    if texts.len() != ids.len() || texts.len() != rates.len() {
        return Err(format!(
            "{} texts, {} ids and {} rates: one of each per document",
            texts.len(),
            ids.len(),
            rates.len()
        ));
    }
    if texts.null_count() + ids.null_count() + rates.null_count() > 0 {
        return Err("null among the texts, ids or rates: drop such documents first".to_string());
    }
    if let Some(rate) = rates
        .values()
        .iter()
        .find(|rate| !(0.0..=1.0).contains(*rate))
    {
        return Err(format!("rate {rate} is not a probability"));
    }
    let mut ends = Vec::with_capacity(texts.len() + 1);
    let mut counts = Vec::with_capacity(texts.len());
    let offsets = texts.value_offsets();
    ends.push(0);
    for row in 0..texts.len() {
        let start = offsets[row] - offsets[0];
        let cuts = cuts(
            texts.value(row).as_bytes(),
            ids.value(row),
            rates.value(row),
            seed,
        );
        if let Some((first, second)) = cuts {
            ends.extend([start + first as i64, start + second as i64]);
        }
        ends.push(offsets[row + 1] - offsets[0]);
        counts.push(if cuts.is_some() { SPLIT } else { WHOLE });
    }
    let (from, to) = (offsets[0] as usize, offsets[texts.len()] as usize);
    let bytes = texts.values().slice_with_length(from, to - from);
    let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
    let split = LargeStringArray::try_new(ends, bytes, None).map_err(|error| error.to_string())?;
    Ok((split, UInt8Array::from(counts)))
}

/// Ids put around and between a document's pieces.
struct Marks {
    bos: Option<i32>,
    eos: Option<i32>,
    fim: Option<[i32; 3]>, // begin, hole, end
}

impl Marks {
    fn check(&self) -> Result<(), String> {
        let given = [self.bos, self.eos].into_iter().flatten();
        match given
            .chain(self.fim.into_iter().flatten())
            .find(|&id| id < 0)
        {
            Some(id) => Err(format!("{id} is no token id")),
            None => Ok(()),
        }
    }
}

/// Where each piece's tokens begin, checked; there is one offset more than there are pieces.
fn piece_offsets(offsets: &Int64Array, pieces: &UInt8Array, tokens: usize) -> Result<(), String> {
    if offsets.null_count() + pieces.null_count() > 0 {
        return Err("null among the offsets or pieces".to_string());
    }
    if let Some(count) = pieces.values().iter().find(|&&n| n != WHOLE && n != SPLIT) {
        return Err(format!(
            "a document of {count} pieces: it has {WHOLE} or {SPLIT}"
        ));
    }
    let total: usize = pieces
        .values()
        .iter()
        .map(|&count| usize::from(count))
        .sum();
    let values = offsets.values();
    if values.len() != total + 1 {
        return Err(format!(
            "{total} pieces need {} offsets, not {}",
            total + 1,
            values.len()
        ));
    }
    let in_order = values.windows(2).all(|pair| pair[0] <= pair[1]);
    if values[0] < 0 || values[total] as u64 > tokens as u64 || !in_order {
        return Err(format!(
            "the offsets do not ascend within the {tokens} tokens"
        ));
    }
    Ok(())
}

fn assemble(
    tokens: &UInt32Array,
    offsets: &Int64Array,
    pieces: &UInt8Array,
    marks: &Marks,
) -> Result<LargeListArray, String> {
    marks.check()?;
    piece_offsets(offsets, pieces, tokens.len())?;
    if tokens.null_count() > 0 {
        return Err("null among the tokens".to_string());
    }
    let (tokens, offsets) = (tokens.values(), offsets.values());
    if tokens.iter().fold(0, |all, token| all | token) > i32::MAX as u32 {
        return Err("a token id does not fit int32".to_string());
    }
    let split = pieces
        .values()
        .iter()
        .filter(|&&count| count == SPLIT)
        .count();
    let around = usize::from(marks.bos.is_some()) + usize::from(marks.eos.is_some());
    let kept = (offsets[offsets.len() - 1] - offsets[0]) as usize;
    let mut out: Vec<i32> = Vec::with_capacity(kept + around * pieces.len() + 3 * split);
    let mut ends = Vec::with_capacity(pieces.len() + 1);
    ends.push(0i64);
    let mut at = 0;
    for &count in pieces.values() {
        let piece = |index: usize| {
            let (from, to) = (offsets[at + index], offsets[at + index + 1]);
            tokens[from as usize..to as usize]
                .iter()
                .map(|&token| token as i32)
        };
        out.extend(marks.bos);
        if count == SPLIT {
            let [begin, hole, end] = marks.fim.ok_or("a split document, but no FIM ids")?;
            out.push(begin);
            out.extend(piece(0));
            out.push(hole);
            out.extend(piece(2));
            out.push(end);
            out.extend(piece(1));
        } else {
            out.extend(piece(0));
        }
        out.extend(marks.eos);
        ends.push(out.len() as i64);
        at += usize::from(count);
    }
    let field = Arc::new(Field::new("item", DataType::Int32, true));
    let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
    LargeListArray::try_new(field, ends, Arc::new(Int32Array::from(out)), None)
        .map_err(|error| error.to_string())
}

#[pyfunction]
#[pyo3(signature = (texts, ids, rates, *, seed))]
#[allow(clippy::type_complexity)]
fn fim_pieces<'py>(
    py: Python<'py>,
    texts: &Bound<'py, PyAny>,
    ids: &Bound<'py, PyAny>,
    rates: &Bound<'py, PyAny>,
    seed: u64,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let (texts, ids) = (large_strings(texts)?, fixed_binary(ids, ID_BYTES)?);
    let rates = numbers::<Float64Type>(rates)?;
    let (texts, counts) = py
        .detach(|| pieces(&texts, &ids, &rates, seed))
        .map_err(PyValueError::new_err)?;
    let (texts, counts): (ArrayRef, ArrayRef) = (Arc::new(texts), Arc::new(counts));
    Ok((to_python(py, &texts)?, to_python(py, &counts)?))
}

#[pyfunction]
#[pyo3(signature = (tokens, offsets, pieces, *, bos, eos, fim_begin, fim_hole, fim_end))]
#[allow(clippy::too_many_arguments)]
fn assemble_documents<'py>(
    py: Python<'py>,
    tokens: &Bound<'py, PyAny>,
    offsets: &Bound<'py, PyAny>,
    pieces: &Bound<'py, PyAny>,
    bos: Option<i32>,
    eos: Option<i32>,
    fim_begin: Option<i32>,
    fim_hole: Option<i32>,
    fim_end: Option<i32>,
) -> PyResult<Bound<'py, PyAny>> {
    let tokens = numbers::<UInt32Type>(tokens)?;
    let offsets = numbers::<Int64Type>(offsets)?;
    let pieces = numbers::<UInt8Type>(pieces)?;
    let marks = Marks {
        bos,
        eos,
        fim: match (fim_begin, fim_hole, fim_end) {
            (Some(begin), Some(hole), Some(end)) => Some([begin, hole, end]),
            _ => None,
        },
    };
    let out = py
        .detach(|| assemble(&tokens, &offsets, &pieces, &marks))
        .map_err(PyValueError::new_err)?;
    let out: ArrayRef = Arc::new(out);
    to_python(py, &out)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(fim_pieces, module)?)?;
    module.add_function(wrap_pyfunction!(assemble_documents, module)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cuts_lie_inside_on_character_boundaries(text in ".{3,40}", id in any::<[u8; 16]>(), seed: u64) {
            let (first, second) = cuts(text.as_bytes(), &id, 1.0, seed).unwrap_or((0, 0));
            prop_assert!(0 < first && first < second && second < text.len());
            prop_assert!(text.is_char_boundary(first) && text.is_char_boundary(second));
        }
    }

    #[test]
    fn every_pair_of_cuts_is_as_likely() {
        // Four characters have three inner boundaries, hence three pairs.
        let mut seen = std::collections::BTreeMap::new();
        for id in 0u128..6000 {
            let pair = cuts(
                "aéb".repeat(2).as_bytes().split_at(5).0,
                &id.to_be_bytes(),
                1.0,
                7,
            );
            *seen.entry(pair).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 3);
        // 2000 expected of each, standard deviation 37.
        assert!(
            seen.values().all(|&count: &i32| (count - 2000).abs() < 185),
            "{seen:?}"
        );
    }
}
