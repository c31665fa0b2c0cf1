"""A run: its configuration, its directory, what happens to it, and its state (no torch)."""
