//! The Arrow boundary: Python columns in, Python columns out, without a copy.

use arrow_array::types::ArrowPrimitiveType;
use arrow_array::{
    Array, ArrayRef, BooleanArray, FixedSizeBinaryArray, LargeStringArray, PrimitiveArray,
    StringArray, make_array,
};
use arrow_data::ArrayData;
use arrow_pyarrow::{FromPyArrow, ToPyArrow};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

fn array<A: Array + Clone + 'static>(value: &Bound<'_, PyAny>, expected: &str) -> PyResult<A> {
    let array = make_array(ArrayData::from_pyarrow_bound(value)?);
    array.as_any().downcast_ref::<A>().cloned().ok_or_else(|| {
        PyTypeError::new_err(format!("expected {expected}, got {}", array.data_type()))
    })
}

/// A `large_string` column.
pub fn large_strings(value: &Bound<'_, PyAny>) -> PyResult<LargeStringArray> {
    array(value, "a large_string array")
}

/// A `string` column.
pub fn strings(value: &Bound<'_, PyAny>) -> PyResult<StringArray> {
    array(value, "a string array")
}

/// A `bool` column.
pub fn booleans(value: &Bound<'_, PyAny>) -> PyResult<BooleanArray> {
    array(value, "a bool array")
}

/// A `fixed_size_binary(width)` column.
pub fn fixed_binary(value: &Bound<'_, PyAny>, width: i32) -> PyResult<FixedSizeBinaryArray> {
    let out: FixedSizeBinaryArray = array(value, "a fixed_size_binary array")?;
    if out.value_length() == width {
        Ok(out)
    } else {
        Err(PyTypeError::new_err(format!(
            "expected fixed_size_binary({width}), got fixed_size_binary({})",
            out.value_length()
        )))
    }
}

/// A column of numbers of one type.
pub fn numbers<T: ArrowPrimitiveType>(value: &Bound<'_, PyAny>) -> PyResult<PrimitiveArray<T>> {
    array(value, &format!("an array of {}", T::DATA_TYPE))
}

/// Hand a column to Python as a pyarrow array.
pub fn to_python<'py>(py: Python<'py>, array: &ArrayRef) -> PyResult<Bound<'py, PyAny>> {
    array.to_data().to_pyarrow(py)
}
