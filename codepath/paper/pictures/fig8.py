"""Fig 8: precision and recall of every class's binary classifier, ImageNet."""

from __future__ import annotations

from codepath.paper.pictures.binary_points import panel

PANEL = panel("fig8", "Fig 8", drawn=True)
