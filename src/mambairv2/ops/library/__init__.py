"""The library of compiled kernels, and the C structs that its functions take."""
