"""A page on this machine that restores photographs, made with Gradio."""
