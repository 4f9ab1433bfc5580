"""Training images: checked, decoded once, cut into patches."""
