//! Host buffers for batches: anonymous mappings, aligned to 2 MiB, on huge pages where they can be had,
//! reused.
//!
//! A buffer goes back to its pool when the last view of it is dropped, so that a batch that is still held is
//! never written over; a new one is mapped only when none is free. First touches cost 0.1 to 0.25 us per KiB,
//! more than the copies themselves: a reused buffer has none. Anonymous memory, because device runtimes
//! cannot register file pages, and drivers' own pinned memory cannot take O_DIRECT reads.

use std::collections::HashMap;
use std::ffi::c_int;
use std::ptr::{NonNull, null_mut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyBufferError, PyMemoryError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;

/// Size of a huge page, and alignment of every mapping.
pub const HUGE: usize = 2 << 20;
const PAGE: usize = 4096;

/// An anonymous private mapping, zeroed when new; unmapped on drop.
pub struct Mapping {
    address: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a mapping is memory that nothing else points to; it may be used from any thread, by one at a time
// through `&mut` or through the checks of `Lease`.
unsafe impl Send for Mapping {}
// SAFETY: `&Mapping` gives out its address and size only.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// At least `bytes`, rounded up to huge pages (to 4 KiB below 1 MiB). `None`: no memory.
    pub fn new(bytes: usize) -> Option<Self> {
        let bytes = Self::rounded(bytes)?;
        if bytes % HUGE == 0
            && let Some(mapping) = Self::map(bytes, libc::MAP_HUGETLB)
        {
            return Some(mapping);
        }
        let whole = Self::map(bytes.checked_add(HUGE)?, 0)?;
        let mapping = whole.trimmed(bytes);
        if bytes % HUGE == 0 {
            // SAFETY: the range is this mapping's own; the advice changes no content, and a refusal is harmless.
            unsafe { libc::madvise(mapping.address.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
        }
        Some(mapping)
    }

    fn rounded(bytes: usize) -> Option<usize> {
        let multiple = if bytes < HUGE / 2 { PAGE } else { HUGE };
        bytes.max(1).checked_next_multiple_of(multiple)
    }

    fn map(bytes: usize, flags: c_int) -> Option<Self> {
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no other memory.
        let address = unsafe {
            libc::mmap(
                null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return None;
        }
        NonNull::new(address.cast()).map(|address| Self { address, bytes })
    }

    /// The part that is `bytes` long and begins at a multiple of `HUGE`; the rest is unmapped.
    fn trimmed(self, bytes: usize) -> Self {
        let (start, total) = (self.address, self.bytes);
        std::mem::forget(self);
        let skip = start.as_ptr().addr().next_multiple_of(HUGE) - start.as_ptr().addr();
        // SAFETY: skip < HUGE and bytes + HUGE <= total, so [skip, skip + bytes) lies in the mapping, which this
        // function owns; what lies before and after is whole pages that nothing refers to.
        unsafe {
            let address = start.add(skip);
            if skip > 0 {
                libc::munmap(start.as_ptr().cast(), skip);
            }
            let rest = total - skip - bytes;
            if rest > 0 {
                libc::munmap(address.as_ptr().add(bytes).cast(), rest);
            }
            Self { address, bytes }
        }
    }

    pub fn len(&self) -> usize {
        self.bytes
    }

    pub fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is readable, writable, `bytes` long and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.address.as_ptr(), self.bytes) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is this mapping's own and nothing refers to it any more.
        unsafe { libc::munmap(self.address.as_ptr().cast(), self.bytes) };
    }
}

#[derive(Default)]
struct Free {
    by_size: HashMap<usize, Vec<Mapping>>,
    mapped: usize,
    in_use: usize,
}

struct Pool {
    free: Mutex<Free>,
    limit: usize,
    on_map: Option<Py<PyAny>>,
    on_unmap: Option<Py<PyAny>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// Tell the hook, then unmap.
    fn unmap(&self, py: Python<'_>, mapping: Mapping) {
        if let Some(hook) = &self.on_unmap {
            let arguments = (mapping.address.as_ptr().addr(), mapping.bytes);
            if let Err(error) = hook.call1(py, arguments) {
                error.write_unraisable(py, Some(hook.bind(py)));
            }
        }
        drop(mapping);
    }

    fn take(&self, py: Python<'_>, bytes: usize) -> PyResult<Mapping> {
        let too_large =
            || PyMemoryError::new_err(format!("no memory for a host buffer of {bytes} bytes"));
        let size = Mapping::rounded(bytes).ok_or_else(too_large)?;
        let mut others = Vec::new();
        {
            let mut free = locked(&self.free);
            if let Some(mapping) = free.by_size.get_mut(&size).and_then(Vec::pop) {
                free.in_use += size;
                return Ok(mapping);
            }
            // Buffers of other sizes make room before the limit refuses.
            while free.mapped.saturating_add(size) > self.limit {
                let Some(other) = free.by_size.values_mut().find_map(Vec::pop) else {
                    break;
                };
                free.mapped -= other.bytes;
                others.push(other);
            }
            if free.mapped.saturating_add(size) > self.limit {
                return Err(PyMemoryError::new_err(format!(
                    "a host buffer of {size} bytes would exceed the limit of {}: {} bytes are held by batches \
                     that are still referenced. Drop them, read fewer ahead, or raise host_bytes",
                    self.limit, free.in_use
                )));
            }
            free.mapped += size;
            free.in_use += size;
        }
        for other in others {
            self.unmap(py, other);
        }
        let mapping = match py.detach(|| Mapping::new(bytes)) {
            Some(mapping) => mapping,
            None => {
                self.forget(size);
                return Err(too_large());
            }
        };
        if let Some(hook) = &self.on_map
            && let Err(error) = hook.call1(py, (mapping.address.as_ptr().addr(), mapping.bytes))
        {
            self.forget(size);
            return Err(error);
        }
        Ok(mapping)
    }

    fn forget(&self, size: usize) {
        let mut free = locked(&self.free);
        free.mapped -= size;
        free.in_use -= size;
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let free = std::mem::take(&mut *locked(&self.free));
        // Without an interpreter (at exit) the mappings go with the process.
        Python::try_attach(|py| {
            for mapping in free.by_size.into_values().flatten() {
                self.unmap(py, mapping);
            }
        });
    }
}

#[derive(Default)]
struct Use {
    views: usize,
    writing: bool,
}

/// One buffer while it is out of its pool.
pub struct Lease {
    mapping: Option<Mapping>,
    bytes: usize,
    usage: Mutex<Use>,
    pool: Arc<Pool>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(mapping) = self.mapping.take() {
            let mut free = locked(&self.pool.free);
            free.in_use -= mapping.bytes;
            free.by_size.entry(mapping.bytes).or_default().push(mapping);
        }
    }
}

/// The right to write a buffer that has no views; while it lasts, none can be made.
pub struct Writing(Arc<Lease>);

impl Writing {
    /// The buffer as values of one type.
    pub fn values<T: Number>(&mut self) -> &mut [T] {
        let Some(mapping) = &self.0.mapping else {
            return &mut [];
        };
        // SAFETY: the mapping lives as long as the lease, which this holds. It is aligned to 4 KiB, hence for T,
        // and any bits are a valid T. No other reference exists: `writing` is set, which admits one `Writing`
        // and refuses views, and it was set only while there were none.
        unsafe {
            std::slice::from_raw_parts_mut(
                mapping.address.as_ptr().cast(),
                self.0.bytes / size_of::<T>(),
            )
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        locked(&self.0.usage).writing = false;
    }
}

/// Plain numbers: any bits are a value.
pub trait Number: Copy {}
impl Number for i32 {}
impl Number for i64 {}
impl Number for f32 {}

/// A buffer of a pool; `memoryview(buffer)` is its memory.
#[pyclass(module = "curate_kernels", frozen)]
pub struct HostBuffer {
    lease: Arc<Lease>,
}

impl HostBuffer {
    pub fn writing(&self) -> PyResult<Writing> {
        let mut usage = locked(&self.lease.usage);
        if usage.writing || usage.views > 0 {
            return Err(PyBufferError::new_err(
                "a host buffer that is in use cannot be filled: take another one from the pool",
            ));
        }
        usage.writing = true;
        Ok(Writing(self.lease.clone()))
    }
}

#[pymethods]
impl HostBuffer {
    #[getter]
    fn address(&self) -> usize {
        self.lease
            .mapping
            .as_ref()
            .map_or(0, |mapping| mapping.address.as_ptr().addr())
    }

    fn __len__(&self) -> usize {
        self.lease.bytes
    }

    /// # Safety
    /// Called by the interpreter, with a `view` to be filled in.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let lease = &slf.get().lease;
        let Some(mapping) = &lease.mapping else {
            return Err(PyBufferError::new_err("a host buffer without memory"));
        };
        let mut usage = locked(&lease.usage);
        if usage.writing {
            return Err(PyBufferError::new_err(
                "a host buffer that is being filled has no views",
            ));
        }
        // SAFETY: `view` is the interpreter's; the memory is `bytes` long and lives as long as the object, to
        // which the filled-in view holds a reference.
        let filled = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                mapping.address.as_ptr().cast(),
                lease.bytes as ffi::Py_ssize_t,
                0,
                flags,
            )
        };
        if filled != 0 {
            return Err(PyErr::fetch(slf.py()));
        }
        usage.views += 1;
        Ok(())
    }

    /// # Safety
    /// Called by the interpreter, once for each view.
    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        locked(&self.lease.usage).views -= 1;
    }
}

/// A pool of host buffers, of `limit` bytes at most.
#[pyclass(module = "curate_kernels", frozen)]
struct HostBuffers {
    pool: Arc<Pool>,
}

#[pymethods]
impl HostBuffers {
    #[new]
    #[pyo3(signature = (limit, *, on_map = None, on_unmap = None))]
    fn new(limit: usize, on_map: Option<Py<PyAny>>, on_unmap: Option<Py<PyAny>>) -> Self {
        let free = Mutex::new(Free::default());
        Self {
            pool: Arc::new(Pool {
                free,
                limit,
                on_map,
                on_unmap,
            }),
        }
    }

    fn take(&self, py: Python<'_>, bytes: usize) -> PyResult<HostBuffer> {
        if bytes > isize::MAX as usize {
            return Err(PyValueError::new_err(format!("a buffer of {bytes} bytes")));
        }
        let mapping = self.pool.take(py, bytes)?;
        let lease = Lease {
            mapping: Some(mapping),
            bytes,
            usage: Mutex::default(),
            pool: self.pool.clone(),
        };
        Ok(HostBuffer {
            lease: Arc::new(lease),
        })
    }

    /// Bytes that are mapped, in use or free.
    #[getter]
    fn mapped(&self) -> usize {
        locked(&self.pool.free).mapped
    }

    /// Bytes of buffers that are out of the pool.
    #[getter]
    fn in_use(&self) -> usize {
        locked(&self.pool.free).in_use
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<HostBuffer>()?;
    module.add_class::<HostBuffers>()
}
