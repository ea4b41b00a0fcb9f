"""Whole systems as files: named steps, each a stage of the command line."""
