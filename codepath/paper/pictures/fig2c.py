"""Fig 2c: precision and recall of every class's binary classifier, CIFAR-100."""

from __future__ import annotations

from codepath.paper.pictures.binary_points import panel

PANEL = panel("fig2c", "Fig 2c", drawn=True)
