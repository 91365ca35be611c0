"""Encoding: the ids of the model's own tokenizer.json, on every input. Start at `load`."""

from tokenizer.encode import SpecialIds, Tokenizer, load

__all__ = ["SpecialIds", "Tokenizer", "load"]
