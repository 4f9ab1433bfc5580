"""Backends that prove themselves: each is compared with the reference on small inputs, on the machine at hand."""
