"""Compile the expansion kernels as far as it goes without CANN: `expansion_lowering.py FOLDER TILE`.

Triton's own passes, triton-adapter-opt to linalg, bishengir-compile to HIVM with on-chip memory planned; then
it looks for hivmc, which is closed and not there. Prints a JSON list: kernel, target, ending. Options as
triton-ascend's own backend gives them (triton/backends/ascend/compiler.py). Runs in the environment of
`benchmarks/triton_ascend_requirements.txt`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import triton
from triton._C.libtriton import ir
from triton.backends.ascend import compiler
from triton.compiler.compiler import ASTSource

from curate_ascend import expand

ADAPTER = Path(compiler.__file__).parent / "triton-adapter-opt"
BISHENG = Path(triton.__file__).parents[1] / "ascendnpuir/bin"

#: Target, compiler, whether it is a 950.
TARGETS = [("Ascend910B2", "bishengir-compile", False), ("Ascend950PR_9589", "bishengir-compile-a5", True)]

TABLE = {"WIDTH": 1024, "STEPS": 10}


def kernels(tile: int) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Kernels with their constants, for sequences of up to 1,024 documents."""
    tiled = TABLE | {"TILE": tile}
    return {
        "boundaries": (expand._boundaries_kernel, {"WIDTH": 1024, "RATIO_0": 4, "RATIO_1": 128}),
        "contiguous": (expand._expand_kernel, tiled | {"CHUNKS": 1, "NEXT": True}),
        "zigzag": (expand._expand_kernel, tiled | {"CHUNKS": 2, "NEXT": True}),
        "zigzag_documents": (expand._expand_documents_kernel, TABLE | {"TILE": tile // 2}),
        "blocks": (expand._blocks_kernel, tiled | {"PLANE": 2}),
    }


POINTERS = {
    *("document_lengths", "padded_lengths", "offsets", "tables", "block_counts", "block_totals", "starts"),
    *("tokens", "next_tokens", "next_offsets", "positions", "segments", "labels"),
}


def triton_ir(kernel: Any, constants: dict[str, Any]) -> str:
    names = [name for name in kernel.arg_names if name not in constants]
    signature = {name: "*i32" if name in POINTERS else "i32" for name in names}
    context = ir.context()
    ir.load_dialects(context)
    options = compiler.NPUOptions()
    source = ASTSource(kernel, signature, constants)
    module = source.make_ir(options, {"min_dot_size": lambda *_: (1, 1, 1)}, {}, context)
    return str(compiler.make_ttir(module, {}, options))


def lowered(source: Path, is_950: bool) -> Path:
    target = source.with_suffix(".linalg.mlir")
    linalg = "global-kernel=false named-ops=True enable-nd2nz-on-vector=False"
    on_950 = f"compile-on-910-95={is_950}"
    passes = [
        f"--discrete-mask-access-conversion={on_950} force-simt-template=False",
        "--triton-to-annotation",
        f"--triton-to-unstructure={on_950} force-simt-template=False",
        *("--triton-to-hivm", "--triton-to-hfusion", "--triton-to-llvm", "--bubble-up-operation"),
        f"--triton-to-linalg={linalg} enable-select-analysis={is_950} {on_950}",
    ]
    subprocess.run([ADAPTER, source, *passes, "-o", target], check=True, capture_output=True)
    return target


def compiled(source: Path, target: str, program: str, is_950: bool) -> str:
    options = [
        f"--target={target}",
        f"--enable-auto-multi-buffer={not is_950}",
        f"--enable-auto-bind-sub-block={not is_950}",
        *(
            "--enable-hfusion-compile=true",
            "--enable-hivm-compile=true",
            "--enable-triton-kernel-compile=true",
        ),
    ]
    command = [BISHENG / program, source, *options, "-o", source.with_suffix(".o")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    if "overflow" in said:
        return next(line for line in said.splitlines() if "overflow" in line)
    if "Cannot find hivmc" in said and "error: " not in said.replace("error: External hivmc run fails", ""):
        return "stopped at hivmc"
    return said


if __name__ == "__main__":
    folder, tile = Path(sys.argv[1]), int(sys.argv[2])
    endings = []
    for name, (kernel, constants) in kernels(tile).items():
        source = folder / f"{name}.ttir.mlir"
        source.write_text(triton_ir(kernel, constants))
        for target, program, is_950 in TARGETS:
            endings.append((name, target, compiled(lowered(source, is_950), target, program, is_950)))
    print(json.dumps(endings))
