"""One image: a network on a device, tiles, memory."""
