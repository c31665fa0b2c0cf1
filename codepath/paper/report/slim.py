"""Figures in one page, made smaller: what they share stands there once, unseen digits nowhere.

matplotlib writes into every figure the outlines of its letters, a style for every line, a name for
every group, and six decimals.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_GLYPH = re.compile(r'<path id="(?P<id>[^"]*DejaVuSans[^"]*)" d="(?P<d>[^"]*)"(?P<rest>[^>]*)/>\s*')
_LINK = re.compile(r'(?P<before>(?:xlink:)?href="#|url\(#)(?P<id>[^")]+)')
_ID = re.compile(r' id="([^"]*)"')
_STYLE = re.compile(r' style="((?:fill|stroke|opacity)[^"]*)"')
_PLACES = re.compile(r'(?<= )(d|x|y|cx|cy|r|points)="([^"]*)"')
_MOVES = re.compile(r"translate\([^)]*\)")
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_COMMENTS = re.compile(r"<!--.*?-->", re.DOTALL)
_BLANKS = re.compile(r">\s+<")


def slim(figures: Sequence[str]) -> tuple[str, list[str]]:
    """(<svg> with the glyphs and styles of all figures, the figures that use them)."""
    outlines: dict[str, str] = {}
    styles: dict[str, str] = {}
    made = []
    for number, figure in enumerate(figures):
        figure = _COMMENTS.sub("", figure)
        names: dict[str, str] = {}
        for match in _GLYPH.finditer(figure):
            outline = f'd="{" ".join(match["d"].split())}"{match["rest"]}'
            names[match["id"]] = outlines.setdefault(outline, f"g{len(outlines)}")
        figure = _GLYPH.sub("", figure)
        made.append(_BLANKS.sub("><", _rounded(_renamed(_styled(figure, styles), names, number))))
    glyphs = "".join(f'<path id="{name}" {outline}/>' for outline, name in outlines.items())
    rules = "".join(f".{name}{{{style}}}" for style, name in styles.items())
    return (
        '<svg width="0" height="0" style="position:absolute" aria-hidden="true">'
        f"<style>{rules}</style>{glyphs}</svg>",
        made,
    )


def _styled(figure: str, styles: dict[str, str]) -> str:
    """Styles as classes; those with a link into the figure stay."""

    def named(match: re.Match[str]) -> str:
        style = match[1].replace("; ", ";").replace(": ", ":")
        if "url(" in style:
            return f' style="{style}"'
        return f' class="{styles.setdefault(style, f"s{len(styles)}")}"'

    return _STYLE.sub(named, figure)


def _renamed(figure: str, names: dict[str, str], number: int) -> str:
    """Short ids, and none where nothing refers to it; `names` are those of glyphs."""
    names = dict(names)
    for match in _LINK.finditer(figure):
        names.setdefault(match["id"], f"f{number}-{len(names)}")
    figure = _LINK.sub(
        lambda match: match["before"].removeprefix("xlink:") + names[match["id"]], figure
    )
    return _ID.sub(lambda match: f' id="{names[match[1]]}"' if match[1] in names else "", figure)


def _rounded(figure: str) -> str:
    """Coordinates with two decimals and single blanks."""

    def short(match: re.Match[str]) -> str:
        return f"{float(match[0]):.2f}"

    def place(match: re.Match[str]) -> str:
        return f'{match[1]}="{_NUMBER.sub(short, " ".join(match[2].split()))}"'

    return _MOVES.sub(lambda m: _NUMBER.sub(short, m[0]), _PLACES.sub(place, figure))
