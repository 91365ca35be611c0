"""Other trainers' token formats, made from the packed shards of a stage: Megatron's and MosaicML Streaming's.

`stage.py` reads (any layout, in reading order, checked), `megatron.py` and `mds.py` write. Nothing of those
libraries is needed: the formats are small and written down here. See `docs/export.md`.
"""
