"""Image files and arrays: reading, writing, resizing, degradation."""
