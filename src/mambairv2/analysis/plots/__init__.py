"""Pictures of what `analysis` computes; matplotlib is imported inside the functions."""
