"""Files whole or not at all, and places on this machine and elsewhere."""
