"""Verdicts from made-up rows with known answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

from codepath import store
from codepath.experiments import find_experiment
from codepath.figures import write_claims
from codepath.figures.judge import judge, judge_number, standard_error
from codepath.figures.verdict import Claim, claims
from codepath.store import Measurement
from tests.made_up import BASE, measurements


def find(judged: list[Claim], text: str, data: str = "cifar10, paper scale") -> Claim:
    (found,) = [claim for claim in judged if claim.text.startswith(text) and claim.data == data]
    return found


def test_the_made_up_rows_bear_out_every_shape(everything: Path, tmp_path: Path) -> None:
    path, judged = write_claims(everything, tmp_path)
    for text in (
        "Coded is more accurate",
        "Removing active paths hurts",
        "Removing inactive paths does not hurt",
        "Binary classifiers work by masking alone",
        "So they do against negatives",
        "Early decoders improve with depth",
        "Early decoders improve with mu",
        "Accuracy has its optimum",
        "p_drop > 0 is what makes",
        "4 is the best exponent",
        "Concatenating instead of summing",
    ):
        assert find(judged, text).verdict == "reproduced", text
    assert find(judged, "p_drop of 0.2 costs").verdict == "partly"  # made up without a difference
    text = path.read_text()
    assert "| 94.41 % | 94.10 ± 0.10 % | -0.31 | 3 | 10,000 | reproduced |" in text
    assert "table2-cifar10-paper-coded-s0-" in text


def test_numbers_are_held_to_their_tolerance(everything: Path) -> None:
    judged = claims(everything)
    assert find(judged, "Top-1 of the coded network, mu = 6").verdict == "reproduced"
    assert find(judged, "Top-1 of the plain network").verdict == "partly"  # -0.76, 0.5 allowed
    assert find(judged, "Mean precision of the ten").verdict == "contradicted"
    last = find(judged, "Top-1 of the coded network, mu = 4", "imagenet, paper scale")
    assert last.verdict == "reproduced"


def test_counted_claims_need_no_run(tmp_path: Path, results: Path) -> None:
    judged = claims(results)
    shares = [c for c in judged if c.text.startswith("Share of the parameters")]
    assert [(c.data, c.outcome.difference, c.verdict) for c in shares if c.outcome] == [
        ("cifar10", "-1.2", "partly"),
        ("cifar10", "+8.3", "contradicted"),
        ("cifar100", "-0.2", "reproduced"),
        ("cifar100", "+10.4", "contradicted"),
        ("imagenet", "-0.8", "reproduced"),
        ("imagenet", "+6.6", "contradicted"),
    ]
    assert find(judged, "Codewords of the ten classes", "cifar10").verdict == "reproduced"
    assert claims(tmp_path / "nothing")  # without any rows every trained claim is "not run"
    assert find(claims(tmp_path / "nothing"), "Coded is more").verdict == "not run"


def test_an_absurd_run_changes_the_verdict(results: Path) -> None:
    for seed in range(3):
        absurd = dataclasses.replace(
            BASE, seed=seed, run_id=f"a{seed}", created="2026-02-01T00:00:00.000000+00:00"
        )
        rows = [Measurement(kind="accuracy", metric="top1", value=0.5, n=10_000)]
        store.append_rows(results, store.rows_of(rows, absurd))
    judged = claims(results)
    assert find(judged, "Coded is more accurate").verdict == "contradicted"
    assert find(judged, "Top-1 of the coded network, mu = 6").verdict == "contradicted"


def test_a_removed_run_turns_its_claims_to_not_run(results: Path, tmp_path: Path) -> None:
    for path in results.glob("*.csv"):
        kept = [line for line in path.read_text().splitlines() if "aggregate=concat" not in line]
        path.write_text("\n".join(kept) + "\n")
    path, judged = write_claims(results, tmp_path)
    ruined = find(judged, "Concatenating instead of summing")
    assert ruined.verdict == "not run"
    assert "no rows at paper scale of table2-cifar10+model.aggregate=concat" in ruined.reason
    assert "codepath run concat-cifar10 --scale paper --results results" in path.read_text()
    assert find(judged, "Coded is more accurate").verdict == "reproduced"


def test_some_settings_are_enough_for_what_they_say(results: Path) -> None:
    for path in results.glob("*.csv"):
        kept = [
            line
            for line in path.read_text().splitlines()
            if not any(f"train.mu={mu}," in line for mu in (4, 10, 14))
        ]
        path.write_text("\n".join(kept) + "\n")
    optimum = find(claims(results), "Accuracy has its optimum")
    assert optimum.verdict == "reproduced"
    assert optimum.ours.startswith("mu 0, 2, 6, 18: ")


def test_an_optimum_at_an_end_is_a_contradiction_only_beyond_its_error(results: Path) -> None:
    def with_end(value: float, made: str) -> Claim:
        for seed in range(3):
            end = dataclasses.replace(
                BASE, experiment="table2-cifar10+train.mu=18", run_id=f"e{seed}", seed=seed,
                created=made,
            )  # fmt: skip
            rows = [Measurement(kind="accuracy", metric="top1", value=value, n=10_000)]
            store.append_rows(results, store.rows_of(rows, end))
        return find(claims(results), "Accuracy has its optimum")

    near = with_end(0.9415, "2026-02-01T00:00:00.000000+00:00")
    assert near.verdict == "partly"
    assert near.outcome is not None
    assert "against mu 18" in near.outcome.why
    assert with_end(0.96, "2026-03-01T00:00:00.000000+00:00").verdict == "contradicted"


def test_a_fall_within_a_rise_is_partly(results: Path) -> None:
    run = find_experiment("table2-cifar10").runs("paper", 0)[0]
    for seed in range(3):
        later = dataclasses.replace(
            BASE, seed=seed, run_id=f"b{seed}", created="2026-02-01T00:00:00.000000+00:00"
        )
        rows = [
            dataclasses.replace(m, value=0.01) if m.kind == "decoders" and m.block == 6 else m
            for m in measurements(run, 0.001 * seed)
        ]
        store.append_rows(results, store.rows_of(rows, later))
    depth = find(claims(results), "Early decoders improve with depth")
    assert depth.verdict == "partly"
    assert depth.outcome is not None
    assert depth.outcome.why == "it rises over all, and falls at some step"


def test_proxies_are_called_so_and_never_meet_the_papers_numbers(tmp_path: Path) -> None:
    run = find_experiment("table2-cifar10").runs("cpu", 0)[0]
    cpu = dataclasses.replace(BASE, scale="cpu")
    store.append_rows(tmp_path, store.rows_of(measurements(run), cpu))
    judged = claims(tmp_path)
    assert (
        find(judged, "Early decoders improve with depth", "cifar10, cpu scale (proxy)").verdict
        == "reproduced"
    )
    assert find(judged, "Top-1 of the coded network, mu = 6").verdict == "not run"


@pytest.mark.parametrize(
    ("difference", "verdict"), [(2.1, "reproduced"), (1.9, "partly"), (-1.9, "partly")]
)
def test_judging_needs_two_standard_errors(difference: float, verdict: str) -> None:
    assert judge(difference, 1.0) == verdict
    assert judge(-2.1, 1.0) == "contradicted"


def test_errors_come_from_the_seeds_or_the_images() -> None:
    binomial = (2 * 0.9 * 0.1 / 10_000) ** 0.5
    assert standard_error(pd.Series([0.01]), 0.9, 10_000) == pytest.approx(binomial)
    near, far = pd.Series([0.01, 0.01]), pd.Series([0.1, -0.1])
    assert standard_error(near, 0.9, 10_000) == pytest.approx(binomial / 2**0.5)
    assert standard_error(far, 0.9, 10_000) == pytest.approx(0.1)
    assert standard_error(pd.Series([0.01, 0.02, 0.03]), 0.9, 1) == pytest.approx(0.01 / 3**0.5)


def test_numbers_within_twice_the_tolerance_are_partly_the_papers() -> None:
    found = [judge_number(d, 0.5) for d in (0.5, -0.7, 1.1)]
    assert found == ["reproduced", "partly", "contradicted"]
