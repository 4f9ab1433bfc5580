"""The error of weights that cannot be used."""

from __future__ import annotations


class WeightsError(ValueError):
    """A file that holds no MambaIRv2 weights; the message says which file, what it is, and what to do."""
