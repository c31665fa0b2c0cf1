"""Numbers of results/ that the README and the pages of docs/ quote, each by its name.

`trained` has the numbers of one trained network, `differences` those of two compared, `benchmarks`,
`speeds` and `loading` what `codepath bench` measured, and `verdicts` how the claims stand. A name
is defined once, with its query.
"""

from codepath.paper.quoted.registry import (
    answer,
    fill,
    names,
    quoted,
    rendered_readme,
    used_names,
    without_attributes,
)

__all__ = [
    "answer",
    "fill",
    "names",
    "quoted",
    "rendered_readme",
    "used_names",
    "without_attributes",
]
