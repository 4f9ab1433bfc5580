"""Linear maps and depthwise convolutions with what surrounds them."""
