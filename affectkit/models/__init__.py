"""Published networks with scores of their own, one file each."""
