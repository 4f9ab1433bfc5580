"""Networks handed on: a folder as the Hugging Face Hub has it, its card, and the upload."""
