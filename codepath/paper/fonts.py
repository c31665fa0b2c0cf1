"""Fonts with few glyphs: cutting a whole font down took half of the time that a PDF takes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import matplotlib as mpl
from fontTools import subset
from matplotlib.font_manager import fontManager

from codepath.core.files import atomic_path, make_directory

FAMILY = "DejaVu Sans"
_SLIM = f"{FAMILY}, some scripts"
_FILES = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")
_SCRIPTS = (
    (0x20, 0x24F),  # Latin
    (0x370, 0x3FF),  # Greek
    (0x400, 0x45F),  # Cyrillic
    (0x2000, 0x22FF),  # punctuation, super- and subscripts, arrows, mathematics
)


def use_slim_fonts(folder: Path) -> None:
    """Draw with DejaVu Sans cut down to some scripts, and with the whole font for other glyphs.

    Shapes, widths and kerning are the same. The files are made once, in `folder`.
    """
    made = {entry.fname for entry in fontManager.ttflist if entry.name == _SLIM}
    for name in _FILES:
        path = make_directory(folder) / f"{mpl.__version__}-{name}"
        if not path.exists():
            _cut_down(Path(mpl.get_data_path()) / "fonts" / "ttf" / name, path)
        if str(path) not in made:
            fontManager.addfont(path)
            entry = fontManager.ttflist.pop()
            fontManager.ttflist.append(dataclasses.replace(entry, name=_SLIM))
    mpl.rcParams["font.sans-serif"] = [_SLIM, FAMILY]


def _cut_down(whole: Path, path: Path) -> None:
    options = subset.Options(
        glyph_names=True, recommended_glyphs=True, layout_features=["*"], name_IDs=["*"]
    )
    options.drop_tables += ["FFTM"]  # a time stamp that fontTools warns of
    font = subset.load_font(str(whole), options)
    cut = subset.Subsetter(options)
    cut.populate(unicodes=[code for first, last in _SCRIPTS for code in range(first, last + 1)])
    cut.subset(font)
    with atomic_path(path) as temporary:
        font.save(temporary, reorderTables=False)
