"""The desktop face: the dock and what it is made of. Knows nothing of processing."""
