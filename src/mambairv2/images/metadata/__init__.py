"""Metadata of image files: read from the input, made true for the output, and written in the output's format."""
