"""The commands that measure: `evaluate` and `reproduce`, and what they share."""
