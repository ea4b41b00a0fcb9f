"""Loops that fit torch modules, and what they share: losses, schedules, precision, processes, resuming.

They import torch at their top: import them inside functions only, all but `temporal_head`.
"""
