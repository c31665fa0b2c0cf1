"""An explanation as pieces of a page: HTML with inline drawings, no script, all text escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from codepath.parts.explanation import BlockView, Explanation

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
_HIGHEST = 1.25
"""Where bars end: r E is about 1 on a path that is fully used, and may be more."""


def style() -> str:
    """The style sheet of the pieces; colours are those of the page's light or dark theme."""
    return (Path(__file__).parent / "templates" / "style.css").read_text()


def summary(found: Explanation, class_names: Collection[str]) -> str:
    """The image, the network's decision, where it would have stopped, all classifiers' answers."""
    scores = [abs(answer.score - (answer.threshold or 0)) for answer in found.answers]
    return _TEMPLATES.get_template("summary.html.j2").render(
        found=found, picture=_picture(found), classes=len(class_names), widest=max(scores)
    )


def block(view: BlockView, found: Explanation, off: Collection[int]) -> str:
    """One coded block: its paths filling up beside the nearest codewords, and its decision."""
    nearest = sorted(view.distances, key=view.distances.__getitem__)
    bars = [
        {"path": n, "energy": energy, "height": min(energy / _HIGHEST, 1), "off": n in off}
        for n, energy in enumerate(view.scaled_energies)
    ]
    before = [one for one in found.blocks if one.block < view.block and one.leaves]
    return _TEMPLATES.get_template("block.html.j2").render(
        view=view,
        bars=bars,
        full=1 / _HIGHEST,
        nearest=nearest,
        gone=bool(before),
        criterion=found.criterion,
    )


def legend() -> str:
    """What the drawings of the blocks mean."""
    return _TEMPLATES.get_template("legend.html.j2").render()


def _picture(found: Explanation) -> str:
    """The pixels that the network sees, as a data URL of a PNG."""
    pixels = np.array(found.pixels, np.uint8)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def line(text: str, is_error: bool = False) -> str:
    """One line in place of everything else."""
    return _TEMPLATES.from_string(
        '<p role="status"{% if is_error %} class="cp-error"{% endif %}>{{ text }}</p>'
    ).render(text=text, is_error=is_error)
