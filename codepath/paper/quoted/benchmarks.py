"""Numbers of results/benchmarks/ on networks, classifiers, exits and coding schemes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from codepath.experiments.coverage import benchmark_files, benchmark_rows
from codepath.paper.quoted.answer import Answer, Query, listed, needed, percents, place, two_digits
from codepath.paper.tables.layout import markdown
from codepath.store import RUNS

Text = Callable[[pd.DataFrame], str]
NETWORKS = {"C10": 32, "C100": 32, "ImageNet": 160}
"""The paper's networks -> pixels a side of their images."""


@functools.lru_cache(maxsize=32)
def _read(results: Path, name: str, state: tuple[int, ...]) -> pd.DataFrame:  # noqa: ARG001
    return benchmark_rows(results, name)


def rows_where(results: Path, name: str, **wanted: object) -> pd.DataFrame:
    """A benchmark's rows in which columns have these values; UserError where there are none."""
    state = tuple(path.stat().st_mtime_ns for path in benchmark_files(results, name))
    rows = _read(results, name, state)
    for column, value in wanted.items():
        rows = rows[rows[column] == value] if len(rows) else rows
    settings = ", ".join(f"{column} {value}" for column, value in wanted.items())
    return needed(rows, f"benchmarks/{name}.csv{' with ' if settings else ''}{settings}")


def benchmark(name: str, text: Text, **wanted: object) -> Query:
    """The query for some rows of a benchmark."""

    def query(results: Path) -> Answer:
        rows = rows_where(results, name, **wanted)
        files = listed([path.name for path in benchmark_files(results, name)])
        return Answer(text(rows), place(rows, f"results/benchmarks/{files}"))

    return query


def latest(rows: pd.DataFrame) -> pd.Series:
    """The row that was measured last."""
    return rows.sort_values("created", kind="stable").iloc[-1]


def _share(column: str) -> Text:
    """The sum of a column over stages, as a share of the network's parameters."""
    return lambda rows: f"{100 * rows[column].sum() / rows['parameters'].sum():.1f} %"


def _architectures() -> dict[str, Query]:
    """Parameters and multiply-adds of the paper's networks, counted."""
    found = {}
    for network in NETWORKS:
        for name, text in (
            ("parameters", lambda rows: f"{rows['parameters'].sum():,.0f}"),
            ("kept_parameters", lambda rows: f"{rows['kept'].sum():,.0f}"),
            ("macs_network", lambda rows: f"{rows['macs'].sum():,.0f}"),
            ("kept", _share("kept")),
            ("ratios", _share("scaled")),
        ):
            found[f"{name}.{network}"] = benchmark("architectures", text, network=network)
    return found


def _value(form: str) -> Text:
    """The value of the row that was measured last."""
    return lambda rows: form.format(float(latest(rows)["value"]))


def _extraction() -> dict[str, Query]:
    """Multiply-adds of a class's classifier cut out, as a share of the network's."""
    return {
        f"macs.{network}": benchmark(
            "extraction",
            lambda rows: f"{100 * float(latest(rows)['value']):.1f} %",
            network=network,
            module="sizes",
            metric="macs_share",
        )
        for network in NETWORKS
    }


def _mean_f1(rows: pd.DataFrame) -> str:
    return f"{rows['value'].mean():.3f}"


def _classifiers() -> dict[str, Query]:
    """Mean F1 of ten classes, by a class's own paths and by others; thresholds cross-fitted."""
    methods = {
        "codeword": "codeword",
        "whole": "one-vs-rest",
        "random-coded": "random coded",
        "random-plain": "random plain",
        "pruned-plain": "pruned plain",
    }
    found = {
        f"binary.{name}": benchmark("binary", _mean_f1, method=method, metric="f1")
        for name, method in methods.items()
    }
    found["binary.parameters"] = benchmark(
        "binary", lambda rows: f"{rows['parameters'].iloc[0]:,}", method="codeword", metric="f1"
    )
    return found


def _exits() -> dict[str, Query]:
    """Top-1 and median time of exits that stop, at budgets of multiply-adds (per cent)."""

    def top1(rows: pd.DataFrame) -> str:
        return f"{100 * float(latest(rows)['top1']):.2f} %"

    def time(rows: pd.DataFrame) -> str:
        row = latest(rows)
        return f"{row['p50'] / row['network_p50']:.2f}"

    def curve(rows: pd.DataFrame) -> str:
        of = rows.sort_values("created", kind="stable").groupby("budget")["top1"].last()
        return percents([of[budget] for budget in (0.5, 0.6, 0.7, 0.8)])

    probes = benchmark("early_exit", curve, method="probes", scale="cpu")
    found = {"exits.cpu.plain": probes}
    for budget in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        at = f"{100 * budget:.0f}"
        found[f"exits.cpu.plain.{at}"] = benchmark("early_exit", top1, method="probes",
                                                   budget=budget, scale="cpu")  # fmt: skip
        for method in ("eq7", "combined", "linear", "probes"):
            found[f"time.exits.{method}.{at}"] = benchmark("early_exit", time, method=method,
                                                           budget=budget)  # fmt: skip
        found[f"time.exits.{at}"] = found[f"time.exits.linear.{at}"]
    return found


def _decoding() -> dict[str, Query]:
    """Errors of the nearest codeword under normal noise, in per cent with two digits."""
    found = {}
    for classes, paths, active in ((1000, 32, 16), (1000, 32, 8), (100, 20, 8), (100, 20, 4)):
        for family in ("best", "paper"):
            for noise in (0.35, 0.8):
                end = "" if noise == 0.35 else f".{noise}"
                name = f"decoding.{classes}-{paths}-{active}.{family}{end}"
                found[name] = benchmark(
                    "decoding",
                    lambda rows: f"{two_digits(100 * rows['error'].iloc[-1])} %",
                    classes=classes, paths=paths, active=active, family=family, noise=noise,
                )  # fmt: skip
    return found


def _schemes_table(rows: pd.DataFrame) -> str:
    """Coding schemes: the paper's Algorithm 1 against ours."""
    body = []
    for (classes, paths, active), pair in rows.groupby(["classes", "paths", "active"]):
        of = {row["algorithm"]: row for row in pair.to_dict("records")}
        first, ours = of["paper"], of["ours"]
        columns = [f"{row['least_column']}..{row['most_column']}" for row in (first, ours)]
        body.append(
            [
                f"{classes}, {paths}, {active}",
                f"{first['distance']}, {columns[0]}, {first['pairs']:,}",
                f"{ours['distance']} ({ours['largest_distance']}), {columns[1]}, "
                f"{ours['pairs']:,} ({ours['fewest_pairs']:,})",
                f"{first['seconds']:.2f} / {ours['seconds']:.2f}",
            ]
        )
    header = [
        "K, N, Nact",
        "Algorithm 1: d, columns, pairs at d",
        "ours: d (largest possible), columns, pairs at d (at least)",
        "seconds",
    ]
    return markdown(header, body).rstrip("\n")


def _kept_table(results: Path) -> Answer:
    """What a class's cut-out classifier keeps of the paper's networks."""
    rows = rows_where(results, "architectures")
    body = []
    for network in NETWORKS:
        own = rows[rows["network"] == network]
        pixels = "" if NETWORKS[network] == 32 else f", {NETWORKS[network]} px"
        body.append(
            [
                f"{network}{pixels}",
                f"{own['kept'].sum():,.0f} ({_share('kept')(own)})",
                _share("scaled")(own),
            ]
        )
    text = markdown(["network", "cut out", "by ratios"], body).rstrip("\n")
    return Answer(text, place(rows, "results/benchmarks/architectures.csv"))


def _rows_count(results: Path) -> Answer:
    """How many numbers the tables of results/ hold."""
    tables = [path for path in results.glob("*.csv") if path.stem != RUNS]
    lines = sum(path.read_text().count("\n") - 1 for path in tables)
    return Answer(f"{lines:,}", "lines of results/*.csv")


def numbers() -> dict[str, Query]:
    """Name -> query."""
    return {
        **_architectures(),
        **_extraction(),
        **_classifiers(),
        **_exits(),
        **_decoding(),
        "table.schemes": benchmark("codes", _schemes_table),
        "table.kept": _kept_table,
        "rows.count": _rows_count,
        "step.extraction": benchmark(
            "objectives",
            _value("{:.3f}"),
            metric="step ratio",
            objective="extraction_and_cross_entropy",
        ),
    }
