"""Numbers of results/ that the README and the pages of docs/ quote, each by its name.

`trained` has the numbers of one trained network, `differences` those of two compared, `benchmarks`,
`speeds` and `loading` what `codepath bench` measured, and `verdicts` how the claims stand. A name
is defined once, with its query.
"""

from codepath.paper.quoted.registry import answer, names, quoted, refreshed, used_names

__all__ = ["answer", "names", "quoted", "refreshed", "used_names"]
