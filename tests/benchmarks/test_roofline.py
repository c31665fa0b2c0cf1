"""The roofline counts what is written by hand here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import roofline
from benchmarks.roofline import CARDS, Card, Operation, operations
from codepath.experiments import find_experiment
from codepath.store import read_benchmark


def total(found: list[Operation], stage: str, kind: str) -> tuple[int, int]:
    mine = [one for one in found if (one.stage, one.kind) == (stage, kind)]
    return sum(one.bytes for one in mine), sum(one.multiply_adds for one in mine)


def test_the_longer_of_memory_and_arithmetic_counts() -> None:
    card = Card("made up", 100.0, 10.0)
    assert Operation("", "", 300, 10).seconds(card) == 3
    assert Operation("", "", 100, 10).seconds(card) == 2


def test_convolutions_of_c10() -> None:
    """110 channels padded to 120, groups merged; forward and two gradients."""
    coded, plain = find_experiment("table2-cifar10").runs("paper", 0)
    pixels = 8 * 32 * 32
    weight = 120 * 120 * 9
    for config in (coded, plain):
        moved, products = total(operations(config, 8), "layer1", "convolution 3x3")
        assert products == 3 * 3 * pixels * weight
        assert moved == 3 * 3 * 2 * (2 * pixels * 120 + weight)
    # Three times conv1 and conv3, and the shortcut's, of 64 then 256 channels.
    moved, products = total(operations(coded, 8), "layer1", "convolution 1x1")
    weights = 64 * 120 + 2 * 256 * 120 + 3 * 120 * 256 + 64 * 256
    assert products == 3 * pixels * weights


def test_coded_and_plain_differ_in_the_coding_alone() -> None:
    coded, plain = (
        operations(run, 8) for run in find_experiment("table2-cifar10").runs("paper", 0)
    )
    assert sorted(one for one in coded if one.kind != "coding") == sorted(plain)
    sizes = {"layer2": (240 * 16 * 16, 240 * 24), "layer3": (440 * 8 * 8, 440 * 44)}
    for stage, (hidden, moments) in sizes.items():
        assert total(coded, stage, "coding")[0] == 3 * 8 * (54 * hidden + 24 * moments)
    assert total(coded, "layer1", "coding") == (0, 0)


def test_batch_norm_of_c10s_stem() -> None:
    """Statistics, normalising, two sums, gradient: 8 passes over 64 channels."""
    coded, _ = find_experiment("table2-cifar10").runs("paper", 0)
    moved, _ = total(operations(coded, 8), "stem", "batch norm")
    assert moved == 8 * 2 * 8 * 64 * 32 * 32


def test_the_rows_add_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["roofline", "--networks", "C10", "--out", str(tmp_path)])
    roofline.main()
    rows = read_benchmark(tmp_path / "roofline.csv")
    assert set(rows["card"]) == {card.name for card in CARDS}
    sums = rows.groupby(["way", "card"])["value"].sum()
    for card in CARDS:
        assert sums["plain", card.name] < sums["least", card.name] < sums["present", card.name]
