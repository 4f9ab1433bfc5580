"""The tables of a recipe that other parts of training take."""

PAIRS = "pairs"
"""The task that weights at ×1 name which were trained on ready-made inputs: it is none of the known ones."""
