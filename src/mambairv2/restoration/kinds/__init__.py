"""Images of other libraries in, the same kind out: Pillow, encoded bytes and open files, tensors."""
