//! Native kernels of `curate`: everything that touches every byte or every token.
//!
//! Each module is one idea with its own `register`; this file only names them. Columns come in and
//! go out as Arrow arrays over the C data interface (no copy), and the GIL is released around all work.

use pyo3::prelude::*;

mod arrow;
mod boundaries;
mod clusters;
mod digest;
mod edits;
mod expand;
mod fim;
mod host_buffers;
mod identity;
mod ipc;
mod language;
mod layout;
mod minhash;
mod packing;
mod permutation;
mod preparation;
mod privacy;
mod read_row;
mod read_sequences;
mod shard_file;
mod shard_source;
mod stored_order;
mod text;
mod verify;

/// What the fuzz targets call (`fuzz/`).
#[cfg(feature = "fuzzing")]
pub mod fuzzing {
    pub use crate::edits::edited;
    pub use crate::privacy::fuzzing::Redaction;
    pub use crate::text::fuzzing::*;
}

#[pymodule]
fn curate_kernels(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    identity::register(module)?;
    text::register(module)?;
    edits::register(module)?;
    minhash::register(module)?;
    clusters::register(module)?;
    language::register(module)?;
    preparation::register(module)?;
    packing::register(module)?;
    layout::register(module)?;
    ipc::register(module)?;
    permutation::register(module)?;
    host_buffers::register(module)?;
    shard_file::register(module)?;
    read_sequences::register(module)?;
    boundaries::register(module)?;
    verify::register(module)?;
    privacy::register(module)?;
    fim::register(module)?;
    Ok(())
}
