"""Numbers of results/ that the README, the notes and the pages of docs/ quote, each by its name.

`trained` has the numbers of one trained network (`networks` says which there are), `differences`
those that compare two, `published` the paper's own. `benchmarks`, `speeds`, `loading` and `search`
have what `codepath bench` measured, `verdicts` how the claims stand, and `tables` whole tables. A
name is defined once; numbers that are asked for alike share one definition (`alike`).
"""

from codepath.paper.quoted.registry import answer, names, quoted, refreshed, used_names

__all__ = ["answer", "names", "quoted", "refreshed", "used_names"]
