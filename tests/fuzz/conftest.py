"""What the fuzz tests share: no waiting for the disk."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of files are written, and none has to survive a power cut."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
