"""Weights in and out: files, names, what a file says of its network."""
