"""What the fuzz tests share: no waiting for the disk, no warnings of what is damaged."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of files are written, and none has to survive a power cut."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """A damaged file may be warned of in many ways before it is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
