"""What all figures share: one style, time axes and long curves."""
