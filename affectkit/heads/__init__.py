"""Models trained on cached features: one plugin a file."""
