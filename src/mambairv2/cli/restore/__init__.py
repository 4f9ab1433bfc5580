"""The command `restore`."""
