"""Audio-visual affect recognition: staged, cached in HDF5, resumable."""

__version__ = "0.1.0"
