"""Several operations in one pass, with one gradient: what the fused path of the network is made of."""
