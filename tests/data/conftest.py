"""What tests of data share: Pillow's newest pixels, whichever Pillow is installed."""

from __future__ import annotations

import pytest
from PIL import Image
from pillow_order import NEWEST, resize


@pytest.fixture(autouse=True)
def newest_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Image.resize goes in Pillow 13's order."""
    if not NEWEST:
        monkeypatch.setattr(Image.Image, "resize", resize)
