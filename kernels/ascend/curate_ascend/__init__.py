"""The device side of curate: what a batch costs on its way into an Ascend NPU, and its expansion there.

`dma` prices the transfers of real shards by published figures (`constants.yaml`). `expand` holds Triton
kernels that derive positions, segment ids, labels and block tables from tokens and document lengths; it
alone needs Triton or triton-ascend. `docs/ascend.md` says what ran and what is modelled.
"""
