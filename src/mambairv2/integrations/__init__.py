"""Other programs that load the network: spandrel, ComfyUI."""
