"""PyTorch: batches come in order whatever the number of workers, as tensors over the loader's buffers."""

from __future__ import annotations

import importlib.util
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
    paths = [str(HERE.parent), *(path for path in sys.path if path.endswith("site-packages"))]
    script = HERE / "torch_loader.py"
    start = f"import runpy, sys; sys.path += {paths!r}; runpy.run_path({str(script)!r}, run_name='__main__')"
    program = [python_of("loaders"), "-W", "ignore", "-c", start, run]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ok\n"


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")
def test_without_torch_the_error_says_what_to_do(tmp_path):
    run = write_run(tmp_path)
    with pytest.raises(ImportError, match="PyTorch is not installed: install torch, or use tensor='numpy'"):
        Loader(str(run), stage="4K", batch_sequences=4, tensor="torch")
    with pytest.raises(ImportError, match="PyTorch is not installed"):
        import shards.torch  # noqa: F401
