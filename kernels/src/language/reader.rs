//! A model file read front to back: little-endian numbers, every size checked against what is left.
//!
//! Nothing is allocated for a size that the file cannot back with bytes, so a hostile header costs no
//! more memory than the file is long.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use pyo3::exceptions::PyValueError;
use pyo3::{PyErr, PyResult};

const CHUNK: usize = 1 << 16;

pub struct Reader {
    file: BufReader<File>,
    name: String,
    length: u64,
    left: u64,
}

impl Reader {
    /// Raises `OSError` where the file cannot be opened.
    pub fn open(path: &Path) -> PyResult<Self> {
        let name = path.display().to_string();
        let named = |error: std::io::Error| {
            let text = format!("{name}: cannot read the model: {error}");
            PyErr::from(std::io::Error::new(error.kind(), text))
        };
        let file = File::open(path).map_err(named)?;
        let about = file.metadata().map_err(named)?;
        let length = if about.is_file() { about.len() } else { 0 };
        Ok(Self {
            file: BufReader::with_capacity(CHUNK, file),
            name,
            length,
            left: length,
        })
    }

    /// The error for a file that is not what it should be: what is wrong, and where.
    pub fn wrong(&self, what: impl std::fmt::Display) -> PyErr {
        PyValueError::new_err(format!(
            "{}: not a usable fastText model: {what} (at byte {} of {})",
            self.name,
            self.length - self.left,
            self.length
        ))
    }

    fn fill(&mut self, into: &mut [u8], what: &str) -> PyResult<()> {
        if into.len() as u64 > self.left {
            return Err(self.wrong(format!("the file ends inside {what}")));
        }
        if let Err(error) = self.file.read_exact(into) {
            return Err(self.wrong(format!("cannot read {what}: {error}")));
        }
        self.left -= into.len() as u64;
        Ok(())
    }

    fn array<const N: usize>(&mut self, what: &str) -> PyResult<[u8; N]> {
        let mut out = [0; N];
        self.fill(&mut out, what)?;
        Ok(out)
    }

    pub fn i32(&mut self, what: &str) -> PyResult<i32> {
        Ok(i32::from_le_bytes(self.array(what)?))
    }

    pub fn i64(&mut self, what: &str) -> PyResult<i64> {
        Ok(i64::from_le_bytes(self.array(what)?))
    }

    pub fn f64(&mut self, what: &str) -> PyResult<f64> {
        Ok(f64::from_le_bytes(self.array(what)?))
    }

    pub fn u8(&mut self, what: &str) -> PyResult<u8> {
        Ok(self.array::<1>(what)?[0])
    }

    /// A C++ `bool` as written by `ostream::write`.
    pub fn flag(&mut self, what: &str) -> PyResult<bool> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.wrong(format!("{what} is {other}, not 0 or 1"))),
        }
    }

    /// A count of things that take at least `bytes_each` bytes of this file each.
    pub fn count(&self, value: i64, bytes_each: u64, what: &str) -> PyResult<usize> {
        let fits = u64::try_from(value)
            .ok()
            .and_then(|count| count.checked_mul(bytes_each))
            .is_some_and(|bytes| bytes <= self.left);
        if fits {
            Ok(value as usize)
        } else {
            Err(self.wrong(format!("{what} is {value}, with {} bytes left", self.left)))
        }
    }

    /// Bytes up to a NUL, which is taken and not returned, appended to `into`.
    pub fn word(&mut self, into: &mut Vec<u8>) -> PyResult<()> {
        loop {
            match self.u8("a dictionary entry")? {
                0 => return Ok(()),
                byte => into.push(byte),
            }
        }
    }

    pub fn bytes(&mut self, count: usize, what: &str) -> PyResult<Vec<u8>> {
        let count = self.count(count as i64, 1, what)?;
        let mut out = vec![0; count];
        self.fill(&mut out, what)?;
        Ok(out)
    }

    /// Finite floats, `row` of them at a time, each row padded with zeros to `stride`.
    pub fn rows(
        &mut self,
        rows: usize,
        row: usize,
        stride: usize,
        what: &str,
    ) -> PyResult<Vec<f32>> {
        let total = (rows as i64).saturating_mul(row as i64);
        self.count(total, 4, what)?;
        let mut out = vec![0f32; rows * stride];
        let mut raw = vec![0u8; row * 4];
        for values in out.chunks_exact_mut(stride.max(1)) {
            self.fill(&mut raw, what)?;
            for (value, bytes) in values.iter_mut().zip(raw.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*bytes);
            }
            if !values.iter().all(|value| value.is_finite()) {
                return Err(self.wrong(format!("{what} holds a number that is not finite")));
            }
        }
        Ok(out)
    }

    pub fn floats(&mut self, count: usize, what: &str) -> PyResult<Vec<f32>> {
        self.rows(1, count, count, what)
    }

    /// What follows the last part of a model is not part of one.
    pub fn end(&self) -> PyResult<()> {
        match self.left {
            0 => Ok(()),
            left => Err(self.wrong(format!("{left} bytes follow the last matrix"))),
        }
    }
}
