"""Face detectors: one plugin a file."""
