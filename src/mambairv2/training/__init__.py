"""Training: recipes, patches, the step, the loop, checkpoints."""
