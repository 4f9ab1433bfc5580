"""Weights: loading, saving, names of parameters, and the configuration that a file states or shows."""
