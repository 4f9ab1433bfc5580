"""Degradations: blur, resizing, noise and compression, one a file, and chains of them."""
