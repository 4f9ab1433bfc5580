"""From tokens to prompts and to the order of the scan, and the random draws of training."""
