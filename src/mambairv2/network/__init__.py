"""The network of the paper: one file a box of its figure."""
