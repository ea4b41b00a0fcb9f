"""What learning needs and torch does not: options, windows, features, saved models, and the heads that share them.

Torch is imported inside functions only: options are read by `--help`, listings and cache hits.
"""
