"""Torch modules: layers, and the networks of heads, networks and backbones. Import them inside functions only."""
