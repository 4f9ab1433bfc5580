"""Many files: which inputs become which outputs, the engines that restore them, and the record of a run."""
