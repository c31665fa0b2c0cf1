"""Fig 2b: precision and recall of every class's binary classifier, few classes."""

from __future__ import annotations

from codepath.paper.pictures.binary_points import panel

PANEL = panel("fig2b", "Fig 2b", drawn=False)
