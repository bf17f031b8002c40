"""What the two processes say to each other: standard library only, Python 3.9 or newer."""
