"""One image: a network on a device, tiles, memory, and what the restoration takes."""
