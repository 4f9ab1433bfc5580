"""Weights on the Hugging Face Hub: their addresses, and how they are fetched. Needs huggingface_hub only for that."""
