"""Host memory for batches: a bounded pool of aligned, reusable buffers, registered with a device if asked.

A batch's arrays are views of these buffers; a buffer is free again when the last view is dropped, so a
batch that is still held is never written over. The pool grows to what is held at one time (two batches, with
one read ahead) and then maps nothing any more: a first touch costs more than a copy. On an Ascend host,
registered memory is copied at 23 GB/s where other memory gets 10 (910B4, 4 MiB blocks; third-party
measurement).
"""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Callable
from typing import Any

import curate_kernels
import numpy as np
from numpy.typing import NDArray

#: `aclrtHostRegisterV2`: map into the device's address space. Pinning alone leaves copies at a third of the
#: speed.
ACL_HOST_REGISTER_MAPPED = 0x2

#: (address, bytes) of memory that comes or goes.
Hook = Callable[[int, int], object]


class HostMemory:
    """A pool of host buffers, of `limit` bytes at most.

    `register(address, bytes)` is called for each new mapping (aligned to 2 MiB; a multiple of 4 KiB, of 2 MiB
    above 1 MiB) and `unregister` before it goes. `device="ascend"` registers with the Ascend runtime.
    """

    def __init__(
        self,
        limit: int,
        *,
        register: Hook | None = None,
        unregister: Hook | None = None,
        device: str | None = None,
    ) -> None:
        if device is not None:
            if device != "ascend":
                raise ValueError(f"device {device!r} is not known: 'ascend', or give register=")
            if register is not None or unregister is not None:
                raise ValueError("give either device= or register=")
            runtime = AscendRegistration()
            register, unregister = runtime.register, runtime.unregister
        self._pool = curate_kernels.HostBuffers(limit, on_map=register, on_unmap=unregister)

    def take(self, bytes: int) -> curate_kernels.HostBuffer:
        """A buffer with undefined content. Raises MemoryError beyond the limit, saying what to do."""
        return self._pool.take(bytes)

    @property
    def mapped(self) -> int:
        """Bytes mapped, in use or free."""
        return self._pool.mapped

    @property
    def in_use(self) -> int:
        """Bytes of buffers that batches hold."""
        return self._pool.in_use


def view(buffer: curate_kernels.HostBuffer, dtype: str, rows: int) -> NDArray[Any]:
    """The buffer as an array of `rows` rows, without a copy; the array keeps the buffer."""
    return np.frombuffer(memoryview(buffer), dtype).reshape(rows, -1)


class AscendRegistration:
    """Registers memory with the Ascend runtime, `libascendcl.so`, resolved when made.

    Where the library, or one of its functions, is missing, or refuses, a warning says so once and memory
    stays as it is.
    """

    def __init__(self, library: str = "libascendcl.so") -> None:
        self._registered: set[int] = set()
        self._warned = False
        try:
            self._runtime: ctypes.CDLL | None = ctypes.CDLL(library)
        except OSError as error:
            self._runtime = None
            self._warn(f"{library} cannot be loaded ({error})")

    def register(self, address: int, bytes: int) -> None:
        """Map [address, address + bytes) for the device."""
        if self._runtime is None:
            return
        pointer, size = ctypes.c_void_p(address), ctypes.c_uint64(bytes)
        if (function := getattr(self._runtime, "aclrtHostRegisterV2", None)) is not None:
            status = function(pointer, size, ctypes.c_uint32(ACL_HOST_REGISTER_MAPPED))
        elif (function := getattr(self._runtime, "aclrtHostRegister", None)) is not None:
            # Its one kind of registration, 0, is the mapped one; the device's address is not needed.
            status = function(pointer, size, ctypes.c_int(0), ctypes.byref(ctypes.c_void_p()))
        else:
            self._warn("the runtime has no aclrtHostRegister")
            return
        if status:
            self._warn(f"the runtime refused to register {bytes} bytes (error {status})")
        else:
            self._registered.add(address)

    def unregister(self, address: int, bytes: int) -> None:  # noqa: ARG002 (the hook's signature)
        """Undo `register`; does nothing for memory that was not registered."""
        if address in self._registered and self._runtime is not None:
            self._registered.discard(address)
            self._runtime.aclrtHostUnregister(ctypes.c_void_p(address))

    def _warn(self, what: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(f"host buffers are not registered: {what}; copies will be slower", stacklevel=4)
