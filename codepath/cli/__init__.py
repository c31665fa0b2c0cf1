"""The command line: one module a group of commands, put together in `program`."""

from codepath.cli.program import app, main

__all__ = ["app", "main"]
