"""PyTorch: batches come in order whatever the number of workers, as tensors over the loader's buffers."""

from __future__ import annotations

import importlib.util
import os
import site
import subprocess
import sys
from pathlib import Path

import pytest
from test_loader import write_run

from benchmarks.peers import python_of
from shards.loader import Loader

HERE = Path(__file__).resolve().parent


@pytest.mark.peer
def test_torch_gets_the_loaders_batches_from_any_number_of_workers(tmp_path):
    run = write_run(tmp_path)
    # The peer's packages first, then those that the loader needs.
    paths = [str(HERE.parent), *site.getsitepackages()]
    script = "import sys; sys.path += sys.argv[2].split(':'); import runpy; del sys.argv[2]; sys.argv[0] = sys.argv.pop()"
    program = [
        python_of("loaders"),
        "-c",
        f"{script}; runpy.run_path(sys.argv[0], run_name='__main__')",
        run,
        ":".join([*paths, *(path for path in sys.path if path.endswith("site-packages"))]),
        HERE / "torch_loader.py",
    ]
    done = subprocess.run(program, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ok\n"


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")
def test_without_torch_the_error_says_what_to_do(tmp_path):
    run = write_run(tmp_path)
    with pytest.raises(ImportError, match="PyTorch is not installed: install torch, or use tensor='numpy'"):
        Loader(str(run), stage="4K", batch_sequences=4, tensor="torch")
    with pytest.raises(ImportError, match="PyTorch is not installed"):
        import shards.torch  # noqa: F401
