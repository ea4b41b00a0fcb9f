"""Late fusion of several models' scores: one plugin a file."""
