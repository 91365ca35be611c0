//! The bytes of a shard file: mapped, read around the page cache, or fetched by a function.
//!
//! Mapped is the default and the fastest when the pages are cached. A file that is cut short while it is
//! mapped raises SIGBUS in whoever touches the missing page (nothing can be done about that in user space
//! without giving up the mapping); `direct` and fetched shards are read by calls and give an error instead.

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::{NonNull, null_mut};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::digest::prefetch;
use crate::host_buffers::Mapping;

/// O_DIRECT reads whole blocks of a device; 4 KiB suits all of them.
const BLOCK: u64 = 4096;
/// Larger reads are announced, exactly, instead of left to the read-ahead of the system, which goes beyond
/// them.
const ANNOUNCED: usize = 32 << 10;

/// A read-only mapping of a whole file.
pub struct FileMap {
    address: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping is read-only memory, and unmapped once, on drop.
unsafe impl Send for FileMap {}
// SAFETY: as above; reads through `&FileMap` need no order.
unsafe impl Sync for FileMap {}

impl FileMap {
    fn new(file: &File, bytes: usize) -> std::io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice; the file is open for reading.
        let address = unsafe {
            libc::mmap(
                null_mut(),
                bytes,
                libc::PROT_READ,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(address.cast::<u8>()) {
            Some(address) if address.as_ptr().cast::<libc::c_void>() != libc::MAP_FAILED => {
                Ok(Self { address, bytes })
            }
            _ => Err(std::io::Error::last_os_error()),
        }
    }

    fn get(&self, range: Range<usize>) -> Option<&[u8]> {
        // SAFETY: the mapping is `bytes` long and lives as long as `self`. The file is published complete and
        // never written again; were it cut short, the access would raise SIGBUS, not read elsewhere.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.bytes) }.get(range)
    }

    fn announce(&self, range: &Range<usize>) {
        let start = range.start / BLOCK as usize * BLOCK as usize;
        if range.end <= self.bytes && start < range.end {
            // SAFETY: the range lies in the mapping; the advice changes no content.
            unsafe {
                let address = self.address.as_ptr().add(start).cast();
                libc::madvise(address, range.end - start, libc::MADV_WILLNEED);
            }
        }
    }
}

impl Drop for FileMap {
    fn drop(&mut self) {
        // SAFETY: the range is this mapping's own and nothing refers to it any more.
        unsafe { libc::munmap(self.address.as_ptr().cast(), self.bytes) };
    }
}

pub enum Source {
    Mapped(FileMap),
    /// The file, and the file again as opened with O_DIRECT.
    Direct(File, File),
    /// `fetch(offset, length) -> bytes`.
    Fetched(Py<PyAny>),
}

/// Memory for reads that are not views of a mapping; grows to the largest of them.
#[derive(Default)]
pub struct Scratch {
    mapping: Option<Mapping>,
}

impl Scratch {
    fn room(&mut self, bytes: usize) -> Result<&mut [u8], String> {
        if self
            .mapping
            .as_ref()
            .is_none_or(|mapping| mapping.len() < bytes)
        {
            self.mapping = None;
            self.mapping = Some(
                Mapping::new(bytes).ok_or_else(|| format!("no memory to read {bytes} bytes"))?,
            );
        }
        self.mapping
            .as_mut()
            .and_then(|mapping| mapping.as_mut().get_mut(..bytes))
            .ok_or_else(|| format!("no memory to read {bytes} bytes"))
    }
}

impl Source {
    pub fn open(path: &Path, direct: bool) -> std::io::Result<(Self, u64)> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        if direct {
            let uncached = File::options()
                .read(true)
                .custom_flags(libc::O_DIRECT)
                .open(path);
            // Some filesystems (tmpfs, some network ones) refuse O_DIRECT: plain reads serve as well.
            let uncached = match uncached {
                Ok(uncached) => uncached,
                Err(_) => file.try_clone()?,
            };
            return Ok((Self::Direct(file, uncached), size));
        }
        let bytes = usize::try_from(size).map_err(std::io::Error::other)?;
        if bytes == 0 {
            return Ok((Self::Direct(file.try_clone()?, file), size));
        }
        let map = FileMap::new(&file, bytes)?;
        // SAFETY: the range is the whole mapping; the advice changes no content.
        unsafe { libc::madvise(map.address.as_ptr().cast(), bytes, libc::MADV_RANDOM) };
        Ok((Self::Mapped(map), size))
    }

    fn fetch(function: &Py<PyAny>, range: &Range<u64>, out: &mut [u8]) -> Result<(), String> {
        Python::attach(|py| {
            let data = function
                .call1(py, (range.start, range.end - range.start))
                .map_err(|error| error.to_string())?;
            let bytes = data
                .cast_bound::<PyBytes>(py)
                .map_err(|_| "fetch gave no bytes".to_owned())?;
            let found = bytes.as_bytes();
            if found.len() != out.len() {
                return Err(format!("{} of {} bytes came", found.len(), out.len()));
            }
            out.copy_from_slice(found);
            Ok(())
        })
    }

    /// Read a small range into `out`, through the page cache.
    pub fn read(&self, range: Range<u64>, out: &mut [u8]) -> Result<(), String> {
        match self {
            Self::Mapped(map) => {
                let found = map
                    .get(range.start as usize..range.end as usize)
                    .ok_or_else(|| format!("bytes {range:?} lie outside the file"))?;
                out.copy_from_slice(found);
                Ok(())
            }
            Self::Direct(file, _) => file
                .read_exact_at(out, range.start)
                .map_err(|error| error.to_string()),
            Self::Fetched(function) => Self::fetch(function, &range, out),
        }
    }

    /// Ask for the cache lines of a mapped range, at most 1 KiB of it.
    pub fn prefetch(&self, start: u64, length: u64) {
        if let Self::Mapped(map) = self
            && let Some(bytes) =
                map.get(start as usize..start.saturating_add(length.min(1024)) as usize)
        {
            prefetch(bytes);
        }
    }

    /// Where a mapped byte lies; null elsewhere. For prefetches.
    pub fn address(&self, at: u64) -> *const u8 {
        match self {
            Self::Mapped(map) => map
                .get(at as usize..at as usize)
                .map_or(std::ptr::null(), <[u8]>::as_ptr),
            _ => std::ptr::null(),
        }
    }

    /// A large range, and how many bytes were read for it.
    pub fn view<'a>(
        &'a self,
        range: Range<u64>,
        scratch: &'a mut Scratch,
    ) -> Result<(&'a [u8], u64), String> {
        let size = range.end - range.start;
        match self {
            Self::Mapped(map) => {
                let range = range.start as usize..range.end as usize;
                if range.len() >= ANNOUNCED {
                    map.announce(&range);
                }
                let found = map.get(range).ok_or("the tokens lie outside the file")?;
                Ok((found, size))
            }
            Self::Direct(_, file) => {
                let start = range.start / BLOCK * BLOCK;
                let length = (range.end - start).next_multiple_of(BLOCK);
                let room = scratch.room(length as usize)?;
                let skip = (range.start - start) as usize;
                let mut filled = 0;
                while filled < skip + size as usize {
                    match file.read_at(&mut room[filled..], start + filled as u64) {
                        Ok(0) => return Err("the file ends before its tokens".to_owned()),
                        Ok(count) => filled += count,
                        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error.to_string()),
                    }
                }
                Ok((&room[skip..skip + size as usize], length))
            }
            Self::Fetched(function) => {
                let room = scratch.room(size as usize)?;
                Self::fetch(function, &range, room)?;
                Ok((room, size))
            }
        }
    }
}
