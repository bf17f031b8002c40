"""Finds a Python for the worker, starts it and speaks with it. Standard library only."""
