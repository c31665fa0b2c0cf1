"""Coded ResNeXt: a replication suite and the networks themselves.

`import codepath.models` registers the networks in timm. Importing `codepath`
alone loads neither torch nor pandas, so that the command line starts fast.
"""

__version__ = "0.1.0"
