"""Numbers of results/benchmarks/ on networks, classifiers, exits and coding schemes."""

from __future__ import annotations

import functools
from pathlib import Path

import pandas as pd

from codepath.codes import certify, find_scheme
from codepath.experiments.coverage import benchmark_files, benchmark_rows
from codepath.paper.quoted.alike import Beginning, Source, Text, alike
from codepath.paper.quoted.answer import Answer, Query, listed, percents, place, two_digits
from codepath.paper.tables.layout import markdown
from codepath.store import RUNS

NETWORKS = {"C10": 32, "C100": 32, "ImageNet": 160}
"""The paper's networks -> pixels a side of their images."""
MAKERS = {"amd": Beginning("AMD EPYC"), "intel": Beginning("Intel(R) Xeon(R) Processor")}
"""Processors that were measured."""


@functools.lru_cache(maxsize=32)
def _read(results: Path, name: str, state: tuple[int, ...]) -> pd.DataFrame:  # noqa: ARG001
    return benchmark_rows(results, name)


def benchmark(name: str) -> Source:
    """The rows of a benchmark."""

    def read(results: Path) -> pd.DataFrame:
        state = tuple(path.stat().st_mtime_ns for path in benchmark_files(results, name))
        return _read(results, name, state)

    def origin(results: Path, rows: pd.DataFrame) -> str:
        files = listed([path.name for path in benchmark_files(results, name)])
        return place(rows, f"results/benchmarks/{files}")

    return Source(f"benchmarks/{name}.csv", read, origin)


def latest(rows: pd.DataFrame) -> pd.Series:
    """The row that was measured last."""
    return rows.sort_values("created", kind="stable").iloc[-1]


def newest(form: str, column: str = "value") -> Text:
    """The value in the row that was measured last."""
    return lambda rows: form.format(float(latest(rows)[column]))


def newest_percent(column: str = "value") -> Text:
    """The same, in per cent."""
    return lambda rows: percents([float(latest(rows)[column])])


def largest(form: str, column: str) -> Text:
    """The largest value of a column, such as how many images or turns there were."""
    return lambda rows: form.format(rows[column].max())


def _total(column: str) -> Text:
    """The sum of a column over a network's stages."""
    return lambda rows: f"{rows[column].sum():,.0f}"


def _share(column: str) -> Text:
    """The sum of a column over stages, as a share of the network's parameters."""
    return lambda rows: percents([rows[column].sum() / rows["parameters"].sum()])


def _time_share(rows: pd.DataFrame) -> str:
    """An exit's median time as a share of the whole network's."""
    row = latest(rows)
    return f"{row['p50'] / row['network_p50']:.2f}"


_ARCHITECTURES = benchmark("architectures")
_SCHEMES = {
    f"{classes}-{paths}-{active}": {"classes": classes, "paths": paths, "active": active}
    for classes, paths, active in
    ((10, 10, 5), (10, 10, 3), (100, 20, 8), (100, 20, 4), (1000, 32, 16), (1000, 32, 8))
}  # fmt: skip
"""K-N-Nact -> the columns that say so."""


def _counted() -> dict[str, Query]:
    """Parameters and multiply-adds of the paper's networks, and of classifiers cut out."""
    found: dict[str, Query] = {}
    for name, text in (
        ("parameters", _total("parameters")),
        ("kept_parameters", _total("kept")),
        ("macs_network", _total("macs")),
        ("kept", _share("kept")),
        ("ratios", _share("scaled")),
    ):
        found |= alike(f"{name}.{{network}}", _ARCHITECTURES, text, network=NETWORKS.keys())
    sizes = {"module": "sizes", "metric": "macs_share"}
    return found | alike("macs.{network}", benchmark("extraction"), newest_percent(), sizes,
                         network=NETWORKS.keys())  # fmt: skip


def _classifiers() -> dict[str, Query]:
    """Mean F1 of ten classes, by a class's own paths and by others; thresholds cross-fitted."""
    methods = {
        "codeword": "codeword",
        "whole": "one-vs-rest",
        "random-coded": "random coded",
        "random-plain": "random plain",
        "pruned-plain": "pruned plain",
    }
    source, f1 = benchmark("binary"), {"metric": "f1"}
    parameters = largest("{:,}", "parameters")
    return {
        **alike("binary.{method}", source, lambda rows: f"{rows['value'].mean():.3f}", f1,
                method=methods),
        **alike("binary.parameters", source, parameters, f1 | {"method": "codeword"}),
    }  # fmt: skip


def _codes() -> dict[str, Query]:
    """Coding schemes: errors of the nearest codeword under normal noise, and closest pairs."""

    def error(rows: pd.DataFrame) -> str:
        return f"{two_digits(100 * rows['error'].iloc[-1])} %"

    pairs = largest("{:,}", "pairs")
    return {
        **alike("decoding.{scheme}.{family}.{noise}", benchmark("decoding"), error,
                scheme=_SCHEMES, family=("best", "paper"), noise=(0.35, 0.8)),
        **alike("pairs.{scheme}.{algorithm}", benchmark("codes"), pairs,
                scheme=_SCHEMES, algorithm=("ours", "paper")),
    }  # fmt: skip


def _closest_pairs(name: str, family: str) -> Query:
    """Pairs of classes at the least distance, in a scheme that comes with the package."""

    def query(_: Path) -> Answer:
        pairs = certify(find_scheme(**_SCHEMES[name], family=family)).pairs
        return Answer(f"{pairs:,}", f"counted: codepath codes show, family {family}")

    return query


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


def _kept_table(rows: pd.DataFrame) -> str:
    """What a class's cut-out classifier keeps of the paper's networks."""
    body = []
    for network, side in NETWORKS.items():
        own = rows[rows["network"] == network]
        pixels = "" if side == 32 else f", {side} px"
        body.append(
            [
                f"{network}{pixels}",
                f"{own['kept'].sum():,.0f} ({_share('kept')(own)})",
                _share("scaled")(own),
            ]
        )
    return markdown(["network", "cut out", "by ratios"], body).rstrip("\n")


def _rows_count(results: Path) -> Answer:
    """How many numbers the tables of results/ hold."""
    tables = [path for path in results.glob("*.csv") if path.stem != RUNS]
    lines = sum(path.read_text().count("\n") - 1 for path in tables)
    return Answer(f"{lines:,}", "lines of results/*.csv")


def numbers() -> dict[str, Query]:
    """Name -> query."""
    timed = {"scale": "cpu", "seed": 0, "device": MAKERS["intel"]}
    return {
        **_counted(),
        **_classifiers(),
        **alike("time.exits.{method}.{budget}", benchmark("early_exit"), _time_share, timed,
                method=("eq7", "combined", "linear", "probes"),
                budget={f"{100 * budget:.0f}": budget for budget in (0.5, 0.6, 0.7, 0.8, 0.9)}),
        **_codes(),
        **alike("table.schemes", benchmark("codes"), _schemes_table),
        **alike("table.kept", _ARCHITECTURES, _kept_table),
        **{f"closest_pairs.{name}.{family}": _closest_pairs(name, family)
           for name in _SCHEMES for family in ("best", "paper")},
        "rows.count": _rows_count,
    }  # fmt: skip
