"""Figures as SVG with a text for every point, which the page shows under the pointer."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from html import escape
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator

from codepath.paper.style import fix_layout

_MOST_POINTS = 600
_NAMES: WeakKeyDictionary[Artist, list[str]] = WeakKeyDictionary()


class Spot(NamedTuple):
    """A point in SVG coordinates with its text."""

    x: float
    y: float
    text: str


def name_points(line: Line2D, names: list[str]) -> None:
    """Give names, such as classes, to the points of a line."""
    _NAMES[line] = names


def _value(value: float, axis: Any) -> str:
    """A coordinate as text: its tick label where ticks have names, else the number."""
    if isinstance(axis.get_major_locator(), FixedLocator):
        for place, label in zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=False):
            if abs(place - value) < 0.3:
                return str(label.get_text()).replace("-\n", "").replace("\n", " ")
    return f"{value:.4g}"


def _lines(ax: Axes) -> Iterator[tuple[Line2D, str]]:
    inside: set[Artist] = set()
    for container in ax.containers:
        if isinstance(container, ErrorbarContainer) and container[0] is not None:
            inside.add(container[0])
            yield container[0], str(container.get_label())
    for line in ax.lines:
        if line not in inside and not str(line.get_label()).startswith("_"):
            yield line, str(line.get_label())


def _spots(ax: Axes) -> Iterator[tuple[float, float, str]]:
    """Data coordinates and texts of an axis."""
    x_name, y_name = (
        text.split(" (")[0].split(";")[0] for text in (ax.get_xlabel(), ax.get_ylabel())
    )
    for line, label in _lines(ax):
        names = _NAMES.get(line, [])
        points = np.asarray(line.get_xydata(), dtype=float)
        for i, (a, b) in enumerate(points.tolist()):
            head = f"{label}, {names[i]}" if i < len(names) else label
            yield (
                a,
                b,
                f"{head}: {x_name} = {_value(a, ax.xaxis)}, "
                f"{y_name} = {_value(b, ax.yaxis)}".replace("  = ", " "),
            )
    for container in ax.containers:
        if isinstance(container, BarContainer):
            for bar in container:
                left, width, height = bar.get_x(), bar.get_width(), bar.get_height()
                if height > 0:
                    text = (
                        f"{container.get_label()}: {left:.3g} to {left + width:.3g}, {height:.2f} %"
                    )
                    yield left + width / 2, height, text


def spots(figure: Figure) -> list[Spot]:
    """Every labelled point of a drawn figure; its dpi must be 72, so that SVG units are points."""
    found = []
    height = figure.get_figheight() * 72
    for ax in figure.axes:
        if not ax.get_visible():
            continue
        box = ax.get_window_extent()
        for x, y, text in _spots(ax):
            place = ax.transData.transform((x, y))
            if box.x0 - 1 <= place[0] <= box.x1 + 1 and box.y0 - 1 <= place[1] <= box.y1 + 1:
                found.append(Spot(float(place[0]), height - float(place[1]), text))
    return found


def to_svg(figure: Figure, name: str) -> str:
    """The figure as an SVG element, with a `circle.spot` over every labelled point.

    Identifiers begin with `name`, so that several figures may stand on one page. The title above
    all panels is cut off, since the page shows it as the caption. Afterwards the figure has no
    background.
    """
    dpi = figure.get_dpi()
    # The layout is made at the figure's own dpi: at 72 text is measured narrower than in SVG.
    fix_layout(figure)
    titles = [text for text in figure.texts if text.get_text() == figure.get_suptitle()]
    lower = min((title.get_window_extent().y0 for title in titles), default=None)
    cut = 0.0 if lower is None else 72 * (figure.get_figheight() - lower / dpi)
    for title in titles:
        title.set_visible(False)
    figure.set_dpi(72)
    places = spots(figure)
    figure.set_facecolor("none")
    for ax in figure.axes:
        ax.set_facecolor("none")
    out = io.StringIO()
    FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None})
    figure.set_dpi(dpi)
    for title in titles:
        title.set_visible(True)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\g<1>{name}-", svg)
    head, _, rest = svg.partition(">")
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    w, h = (72 * inches for inches in figure.get_size_inches())
    head = re.sub(r' viewBox="[^"]*"', f' viewBox="0 {cut:g} {w:g} {h - cut:g}"', head)
    head = head.replace("<svg", f'<svg class="plot" role="img" style="max-width:{w:.0f}pt"', 1)
    svg = f"{head}>{rest}"
    if len(places) > _MOST_POINTS:
        places = places[:: len(places) // _MOST_POINTS + 1]
    circles = "".join(
        f'<circle class="spot" cx="{spot.x:.1f}" cy="{spot.y:.1f}" r="5" '
        f'data-tip="{escape(spot.text)}"/>'
        for spot in places
    )
    return svg.removesuffix("</svg>") + circles + "</svg>"
