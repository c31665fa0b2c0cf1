"""An explained image as a picture: what every block says of it, and where it exits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from codepath.core.errors import UserError
from codepath.core.files import atomic_path, make_directory
from codepath.paper import style
from codepath.paper.pictures.path_energies import HIGHEST, MAP, MOST_CELLS
from codepath.paper.scheme_drawing import SUFFIXES


def draw_explanation(explanation: Mapping[str, Any], path: Path) -> None:
    """Write the picture of an explanation to `path`, whose suffix chooses the format.

    An explanation has the values of `codepath explain`'s JSON, and the image's pixels.

    Raises UserError for another suffix than .png, .pdf or .svg.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: a picture is one of {', '.join(SUFFIXES)}")
    make_directory(path.parent)
    style.use_style()
    blocks = explanation["blocks"]
    paths = len(blocks[0]["scaled_energies"])
    lines = 1 + max(len(view["codewords"]) for view in blocks)
    height = len(blocks) * (0.21 * lines + 0.62) + 0.7
    width = 4.6 + 0.36 * min(paths, 32)
    figure = style.new_figure(width, max(height, 4.2))
    halves: Any = figure.subfigures(1, 2, width_ratios=(2.1, width - 2.1))
    left, right = halves
    rest = max(max(height, 4.2) - 4.1, 0.1)
    top, middle, _ = left.subfigures(3, 1, height_ratios=(2.5, 1.6, rest))
    _draw_image(top.subplots(), middle.subplots(), explanation)
    axes = right.subplots(len(blocks), 1, squeeze=False)[:, 0]
    for ax, view in zip(axes, blocks, strict=True):
        _draw_block(ax, view, explanation)
    axes[-1].set_xlabel("path")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=200)


def _draw_image(picture: Axes, bars: Axes, explanation: Mapping[str, Any]) -> None:
    """The image, and the likeliest classes at the network's end."""
    pixels = np.array(explanation["pixels"], np.uint8)
    grey = pixels.shape[2] == 1
    picture.imshow(
        pixels[..., 0] if grey else pixels, cmap="gray" if grey else None, interpolation="nearest"
    )
    picture.set_axis_off()
    truth = explanation["truth"]
    end = explanation["exit_block"]
    picture.set_title(
        f"{Path(explanation['image']).name}"
        + (f"\nclass {truth}" if truth is not None else "")
        + f"\nprediction {explanation['prediction']}\n"
        + (f"exits at block {end}: {explanation['exit_decision']}" if end else "no early exit"),
        fontsize=8,
        loc="left",
        parse_math=False,
    )
    names, values = zip(*explanation["probabilities"].items(), strict=True)
    places = np.arange(len(names))
    bars.barh(places, 100 * np.array(values), color=style.BLUE, height=0.6)
    bars.set_yticks(places, names, parse_math=False)
    bars.invert_yaxis()
    bars.set_xlim(0, 118)
    bars.set_xticks([0, 50, 100])
    for place, value in zip(places, values, strict=True):
        bars.annotate(
            f"{100 * value:.0f}", (100 * value, place), xytext=(2, 0),
            textcoords="offset points", va="center", fontsize=7,
        )  # fmt: skip
    bars.set_xlabel("softmax at the end (%)")
    bars.grid(axis="y", visible=False)


def _draw_block(ax: Axes, view: Mapping[str, Any], explanation: Mapping[str, Any]) -> None:
    """Measured energies in the first line, the codewords of the shown classes below."""
    energies = np.array(view["scaled_energies"])
    words = {name: np.array(list(map(int, word))) for name, word in view["codewords"].items()}
    N = len(energies)
    table = np.full((1 + len(words), N), np.nan)
    table[0] = energies
    ax.imshow(table, cmap=MAP, vmin=0, vmax=HIGHEST, aspect="auto", interpolation="nearest")
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    small = N <= MOST_CELLS
    for line, (name, word) in enumerate(words.items(), start=1):
        decided = name == view["decision"]
        for n, bit in enumerate(word):
            color = style.ORANGE if decided else "0.55"
            ax.add_patch(
                Rectangle(
                    (n - 0.44, line - 0.4), 0.88, 0.8,
                    facecolor=color if bit else "none", edgecolor="0.75", lw=0.5,
                )
            )  # fmt: skip
            if small:
                ax.text(
                    n, line, str(bit), ha="center", va="center", fontsize=6,
                    color="white" if bit else "0.55",
                )  # fmt: skip
        ax.text(
            N - 0.2, line, f"distance {view['distances'][name]:.2f}", va="center", fontsize=7,
            fontweight="bold" if decided else "normal",
        )  # fmt: skip
    if small:
        for n, value in enumerate(energies):
            ax.text(
                n, 0, f"{value:.1f}", ha="center", va="center", fontsize=6,
                color="white" if value > 0.6 * HIGHEST else "0.2",
            )  # fmt: skip
    ax.text(N - 0.2, 0, "measured r E", va="center", fontsize=7)
    ax.set_xlim(-0.5, N + 0.18 * N + 0.6)
    ax.set_yticks(range(1 + len(words)), ["energy", *words], parse_math=False)
    for label in ax.get_yticklabels()[1:]:
        if label.get_text() == view["decision"]:
            label.set_fontweight("bold")
            label.set_color("#9a5f00")
    ax.set_xticks(range(0, N, 1 if small else 4))
    ax.tick_params(length=0, pad=1)
    taken = view["block"] == explanation["exit_block"]
    sure = f"{explanation['criterion']} {view['confidence']:.3g}"
    end = "  EXITS HERE" if taken else ("  (would exit)" if view["leaves"] else "")
    ax.set_title(
        f"block {view['block']}: {view['decision']} ({sure}){end}",
        loc="left", fontweight="bold", color="#9a5f00" if taken else "black",
        parse_math=False,
    )  # fmt: skip
