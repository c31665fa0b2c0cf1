"""The paper's numbers in a picture, where they may stand beside ours."""

from __future__ import annotations

import pandas as pd

from codepath.experiments.reference import reference
from codepath.experiments.scales import PAPER

_RECOMPRESSED = "as images, JPEG"
"""In the source of images that are not the data set's own pixels."""


def published(name: str, rows: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """The paper's table `name` of one data set, as it may stand beside `rows`.

    It is empty beside the rows of another scale: a proxy is never compared with the paper's
    numbers.
    """
    paper = reference(name)
    paper = paper[paper["dataset"] == dataset]
    return paper if (rows["scale"] == PAPER).all() else paper.iloc[:0]


def other_images(rows: pd.DataFrame) -> list[str]:
    """The sources in `rows` whose images are not the paper's."""
    return [str(source) for source in rows["source"].unique() if _RECOMPRESSED in source]


def paper_label(rows: pd.DataFrame) -> str:
    """What the paper's points are called beside `rows`; it says where their images differ."""
    return "paper, original images" if other_images(rows) else "paper"
