"""The Processing face: provider and algorithms. Knows nothing of gui."""
