"""Figures from made-up rows with known answers."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from typer.testing import CliRunner

from codepath import store
from codepath.cli import app
from codepath.codes import load_scheme
from codepath.core.errors import UserError
from codepath.experiments import find_experiment
from codepath.experiments.coverage import gaps
from codepath.paper.build import build_figures
from codepath.paper.catalogue import PANELS, drawings
from codepath.paper.hover import spots, to_svg
from codepath.paper.panel import Panel
from codepath.paper.pictures import (
    binary_points,
    compression_curve,
    exit_curves,
    fig2a,
    fig2b,
    fig2c,
    fig3,
    fig4,
    fig5,
    fig6,
    fig8,
    linear,
    objective,
    path_energies,
)
from codepath.paper.scheme_drawing import draw_scheme
from codepath.paper.style import describe, use_style
from tests.made_up import BASE, keep_runs, measurements

OF_CIFAR10 = ("fig2a", "fig2b", "fig3", "fig4", "fig5", "fig6", "fig7", "exponent", "concat")
USES = ("linear", "exits", "compression", "paths", "objective")
STUDIES = {"decoding", "codes", "cost-cpu"}


def test_all_figures_are_built_and_repeat_to_the_byte(results: Path, tmp_path: Path) -> None:
    built = build_figures(results, tmp_path / "a")
    stems = {path.stem for path in built.paths}
    assert stems == STUDIES | {
        f"{name}-cifar10-paper" for name in (*OF_CIFAR10, *USES, "variants", "overview")
    }
    assert {path.suffix for path in built.paths} == {".pdf", ".png"}
    assert not any("cifar10:" in line for line in built.missing)
    for path, again in zip(built.paths, build_figures(results, tmp_path / "b").paths, strict=True):
        assert path.read_bytes() == again.read_bytes()
        assert len(path.read_bytes()) > 5000


def test_the_papers_other_data_sets_have_figures_too(everything: Path) -> None:
    for panel in PANELS:
        rows = panel.load(everything)
        assert len(rows), panel.name
    assert set(fig2c.PANEL.load(everything)["dataset"]) == {"cifar100"}
    assert set(fig8.PANEL.load(everything)["dataset"]) == {"imagenet"}
    assert set(fig5.load(everything)["dataset"]) == {"cifar10", "cifar100"}


def drawn(module, results: Path, dataset: str = "cifar10") -> plt.Axes:
    _, ax = plt.subplots()
    rows = module.PANEL.load(results)
    module.PANEL.draw(ax, rows[rows["dataset"] == dataset], dataset)
    return ax


def points(ax: plt.Axes, label: str) -> list[tuple[float, float]]:
    """The points of the line or error bar with a label, rounded to 0.01."""
    for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
        if name == label:
            line = handle[0] if hasattr(handle, "__getitem__") else handle
            x, y = line.get_data()
            return [(round(float(a), 2), round(float(b), 2)) for a, b in zip(x, y, strict=True)]
    raise AssertionError(f"no {label!r} in {ax.get_legend_handles_labels()[1]}")


def test_fig2a_shows_means_over_seeds_beside_the_papers_points(results: Path) -> None:
    ax = drawn(fig2a, results)
    assert points(ax, "active paths") == [(x, round(94.1 - x, 2)) for x in range(6)]
    assert points(ax, "inactive paths")[5] == (5, 95.1)
    assert points(ax, "active (paper)")[1] == (1, 94.0)
    assert points(ax, "inactive (paper)")[5] == (5, 95.4)


def test_fig2b_has_a_point_per_class_and_negatives_of_both_kinds(results: Path) -> None:
    ax = drawn(fig2b, results)
    precision = sorted(y for _, y in points(ax, "classes"))
    assert precision == [round(72 + 2.0 * k, 2) for k in range(10)]
    outside = sorted(y for _, y in points(ax, "negatives of other data"))
    assert outside == [round(0.8 * y, 2) for y in precision]
    assert len(points(ax, "paper")) == 10
    assert len(points(ax, "paper, other negatives")) == 9


def test_fig2c_prefers_nine_negatives_for_each_positive(everything: Path, tmp_path: Path) -> None:
    drawn_rows = [
        store.Measurement(
            kind="binary", metric=m, value=0.5, n=10, class_name=c, objective="f1",
            fitted="train", negatives=store.DRAWN,
        )
        for c in ("c0", "c1")
        for m in ("precision", "recall")
    ]  # fmt: skip
    (run,) = find_experiment("fig2c-cifar100").runs("paper", 0)
    provenance = dataclasses.replace(BASE, experiment=run.experiment, dataset="cifar100")
    every = [
        dataclasses.replace(m, negatives=store.ALL) if m.negatives == store.DRAWN else m
        for m in measurements(run)
    ]
    store.append_rows(tmp_path, store.rows_of([*every, *drawn_rows], provenance))
    rows = fig2c.PANEL.load(tmp_path)
    assert set(rows[rows["distribution"] == "in"]["value"]) == {0.5}
    assert len(points(drawn(fig2c, everything, "cifar100"), "classes")) == 100


def test_fig3_is_normalised_and_marks_the_threshold(results: Path) -> None:
    ax = drawn(fig3, results)
    heights = [bar.get_height() for bar in ax.patches]
    assert sum(heights) == pytest.approx(200)
    assert [line.get_xdata()[0] for line in ax.lines] == [2.5]


def test_fig4_ends_with_the_softmax_and_the_papers(results: Path) -> None:
    ax = drawn(fig4, results)
    assert sorted(points(ax, "ours"))[-1] == (6, 94.1)
    assert [t.get_text() for t in ax.get_xticklabels()][-1] == "softmax"
    assert points(ax, "paper (mu 6)")[-1] == (6, 94.41)


def test_fig4_of_imagenet_has_both_weights_and_the_papers_labels(everything: Path) -> None:
    ax = drawn(fig4, everything, "imagenet")
    assert len(points(ax, "paper (mu 1)")) == len(points(ax, "ours (mu 4)")) == 10
    assert "the paper's labels: 9 on" in ax.get_xlabel()


def test_linear_decoders_stand_beside_those_of_equation_7(everything: Path) -> None:
    ax = drawn(linear, everything, "cifar10")
    nearest, fitted = (points(ax, label) for label in ("Eq. 7", "linear decoder"))
    assert [x for x, _ in nearest] == [x for x, _ in fitted] == list(range(6))
    gains = [f - n for (_, n), (_, f) in zip(nearest, fitted, strict=True)]
    assert gains == pytest.approx([1 + 3 * (1 - depth / 6) for depth in range(1, 7)], abs=0.02)
    assert [t.get_text() for t in ax.texts] == ["+3.5", "+3.0", "+2.5", "+2.0", "+1.5", "+1.0"]


def test_fig5_has_the_papers_points_of_all_three_decoders(everything: Path) -> None:
    ax = drawn(fig5, everything, "cifar100")
    weights = [0, 2, 4, 6, 10, 14, 18]
    for decoder in ("softmax", "block 9", "block 6"):
        assert [x for x, _ in points(ax, decoder)] == weights
        assert [x for x, _ in points(ax, f"{decoder} (paper)")] == weights


def test_fig6_has_three_clouds(results: Path) -> None:
    ax = drawn(fig6, results)
    for p_drop in ("0", "0.1", "0.2"):
        assert len(points(ax, f"p_drop {p_drop}")) == 10
        assert len(points(ax, f"p_drop {p_drop} (paper)")) == 10


def test_a_single_setting_is_no_figure_of_settings(results: Path) -> None:
    keep_runs(results, lambda line: "p_drop=" not in line)
    assert fig6.load(results).empty
    (gap,) = [gap for gap in gaps(results, "paper") if gap.experiment.name == "fig6-cifar10"]
    assert "table2-cifar10+model.p_drop=0.2" in gap.line()
    assert f"codepath run fig6-cifar10 --scale paper --results {results}" in gap.line()


def test_the_short_scale_is_drawn_and_says_what_it_is(made_up_short: Path) -> None:
    found = {drawing.name: drawing for drawing in drawings(made_up_short, wide=True)}
    uses = set(USES) - {"objective"}  # it needs a training of its own
    names = ("fig2a", "fig2b", "fig3", "fig4", "fig7", *uses, "overview")
    single = set(names) - {"fig7", "paths", "overview"}
    assert set(found) == STUDIES | {
        *(f"{name}-cifar10-short" for name in names),
        *(f"{name}-cifar10-short-wide" for name in single),
    }
    about = "made up; short scale: the paper's network and recipe, 60 of 300 epochs; "
    for name in names:
        assert about in found[f"{name}-cifar10-short"].caption, name
    (drawing,) = [d for d in drawings(made_up_short) if d.name == "fig4-cifar10-short"]
    drawing.figure.draw_without_rendering()
    (title,) = [t for t in drawing.figure.texts if "short scale" in t.get_text()]
    box, page = title.get_window_extent(), drawing.figure.bbox
    assert page.x0 <= box.x0 < box.x1 <= page.x1


def test_rows_of_overridden_experiments_are_left_out(results: Path) -> None:
    run = find_experiment("table2-cifar10").runs("paper", 9)[0]
    wild = dataclasses.replace(BASE, experiment="table2-cifar10+train.lr=9.0", run_id="w", seed=9)
    store.append_rows(results, store.rows_of(measurements(run, -0.5), wild))
    assert set(fig4.load(results)["seed"]) == {0, 1, 2}


def test_captions_say_how_many_seeds_each_setting_has(results: Path) -> None:
    rows = fig6.load(results)
    assert "3 seeds (bars: their range), n = 10,000 test images" in describe(rows, bars=True)
    assert "3 seeds (means), n = 10,000 test images" in describe(rows, bars=False)
    fewer = rows[(rows["p_drop"] != 0.2) | (rows["seed"] == 0)]
    assert "1 to 3 seeds" in describe(fewer, bars=True)
    assert "1 seed, n" in describe(rows[rows["seed"] == 0], bars=False)


def test_missing_rows_are_named_with_their_commands(results: Path, tmp_path: Path) -> None:
    for kind in ("removal", "binary", "histograms"):
        (results / f"{kind}.csv").unlink()
    shutil.rmtree(results / "benchmarks")
    built = build_figures(results, tmp_path)
    every = "runs/paper/table2-cifar10/coded-s*"
    assert (
        "fig2a of fig2a-cifar10: no removal rows at paper scale of table2-cifar10 coded; to get "
        f"it: codepath run fig2a-cifar10 --scale paper --results {results}; for RUN in {every}; do "
        f"codepath evaluate $RUN; done; codepath collect {every} --results {results}"
    ) in built.missing
    assert (
        "decoding of decoding: no benchmarks/decoding.csv; to get it: codepath bench decoding "
        f"--out {results}/benchmarks"
    ) in built.missing
    names = {path.stem for path in built.paths}
    assert names == {f"{n}-cifar10-paper" for n in ("fig4", "fig5", "exponent", "variants", *USES)}
    with pytest.raises(UserError, match="run an experiment first"):
        build_figures(tmp_path / "empty", tmp_path)


@pytest.mark.parametrize("command", ["figures", "tables", "report"])
def test_strict_fails_where_rows_are_missing(results: Path, tmp_path: Path, command: str) -> None:
    for kind in ("binary", "removal", "histograms", "exits", "compression", "paths"):
        (results / f"{kind}.csv").unlink()
    shutil.rmtree(results / "benchmarks")
    place = [command, "--results", str(results), "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(app, place).exit_code == 0
    done = CliRunner().invoke(app, [*place, "--strict"])
    assert done.exit_code != 0
    assert "experiments miss rows" in str(done.exception)
    assert "missing: " in done.output
    assert any((tmp_path / "out").rglob("*.*"))  # what the rows allow is made all the same


def test_names_of_classes_keep_clear_of_all_points(results: Path) -> None:
    (drawing,) = [d for d in drawings(results) if d.name == "fig2b-cifar10-paper"]
    (ax,) = drawing.figure.axes
    drawing.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert sorted(text.get_text() for text in ax.texts) == [f"c{k}" for k in range(10)]
    taken = binary_points._obstacles(ax)
    assert len(taken) >= 39  # ours and the paper's, against negatives of both kinds
    covered = sum(binary_points._overlap(box, other) for box in boxes for other in taken)
    assert covered < 0.02 * sum(box.width * box.height for box in boxes)


def test_bars_are_announced_where_they_are_drawn(results: Path, everything: Path) -> None:
    captions = {d.name: d.caption for d in drawings(results)}
    for name in ("fig2a", "fig2b", "fig5", "exits", "compression", "variants"):
        assert "3 seeds (bars: their range)" in captions[f"{name}-cifar10-paper"], name
    for name in ("fig3", "fig7", "paths"):
        assert "1 seed, n" in captions[f"{name}-cifar10-paper"]
    captions = {d.name: d.caption for d in drawings(everything)}
    assert "3 seeds (means)" in captions["fig2c-cifar100-paper"]


@pytest.mark.parametrize("scale", ["cpu", "short"])
def test_the_papers_numbers_stand_beside_its_own_scale_alone(everything: Path, scale: str) -> None:
    with_papers = set()
    for panel in PANELS:
        rows = panel.load(everything)
        for dataset in rows["dataset"].unique() if panel.is_single else []:
            mine = rows[rows["dataset"] == dataset]
            if _papers_markers(panel, mine, dataset):
                with_papers.add(f"{panel.name}-{dataset}")
            assert not _papers_markers(panel, mine.assign(scale=scale), dataset), panel.name
    assert with_papers == {
        *(f"fig2a-{dataset}" for dataset in ("cifar10", "cifar100", "imagenet")),
        *(f"fig4-{dataset}" for dataset in ("cifar10", "cifar100", "imagenet")),
        *(f"variants-{dataset}" for dataset in ("cifar10", "imagenet")),
        "fig2b-cifar10",
        "fig5-cifar100",
        "fig6-cifar10",
        "exponent-cifar10",
    }


def _papers_markers(panel: Panel, rows: pd.DataFrame, dataset: str) -> int:
    """How many lines of a panel have the paper's open markers."""
    figure, ax = plt.subplots()
    panel.draw(ax, rows, dataset)
    found = sum(line.get_markerfacecolor() == "none" for line in ax.lines)
    plt.close(figure)
    return found


def test_the_papers_points_say_where_their_images_differ(results: Path) -> None:
    rows = fig2a.load(results).assign(source="CIFAR-10 as images, JPEG quality 75")
    _, ax = plt.subplots()
    fig2a.draw(ax, rows, "cifar10")
    assert points(ax, "active (paper, original images)")[1] == (1, 94.0)


def test_figures_for_files_leave_pyplot_and_its_backend_alone(tmp_path: Path) -> None:
    """In a notebook, the style must not switch off figures that are shown."""
    before = plt.get_backend()
    plt.switch_backend("svg")
    try:
        open_figures = plt.get_fignums()
        use_style()
        draw_scheme(load_scheme("10-10-3"), "name", tmp_path / "scheme.png")
        assert plt.get_backend() == "svg"
        assert plt.get_fignums() == open_figures
    finally:
        plt.switch_backend(before)
    assert (tmp_path / "scheme.png").read_bytes().startswith(b"\x89PNG")


def test_both_widths(results: Path) -> None:
    widths = {d.name: d.figure.get_figwidth() for d in drawings(results, wide=True)}
    assert widths["fig2a-cifar10-paper"] == 3.4
    assert widths["fig2a-cifar10-paper-wide"] == widths["fig7-cifar10-paper"] == 7.0


def test_every_marker_of_an_svg_has_its_values_in_place(results: Path) -> None:
    figure, ax = plt.subplots(dpi=72)
    rows = fig4.load(results)
    fig4.draw(ax, rows, "cifar10")
    figure.canvas.draw()
    texts = {spot.text: (spot.x, spot.y) for spot in spots(figure)}
    assert len(texts) == 14
    x, y = texts["ours: decoder of block = softmax, top-1 accuracy = 94.1"]
    place = ax.transData.inverted().transform((x, figure.get_figheight() * 72 - y))
    assert tuple(place.round(3)) == (6, 94.1)
    svg = to_svg(figure, "name")
    assert svg.count('class="spot"') == 14
    assert all(i.startswith("name-") for i in re.findall(r'\bid="([^"]*)"', svg))
    assert svg == to_svg(figure, "name")


def test_exits_are_shares_of_the_networks_multiply_adds(results: Path) -> None:
    ax = drawn(exit_curves, results)
    assert points(ax, "adaptive, Eq. 7") == [
        (50, 87.1), (60, 88.5), (70, 89.9), (80, 91.3), (100, 94.1),
    ]  # fmt: skip
    fixed = points(ax, "every image at one block, Eq. 7")
    assert [x for x, _ in fixed] == [30, 40, 50, 60, 70, 90]
    assert sorted(y for _, y in fixed) == [y for _, y in fixed]


def test_objectives_are_drawn_block_by_block(results: Path) -> None:
    """A made-up decoder has, in per cent, 2 + 0.75 (top-1 - 5) times its depth, with mu = 6."""
    ax = drawn(objective, results)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == [*"456789", "softmax"]
    paper = points(ax, "paper's objective, mean F1 76.0 %")
    own = points(ax, "training for extraction, mean F1 79.0 %")
    assert [x for x, _ in own] == list(range(7))
    gains = [round(y - before, 2) for (_, y), (_, before) in zip(own, paper, strict=True)]
    assert gains == pytest.approx([2.025, 2.05, 2.075, 2.1, 2.125, 2.15, 0.2], abs=0.011)
    assert [x for x, _ in points(ax, "plain network")] == [6]


def test_compression_is_a_mean_over_classes(results: Path) -> None:
    line = points(drawn(compression_curve, results), "mean of 10 classes (grey: each)")
    assert line == [(30, 88.45), (40, 90.45), (46, 90.45)]


def test_paths_are_tables_of_the_first_seed(results: Path) -> None:
    tables, names = path_energies.tables_of(path_energies.load(results))
    assert names == [f"c{k}" for k in range(10)]
    assert [table.block for table in tables] == [4, 5]
    assert tables[0].mean[4].tolist() == [0.1, 0.8, 0.1]
    assert tables[0].codewords[4].tolist() == [0, 1, 0]
    assert tables[0].bit_error_rate == 0.01
    figure = drawn(path_energies, results).figure
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert "block 4: 1.0 % wrong bits" in titles
