"""Verdicts from made-up rows with known answers."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pandas as pd
import pytest

from codepath import store
from codepath.experiments import find_experiment
from codepath.experiments.coverage import OTHER_CONFIGURATION, gaps, rows_of_run
from codepath.experiments.deviations import DEVIATIONS
from codepath.paper.claims.deviation_list import effect
from codepath.paper.claims.judge import (
    Comparison,
    common_seeds,
    compare_classes,
    judge,
    judge_number,
    standard_error,
)
from codepath.paper.claims.published import margin_of_table2, off_the_paper
from codepath.paper.claims.verdict import HEADER, Claim, cells, claims, write_claims
from codepath.paper.pictures import fig4
from codepath.paper.report.page import coverage, write_report
from codepath.paper.style import describe
from codepath.paper.tables.baselines import comparisons
from codepath.paper.tables.table_files import make_tables
from codepath.store import Measurement
from tests.docs.fences import ROOT
from tests.made_up import BASE, add_rows, keep_runs, measurements


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
        "A binary logit separates its class",
        "Early decoders improve with depth",
        "Early decoders improve with mu",
        "Accuracy has its optimum",
        "p_drop > 0 is what makes",
        "4 is the best exponent",
        "Concatenating instead of summing",
        "Linear decoders, fitted to training images",
    ):
        assert find(judged, text).verdict == "reproduced", text
    assert find(judged, "p_drop of 0.2 costs").verdict == "partly"  # made up without a difference
    text = path.read_text()
    off = "0.31 points below the paper"
    assert f"| 94.41 % | 94.10 ± 0.10 % | {off} | 3 | 10,000 | reproduced |" in text
    assert "| 0.75 points more | 94.10 ± 0.10 against 92.90 ± 0.10 % | 1.20 points (SE " in text


def test_numbers_are_held_to_their_tolerance(everything: Path) -> None:
    judged = claims(everything)
    assert find(judged, "Top-1 of the coded network, mu = 6").verdict == "reproduced"
    assert find(judged, "Top-1 of the plain network").verdict == "partly"  # -0.76, 0.5 allowed
    precision = [claim for claim in judged if claim.text.startswith("Mean precision of the ten")]
    assert [claim.verdict for claim in precision] == ["contradicted", "contradicted"]
    assert "against negatives of CIFAR-100" in precision[1].text
    assert precision[1].paper == "75.8 % (9 points)"
    recall = find(judged, "Mean recall of the binary classifiers with p_drop = 0.1")
    assert recall.verdict == "partly"
    for text, tolerance in (
        ("10^9 multiply-adds of ImageNet's plain", "2 %"),
        ("Training speed of ImageNet's coded", "5 % on the worse side"),
        ("Top-1 of the plain network", "0.5 points"),
    ):
        found = [claim for claim in judged if claim.text.startswith(text)]
        assert all(claim.text.endswith(f"(tolerance {tolerance})") for claim in found)
        assert found
    last = find(judged, "Top-1 of the coded network, mu = 4", "imagenet, paper scale")
    assert last.verdict == "reproduced"


def test_counted_claims_need_no_run(tmp_path: Path, results: Path) -> None:
    judged = claims(results)
    shares = [c for c in judged if c.text.startswith("Share of the parameters")]
    assert [(c.data, c.outcome.difference, c.verdict) for c in shares if c.outcome] == [
        ("cifar10", "1.2 points below the paper", "partly"),
        ("cifar10", "8.3 points above the paper", "contradicted"),
        ("cifar100", "0.2 points below the paper", "reproduced"),
        ("cifar100", "10.4 points above the paper", "contradicted"),
        ("imagenet", "0.8 points below the paper", "reproduced"),
        ("imagenet", "6.6 points above the paper", "contradicted"),
    ]
    assert find(judged, "Codewords of the ten classes", "cifar10").verdict == "reproduced"
    assert claims(tmp_path / "nothing")  # without any rows every trained claim is "not run"
    assert find(claims(tmp_path / "nothing"), "Coded is more").verdict == "not run"


@pytest.mark.parametrize("committed", [True, False])
def test_claims_call_a_run_by_the_key_of_every_table(
    committed: bool, everything: Path, tmp_path: Path
) -> None:
    folder = ROOT / "results" if committed else everything
    path = ROOT / "paper/claims.md" if committed else write_claims(everything, tmp_path)[0]
    runs = pd.read_csv(folder / "runs.csv")
    measured = {
        key for kind in store.KINDS if (folder / f"{kind}.csv").exists()
        for key in pd.read_csv(folder / f"{kind}.csv", usecols=["run"])["run"]
    }  # fmt: skip
    text = path.read_text()
    judged = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    judged = [line for line in judged if len(line) == len(HEADER)]
    assert judged[0] == HEADER
    assert HEADER[-1] == runs.columns[0] == "run"
    named = {key for line in judged[2:] for key in line[-1].split(", ") if key != "-"}
    assert len(named) > 20
    assert named <= set(runs["run"]) & measured
    assert not [run_id for run_id in runs["run_id"] if run_id in text]


def test_how_far_a_number_is_off_is_said_in_words() -> None:
    def difference(mean: float) -> str:
        return Comparison(mean, 0.002, 3).in_words()

    assert difference(0.0129) == "1.29 points (SE 0.20)"
    assert difference(-0.0129) == "1.29 points the other way (SE 0.20)"
    assert off_the_paper(-1.634) == "1.63 points below the paper"
    assert off_the_paper(1234, ",", "") == "1,234 above the paper"
    assert off_the_paper(0.001) == "none"
    assert margin_of_table2("cifar100") == pytest.approx(1.42)
    assert margin_of_table2("digits") is None


def test_an_effect_that_published_numbers_show_is_taken_from_them(
    tmp_path: Path, everything: Path
) -> None:
    (macs,) = (one for one in DEVIATIONS if one.numbers)
    text = effect(everything, macs)
    for claim in claims(everything):
        if claim.text.startswith(macs.numbers):
            assert claim.outcome is not None
            assert f"{claim.text.partition(' (')[0]}: {claim.outcome.difference}" in text
    assert text.count("below the paper") == 2
    assert effect(tmp_path, macs) == macs.effect  # without rows


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
    keep_runs(results, lambda line: "aggregate=concat" not in line)
    path, judged = write_claims(results, tmp_path)
    ruined = find(judged, "Concatenating instead of summing")
    assert ruined.verdict == "not run"
    assert "no rows at paper scale of table2-cifar10+model.aggregate=concat" in ruined.reason
    assert f"codepath run concat-cifar10 --scale paper --results {results}" in path.read_text()
    assert find(judged, "Coded is more accurate").verdict == "reproduced"


def without(results: Path, text: str, scale: str = "paper") -> None:
    """Take the runs with a text out."""
    keep_runs(results, lambda line: not (text in line and f",{scale}," in line))


SHAPES_OF = {
    "train.mu=4,": ("Early decoders improve with mu", "Accuracy has its optimum"),
    "train.mu=18,": ("Early decoders improve with mu", "Accuracy has its optimum"),
    "model.p_drop=0,": ("p_drop > 0 is what makes", "p_drop of 0.2 costs"),
    "model.p_drop=0.2,": ("p_drop > 0 is what makes", "p_drop of 0.2 costs"),
    "train.exponent=1,": ("4 is the best exponent",),
    "train.exponent=2,": ("4 is the best exponent",),
    "model.aggregate=concat,": ("Concatenating instead of summing",),
    ",baseline,": ("Coded is more accurate", "Training for extraction: the whole network"),
    "train.objective=": (
        *(
            "Training for extraction: the whole network",
            "Training for extraction: every early decoder",
        ),
        "Training for extraction: the binary classifiers",
    ),
    "table2-cifar10,": (
        *("Coded is more accurate", "Removing active paths", "Removing inactive paths"),
        *("Binary classifiers work", "So they do against", "A binary logit separates"),
        *("Early decoders improve with depth", "4 is the best exponent", "p_drop of 0.2 costs"),
        *("Early decoders improve with mu", "Concatenating instead", "Linear decoders"),
        *(
            "Training for extraction: every early decoder",
            "Training for extraction: the binary classifiers",
        ),
    ),
}
"""A text of a run's rows -> the shape claims that the run is part of."""


@pytest.mark.parametrize("run", SHAPES_OF)
def test_without_any_one_of_its_runs_a_claim_is_not_run(results: Path, run: str) -> None:
    without(results, run)
    judged = claims(results)
    for text in SHAPES_OF[run]:
        assert find(judged, text).verdict == "not run", text


def test_every_network_of_a_claim_counts(everything: Path, tmp_path: Path) -> None:
    results = Path(shutil.copytree(everything, tmp_path / "results"))
    text = "Early decoders improve with depth"
    both = find(claims(results), text, "imagenet, paper scale")
    assert both.ours.startswith("mu 1, blocks 8 to 16: ")
    assert "; mu 4, blocks 8 to 16: " in both.ours
    without(results, "table2-imagenet+train.mu=4,")
    assert find(claims(results), text, "imagenet, paper scale").verdict == "not run"


def test_compared_runs_are_taken_at_common_seeds(results: Path) -> None:
    coded = find_experiment("table2-cifar10").runs("paper", 0)[0]
    for seed in (1, 2):
        without(results, dataclasses.replace(coded, seed=seed).run_id)
    for text in ("Coded is more accurate", "p_drop > 0 is what", "Concatenating", "4 is the best"):
        outcome = find(claims(results), text).outcome
        assert outcome is not None
        assert outcome.seeds == 1, text
        assert all("-s0-" in run_id for run_id in outcome.runs.values())
    means = find(claims(results), "Coded is more accurate")
    assert means.ours == "94.00 against 92.80 %"  # without the other seeds of the plain network
    assert means.outcome is not None
    assert means.outcome.difference.startswith("1.20 points (SE ")


def test_classes_are_compared_at_common_seeds() -> None:
    def rows(seeds: dict[int, float]) -> pd.DataFrame:
        return pd.DataFrame(
            [
                {"seed": seed, "class": name, "value": value, "n": 10}
                for seed, value in seeds.items()
                for name in ("a", "b")
            ]
        )

    found = compare_classes(rows({0: 0.5, 1: 0.9, 2: 0.9}), rows({0: 0.4, 7: 0.0}))
    assert found.mean == pytest.approx(0.1)
    assert found.seeds == 1
    assert len(common_seeds(rows({0: 1.0}), rows({1: 1.0}))[0]) == 0


def test_concatenation_ruins_where_half_of_f1_is_lost(results: Path) -> None:
    path = results / "binary.csv"
    rows = pd.read_csv(path)
    runs = rows["run"].map(pd.read_csv(results / "runs.csv").set_index("run").to_dict("index").get)
    for name in ("experiment", "seed"):
        rows[name] = [run[name] for run in runs]
    f1 = (rows["metric"] == "f1") & (rows["negatives"] == "all")
    summed = rows[f1 & (rows["experiment"] == "table2-cifar10") & (rows["seed"] == 0)]
    joined = f1 & rows["experiment"].str.contains("aggregate=concat")
    for left, verdict in ((0.4, "reproduced"), (0.6, "partly"), (0.95, "contradicted")):
        values = summed.set_index("class")["value"] * left
        rows.loc[joined, "value"] = rows.loc[joined, "class"].map(values)
        rows.drop(columns=["experiment", "seed"]).to_csv(path, index=False)
        found = find(claims(results), "Concatenating instead of summing")
        assert found.verdict == verdict
        assert found.outcome is not None
        assert (f"{100 * left:.0f} % of it are left" in found.outcome.why) == (left > 0.5)


def test_a_logit_that_separates_a_little_is_partly(results: Path) -> None:
    path = results / "histograms.csv"
    rows = pd.read_csv(path)
    for share, verdict in ((0.8, "reproduced"), (0.6, "partly"), (0.4, "contradicted")):
        above = (rows["group"] == "positive") == (rows["left"] >= 2.5)
        bins = rows.groupby(["run", "class", "group", above])["value"].transform("size")
        rows.assign(value=share / bins.where(above) * 100).fillna(
            {"value": (1 - share) / bins * 100}
        ).to_csv(path, index=False)
        found = find(claims(results), "A binary logit separates")
        assert found.verdict == verdict
        assert "at least 75 %" in found.text


def test_another_configuration_is_named(results: Path, tmp_path: Path) -> None:
    coded = find_experiment("table2-cifar10").runs("paper", 0)[0]
    old = dataclasses.replace(coded, train=dataclasses.replace(coded.train, lr=0.2))
    for seed in range(3):
        now, then = (dataclasses.replace(run, seed=seed).run_id for run in (coded, old))
        path = results / "runs.csv"
        path.write_text(path.read_text().replace(now, then))
    judged = claims(results)
    assert "3 of 6 runs made with another configuration" in find(judged, "Coded is more").why
    assert find(judged, "Early decoders improve with depth").why.endswith(OTHER_CONFIGURATION)
    top1 = find(judged, "Top-1 of the coded network, mu = 6")
    assert cells(top1)[HEADER.index("verdict")] == f"{top1.verdict} ({OTHER_CONFIGURATION})"
    assert not find(judged, "Top-1 of the plain network").why

    assert describe(fig4.load(results), bars=True).endswith(f"\n{OTHER_CONFIGURATION}")
    table2 = next(table for table in make_tables(results) if table.name == "table2")
    marked = {row[2]: OTHER_CONFIGURATION in row[3] for row in table2.body}
    assert marked == {"coded": True, "baseline": False}
    baselines = comparisons(results)[0]
    marked = {row[1]: OTHER_CONFIGURATION in row[2] for row in baselines.body}
    assert marked == {"coded ResNeXt": True, "plain ResNeXt": False}
    missing = [gap for gap in gaps(results) if gap.experiment.name == "fig4-cifar10"]
    assert [gap.what for gap in missing] == [
        f"rows at paper scale of table2-cifar10 coded are {OTHER_CONFIGURATION}"
    ]
    (record,) = [
        one for one in coverage(results) if (one["name"], one["scale"]) == ("fig4-cifar10", "paper")
    ]
    assert record["state"] == f"0 of 1 runs; others {OTHER_CONFIGURATION}"
    assert not record["complete"]
    page, _ = write_report(results, tmp_path)
    assert page.read_text().count(OTHER_CONFIGURATION) > 10


def test_rows_of_two_configurations_of_a_seed_are_not_mixed(results: Path) -> None:
    again = dataclasses.replace(
        BASE, run_id="again", seed=1, created="2026-02-01T00:00:00.000000+00:00"
    )
    rows = [
        Measurement(kind="decoders", metric="top1", value=0.5, n=10_000, block=4, decoder="eq7")
    ]
    store.append_rows(results, store.rows_of(rows, again))
    run = find_experiment("table2-cifar10").runs("paper", 0)[0]
    found = rows_of_run(results, "decoders", run)
    assert found[found["seed"] == 1]["value"].tolist() == [0.5]
    assert found[found["seed"] == 0]["block"].nunique() == 6


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


MINE = "cifar10, short scale"


def test_the_short_scale_is_judged_on_a_line_of_its_own(
    results: Path, made_up_short: Path, tmp_path: Path
) -> None:
    before = {(claim.text, claim.data): claim.verdict for claim in claims(results)}
    assert not any("short scale" in data for _, data in before)
    assert "short" not in {one["scale"] for one in coverage(results)}
    add_rows(results, made_up_short)
    judged = {(claim.text, claim.data): claim.verdict for claim in claims(results)}
    assert before == {key: judged[key] for key in before}
    added = {text: judged[text, data] for text, data in set(judged) - set(before)}
    assert {data for _, data in set(judged) - set(before)} == {MINE}
    assert len(added) == 8
    assert set(added.values()) == {"reproduced"}
    assert "Coded is more accurate than plain ResNeXt" in added
    words = "Short scale: the paper's network and recipe, 60 of 300 epochs; a proxy: "
    assert write_claims(results, tmp_path)[0].read_text().count(words) == 1
    page = write_report(results, tmp_path)[0].read_text()
    assert page.count(words.replace("'", "&#39;")) == 3  # above claims, below two tables


def test_the_short_scale_is_missed_where_it_was_begun(results: Path, made_up_short: Path) -> None:
    add_rows(results, made_up_short)
    without(results, ",baseline,", "short")
    plain = find(claims(results), "Coded is more accurate", MINE)
    assert plain.verdict == "not run"
    assert "no rows at short scale of table2-cifar10 baseline (it needs a GPU)" in plain.reason
    lines = [one["name"] for one in coverage(results) if one["scale"] == "short"]
    assert "table2-cifar10" in lines
    assert "table2-cifar100" not in lines

    def lines_of(name: str) -> str:
        return "".join(gap.line() for gap in gaps(results) if gap.experiment.name == name)

    assert not lines_of("table2-cifar10")  # another scale has all
    assert "no rows at paper scale" in lines_of("table2-cifar100")
    without(results, "", "paper")
    assert "no rows at cpu scale" in lines_of("table2-cifar10")


def test_other_images_do_not_contradict_the_papers_numbers(tmp_path: Path) -> None:
    run = find_experiment("table2-cifar10").runs("paper", 0)[0]
    rows = [dataclasses.replace(m, value=0.5) for m in measurements(run) if m.metric == "top1"]
    for source, verdict in (
        ("CIFAR-10 archive", "contradicted"),
        ("CIFAR-10 as images, JPEG quality 75", "partly"),
    ):
        results = tmp_path / verdict
        paper = dataclasses.replace(
            BASE, scale="paper", run_id=run.run_id, experiment=run.experiment, source=source
        )
        store.append_rows(results, store.rows_of(rows, paper))
        claim = find(claims(results), "Top-1 of the coded network, mu = 6")
        assert claim.verdict == verdict
        assert ("JPEG quality 75, not the paper's" in claim.why) == (verdict == "partly")
        assert ("88.8 times the tolerance" in claim.why) == (verdict == "partly")
        assert claim.outcome is not None
        assert claim.outcome.difference == "44.41 points below the paper"


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
