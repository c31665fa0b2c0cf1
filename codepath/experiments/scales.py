"""What the scales of `codepath.run.config.SCALES` are, and what they are called."""

from __future__ import annotations

from collections.abc import Iterable

SHORT, PAPER = "short", "paper"
SHORT_EPOCHS, PAPER_EPOCHS = 60, 300
"""Epochs of CIFAR's recipe at the two scales, which differ in nothing else."""
GPU_SCALES = (SHORT, PAPER)
"""The scales with the paper's networks, which a GPU trains, compiled."""
WORDS = {SHORT: f"the paper's network and recipe, {SHORT_EPOCHS} of {PAPER_EPOCHS} epochs"}
"""Words on scales whose name alone would mislead."""


def in_full(scale: str) -> str:
    """A scale's name for captions, with its words from WORDS where it has some."""
    words = WORDS.get(scale)
    return f"{scale} scale" + (f": {words}" if words else "")


def proxy_mark(scale: str) -> str:
    """The mark behind a scale's name in a label; the short scale has a `note` instead."""
    return "" if scale in GPU_SCALES else " (proxy)"


def note(scales: Iterable[str]) -> str:
    """The note beside labels that name these scales; empty where the labels say enough."""
    if SHORT not in set(scales):
        return ""
    return f"{in_full(SHORT).capitalize()}; a proxy: the paper's numbers are not compared with it."
