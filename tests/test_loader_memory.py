"""Host buffers: aligned, reused, never written over while a batch is held, registered with the device."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import warnings
from pathlib import Path

import curate_kernels
import numpy as np
import pytest
from test_loader import write_run

from shards.host_memory import AscendRegistration, HostMemory, view
from shards.loader import Loader

HUGE = 2 << 20


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


def test_a_batch_that_is_held_is_never_written_over(run):
    loader = Loader(str(run), stage="4K", batch_sequences=4)
    held = [loader.next() for _ in range(20)]
    fresh = Loader(str(run), stage="4K", batch_sequences=4)
    for batch in held:
        np.testing.assert_array_equal(batch.tokens, fresh.batch(batch.step).tokens)


def test_buffers_are_reused_when_batches_are_dropped(run):
    loader = Loader(str(run), stage="4K", batch_sequences=4, read_ahead=0)
    loader.next()
    mapped = loader.memory.mapped
    for _ in range(50):
        loader.next()
    assert loader.memory.mapped == mapped
    batch = loader.next()
    part = batch.tokens[1:, ::2]  # a view of a view keeps the buffer
    assert loader.memory.in_use == mapped
    expected = part.copy()
    del batch
    gc.collect()
    assert 0 < loader.memory.in_use < mapped
    loader.next()
    np.testing.assert_array_equal(part, expected)
    del part
    gc.collect()
    assert loader.memory.in_use == 0


def test_holding_more_than_the_bound_is_an_error_that_says_what_to_do(run):
    loader = Loader(str(run), stage="4K", batch_sequences=4, host_bytes=5 * 4096, read_ahead=0)
    held = [loader.next(), loader.next()]
    with pytest.raises(MemoryError, match=r"20480 bytes are held by batches.*Drop them.*host_bytes"):
        loader.next()
    del held
    loader.next()


def test_free_buffers_of_another_size_make_room():
    memory = HostMemory(8 * HUGE)
    memory.take(6 * HUGE)
    memory.take(4 * HUGE)
    assert memory.mapped == 4 * HUGE


def test_buffers_are_aligned_and_writable():
    memory = HostMemory(64 * HUGE)
    for size in (1, 5000, 1 << 20, HUGE + 1):
        buffer = memory.take(size)
        assert buffer.address % HUGE == 0
        assert len(buffer) == size
        array = np.frombuffer(buffer, np.uint8)
        array[:] = 7
        assert array.ctypes.data == buffer.address
    assert view(memory.take(48), "int64", 2).shape == (2, 3)


def test_a_buffer_in_use_is_not_filled():
    """What keeps the kernel from writing under an array that somebody holds."""
    memory = HostMemory(HUGE)
    buffer = memory.take(4 * 64)
    array = view(buffer, "int32", 1)
    rows = np.zeros(1, np.int64)
    options = {
        "sequence_length": 64,
        "layout": "contiguous",
        "stored_for": 1,
        "rank": 0,
        "degree": 1,
        "pad_documents_to": 1,
        "verify": True,
        "documents": False,
    }
    with pytest.raises(BufferError, match="in use"):
        curate_kernels.read_sequences([], rows, rows, tokens=buffer, **options)
    del array
    with pytest.raises(ValueError, match="row 0 of shard 0 of 0"):
        curate_kernels.read_sequences([], rows, rows, tokens=buffer, **options)
    with pytest.raises(BufferError, match="in use"):
        curate_kernels.read_sequences([], rows, rows, tokens=buffer, labels=buffer, **options)
    with pytest.raises(ValueError, match="64 values where 128"):
        curate_kernels.read_sequences(
            [], np.zeros(2, np.int64), np.zeros(2, np.int64), tokens=buffer, **options
        )


def test_hooks_see_every_mapping_come_and_go(run):
    known: dict[int, int] = {}
    loader = Loader(
        str(run),
        stage="4K",
        batch_sequences=4,
        register=known.__setitem__,
        unregister=lambda address, _: known.pop(address),
    )
    batch = loader.next()
    base = batch.tokens.ctypes.data
    assert known[base] % 4096 == base % 4096 == 0
    assert known[base] >= batch.tokens.nbytes
    loader.close()  # or the batch that is read ahead holds its buffers for a while
    del loader
    gc.collect()
    assert base in known  # the batch is still held
    del batch
    gc.collect()
    assert known == {}


def test_a_runtime_that_refuses_stops_the_batch():
    def refuse(*_):
        raise OSError("no")

    memory = HostMemory(HUGE, register=refuse)
    with pytest.raises(OSError, match="no"):
        memory.take(100)
    assert memory.mapped == memory.in_use == 0


FAKE = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
static void note(const char *what, void *p, uint64_t size, unsigned flag) {
    FILE *file = fopen(getenv("FAKE_ASCEND_LOG"), "a");
    fprintf(file, "%s %p %llu %u\n", what, p, (unsigned long long)size, flag);
    fclose(file);
}
#ifdef NEW
int aclrtHostRegisterV2(void *p, uint64_t size, uint32_t flag) { note("v2", p, size, flag); return STATUS; }
#endif
int aclrtHostRegister(void *p, uint64_t size, int kind, void **device) {
    *device = p; note("v1", p, size, kind); return STATUS;
}
int aclrtHostUnregister(void *p) { note("gone", p, 0, 0); return 0; }
"""


def runtime(folder, *defines):
    """A library with the runtime's functions, which write down how they were called."""
    source, library = folder / "fake.c", folder / "libascendcl.so"
    source.write_text(FAKE)
    flags = [f"-D{define}" for define in defines]
    subprocess.run(["cc", "-shared", "-fPIC", *flags, source, "-o", library], check=True)
    return str(library)


@pytest.mark.parametrize(("defines", "call", "flag"), [(["NEW"], "v2", "2"), ([], "v1", "0")])
def test_the_ascend_runtime_registers_buffers_as_mapped(tmp_path, monkeypatch, defines, call, flag):
    log = tmp_path / "log"
    monkeypatch.setenv("FAKE_ASCEND_LOG", str(log))
    registration = AscendRegistration(runtime(tmp_path, "STATUS=0", *defines))
    memory = HostMemory(64 * HUGE, register=registration.register, unregister=registration.unregister)
    address = memory.take(3 * HUGE).address
    assert log.read_text().split() == [call, hex(address), str(3 * HUGE), flag]
    del memory
    gc.collect()
    assert log.read_text().split()[4:6] == ["gone", hex(address)]


def test_memory_that_the_runtime_refuses_is_used_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_ASCEND_LOG", str(tmp_path / "log"))
    registration = AscendRegistration(runtime(tmp_path, "STATUS=507899", "NEW"))
    with pytest.warns(UserWarning, match=r"refused to register .* \(error 507899\)"):
        registration.register(4096, 4096)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        registration.register(8192, 4096)  # once is enough
    registration.unregister(4096, 4096)
    assert "gone" not in (tmp_path / "log").read_text()


def test_without_the_runtime_a_warning_says_so_once(run):
    with pytest.warns(UserWarning, match=r"libascendcl.so cannot be loaded") as seen:
        loader = Loader(str(run), stage="4K", batch_sequences=4, device="ascend")
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert loader.next().tokens.shape == (4, 64)


def test_direct_reads_fall_back_where_the_filesystem_refuses_them(run):
    shared = Path("/dev/shm")
    if not shared.is_dir():
        pytest.skip("no tmpfs here")
    folder = shared / f"test-loader-{os.getpid()}"
    try:
        shutil.copytree(run, folder)
        plain, direct = (Loader(str(folder), stage="4K", batch_sequences=4, direct=d) for d in (False, True))
        for step in range(3):
            np.testing.assert_array_equal(plain.batch(step).tokens, direct.batch(step).tokens)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_dlpack_takes_arrays_and_tables_without_a_copy(run):
    batch = Loader(str(run), stage="4K", batch_sequences=4, tensor="dlpack").next()
    for array in (batch.tokens, batch.positions, batch.boundaries):
        other = np.from_dlpack(array)
        assert other.ctypes.data == array.ctypes.data
        assert array.flags.writeable
