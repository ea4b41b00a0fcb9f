"""Readers of data sets' own layouts: one plugin a file."""
