"""Many files: which become what, doing it, and its record."""
