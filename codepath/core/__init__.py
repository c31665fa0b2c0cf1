"""Errors, files, signals, this machine and provenance (standard library only)."""
