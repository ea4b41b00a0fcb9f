"""Loops that fit torch modules, and what they share: losses, schedules, precision, processes, resuming.

Import these modules inside functions only.
"""
