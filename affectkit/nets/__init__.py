"""Torch modules: layers, and the networks of heads, networks and backbones.

They import torch, torchvision and timm at their top: import them inside functions only.
"""
