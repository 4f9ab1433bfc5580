"""Files opened by libvips, and bitmaps that it does not read."""
