"""A Hugging Face Hub on this machine, for tests."""
