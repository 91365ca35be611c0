//! The two matrices of a model: dense float32, or product-quantised (Joulin et al. 2016,
//! "FastText.zip", arXiv:1612.03651 §3), which is expanded at load where that takes at most 64 MiB.
//!
//! `lid.176.ftz` becomes 50,000 x 16 floats, 3.2 MB. Dense rows are padded to 16 floats, so that adding
//! one is four 16-byte additions with the sum in registers.

use pyo3::PyResult;

use super::reader::Reader;

pub const LANES: usize = 16;
const EXPANDED_FLOATS: usize = 16 << 20;
const CENTROIDS: usize = 256; // one byte per code

pub enum Matrix {
    Dense {
        rows: usize,
        stride: usize,
        values: Vec<f32>,
    },
    Quantized {
        rows: usize,
        quantizer: Quantizer,
        norms: Option<Vec<f32>>,
    },
}

pub struct Quantizer {
    parts: usize,
    part: usize, // floats per sub-vector; the last may be shorter
    dim: usize,
    centroids: Vec<f32>,
    codes: Vec<u8>,
}

impl Quantizer {
    fn read(file: &mut Reader, codes: Vec<u8>, rows: usize, dim: usize) -> PyResult<Self> {
        let read_dim = file.i32("the quantizer's dimension")?;
        let parts = file.i32("the number of sub-quantizers")?;
        let part = file.i32("the sub-quantizer's width")?;
        let last = file.i32("the last sub-quantizer's width")?;
        let shape = usize::try_from(parts).ok().zip(usize::try_from(part).ok());
        let (Some((parts, part)), true) = (shape, read_dim as i64 == dim as i64) else {
            return Err(file.wrong(format!(
                "a quantizer of {parts} parts of {part} for {read_dim} dimensions, not {dim}"
            )));
        };
        let fits = parts >= 1
            && (1..=part).contains(&(last.max(0) as usize))
            && (parts - 1)
                .checked_mul(part)
                .and_then(|n| n.checked_add(last as usize))
                == Some(dim);
        if !fits || rows.checked_mul(parts) != Some(codes.len()) {
            return Err(file.wrong(format!(
                "a quantizer of {parts} parts of {part} (last {last}) does not fit {rows} x {dim} in {} codes",
                codes.len()
            )));
        }
        let centroids = file.floats(dim * CENTROIDS, "the centroids")?;
        Ok(Self {
            parts,
            part,
            dim,
            centroids,
            codes,
        })
    }

    /// The sub-vectors of a row, each with its first column.
    fn parts(&self, row: usize) -> impl Iterator<Item = (usize, &[f32])> {
        let codes = &self.codes[row * self.parts..(row + 1) * self.parts];
        codes.iter().enumerate().map(move |(index, &code)| {
            let width = self.part.min(self.dim - index * self.part);
            let start = index * CENTROIDS * self.part + code as usize * width;
            (index * self.part, &self.centroids[start..start + width])
        })
    }
}

impl Matrix {
    pub fn dense(file: &mut Reader, dim: usize, what: &str) -> PyResult<Self> {
        let (rows, stride) = (shape(file, dim, what)?, dim.next_multiple_of(LANES));
        let values = file.rows(rows, dim, stride, what)?;
        Ok(Self::Dense {
            rows,
            stride,
            values,
        })
    }

    pub fn quantized(file: &mut Reader, dim: usize, what: &str) -> PyResult<Self> {
        let with_norms = file.flag("the mark of quantised norms")?;
        let rows = shape(file, dim, what)?;
        let size = file.i32("the number of codes")?;
        let size = file.count(size.into(), 1, "the number of codes")?;
        let codes = file.bytes(size, "the codes")?;
        let quantizer = Quantizer::read(file, codes, rows, dim)?;
        let norms = if with_norms {
            let codes = file.bytes(rows, "the codes of the norms")?;
            let norms = Quantizer::read(file, codes, rows, 1)?;
            Some(
                (0..rows)
                    .map(|row| norms.parts(row).map(|(_, value)| value[0]).sum())
                    .collect(),
            )
        } else {
            None
        };
        let compact = Self::Quantized {
            rows,
            quantizer,
            norms,
        };
        let stride = dim.next_multiple_of(LANES);
        if rows.saturating_mul(stride) > EXPANDED_FLOATS {
            return Ok(compact);
        }
        let mut values = vec![0f32; rows * stride];
        for (row, into) in values.chunks_exact_mut(stride).enumerate() {
            compact.add_row(row, into);
        }
        Ok(Self::Dense {
            rows,
            stride,
            values,
        })
    }

    pub fn rows(&self) -> usize {
        match self {
            Self::Dense { rows, .. } | Self::Quantized { rows, .. } => *rows,
        }
    }

    pub fn add_row(&self, row: usize, into: &mut [f32]) {
        match self {
            Self::Dense { stride, values, .. } => {
                let from = &values[row * stride..(row + 1) * stride];
                into.iter_mut()
                    .zip(from)
                    .for_each(|(sum, value)| *sum += value);
            }
            Self::Quantized {
                quantizer, norms, ..
            } => {
                let norm = norms.as_ref().map_or(1.0, |norms| norms[row]);
                for (column, part) in quantizer.parts(row) {
                    let into = &mut into[column..column + part.len()];
                    into.iter_mut()
                        .zip(part)
                        .for_each(|(sum, value)| *sum += norm * value);
                }
            }
        }
    }

    /// Add rows to `into`, of the dimension padded to `LANES`.
    pub fn add_rows(&self, rows: &[u32], into: &mut [f32]) {
        let Self::Dense { stride, values, .. } = self else {
            rows.iter()
                .for_each(|&row| self.add_row(row as usize, into));
            return;
        };
        let (blocks, _) = into.as_chunks_mut::<LANES>();
        for (index, block) in blocks.iter_mut().enumerate() {
            let mut sum = *block;
            for &row in rows {
                let start = row as usize * stride + index * LANES;
                for (sum, value) in sum.iter_mut().zip(&values[start..start + LANES]) {
                    *sum += value;
                }
            }
            *block = sum;
        }
    }

    /// Add rows to two vectors of that length at once: the rows are read once.
    pub fn add_rows_twice(&self, rows: &[u32], first: &mut [f32], second: &mut [f32]) {
        let Self::Dense { stride, values, .. } = self else {
            self.add_rows(rows, first);
            return self.add_rows(rows, second);
        };
        let (first, _) = first.as_chunks_mut::<LANES>();
        let (second, _) = second.as_chunks_mut::<LANES>();
        for (index, (first, second)) in first.iter_mut().zip(second).enumerate() {
            let mut sums = (*first, *second);
            for &row in rows {
                let start = row as usize * stride + index * LANES;
                for (lane, value) in values[start..start + LANES].iter().enumerate() {
                    sums.0[lane] += value;
                    sums.1[lane] += value;
                }
            }
            (*first, *second) = sums;
        }
    }

    /// The product of a row and a vector of at least the dimension.
    pub fn dot_row(&self, row: usize, vector: &[f32]) -> f32 {
        let dot = |from: &[f32], vector: &[f32]| -> f32 {
            from.iter().zip(vector).map(|(a, b)| a * b).sum()
        };
        match self {
            Self::Dense { stride, values, .. } => {
                dot(&values[row * stride..(row + 1) * stride], vector)
            }
            Self::Quantized {
                quantizer, norms, ..
            } => {
                let norm = norms.as_ref().map_or(1.0, |norms| norms[row]);
                let parts = quantizer.parts(row);
                parts
                    .map(|(column, part)| norm * dot(part, &vector[column..]))
                    .sum()
            }
        }
    }
}

fn shape(file: &mut Reader, dim: usize, what: &str) -> PyResult<usize> {
    let (rows, columns) = (file.i64(what)?, file.i64(what)?);
    if columns != dim as i64 {
        return Err(file.wrong(format!("{what} has {columns} columns, not {dim}")));
    }
    file.count(rows, 1, "the number of rows")
}
