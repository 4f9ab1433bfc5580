"""Estimates of what a file has been through: compression and noise."""
