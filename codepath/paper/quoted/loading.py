"""Numbers of results/benchmarks/ on loading images: speed, first batch, cores, memory."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from codepath.paper.quoted.answer import Answer, Query, place, two_digits
from codepath.paper.quoted.benchmarks import benchmark, latest, rows_where
from codepath.paper.quoted.speeds import MAKERS, of_maker
from codepath.paper.tables.layout import markdown

_RECIPES = {
    "rand-m4-n3": "CIFAR-10 (rand-m4-n3)",
    "rand-m2-n1": "CIFAR-100 (rand-m2-n1; DataLoader: m3)",
    "photographs": "ImageNet (rand-m10-n2), JPEG",
}
_PHOTOGRAPHS, _CIFAR = "photographs", "rand-m4-n3"


def _loader_rows(results: Path, maker: str, recipe: str, loader: str) -> pd.Series:
    rows = rows_where(results, "loader", recipe=recipe, loader=loader)
    return latest(of_maker(rows, maker))


def _loader(maker: str, recipe: str, loader: str, column: str, form: str) -> Query:
    def query(results: Path) -> Answer:
        row = _loader_rows(results, maker, recipe, loader)
        where = place(row.to_frame().T, "results/benchmarks/loader.csv")
        return Answer(form.format(float(row[column])), where)

    return query


def _loader_table(results: Path) -> Answer:
    """Images a second of a DataLoader, and of both loaders as multiples of it."""
    body = []
    for recipe, name in _RECIPES.items():
        rows = [_loader_rows(results, "amd", recipe, of) for of in ("DataLoader", "torch", "ffcv")]
        ratios = [f"{float(row['ratio']):.1f} times" for row in rows[1:]]
        body.append([name, f"{float(rows[0]['images_per_second']):,.0f}", *ratios])
    pixels = _loader_rows(results, "amd", "photographs", "ffcv, pixels")
    ratio = f"{float(pixels['ratio']):.1f} times"
    body.append(["ImageNet, `--store pixels`", "the same", "", ratio])
    header = ["recipe", "DataLoader, images/s", "torch loader", "FFCV loader"]
    where = place(pixels.to_frame().T, "results/benchmarks/loader.csv")
    return Answer(markdown(header, body).rstrip("\n"), where)


def _span(values: pd.Series, form: str) -> str:
    """The least and the largest value as they are rounded; one of them where they are equal."""
    ends = dict.fromkeys(form.format(value) for value in (values.min(), values.max()))
    return " to ".join(ends)


def _first_batch(*recipes: str) -> Query:
    """Seconds until our loaders' first batch, with compiled kernels on disk (Intel Xeon)."""

    def query(results: Path) -> Answer:
        rows = of_maker(rows_where(results, "loader"), "intel")
        rows = rows[rows["recipe"].isin(recipes) & (rows["loader"] != "DataLoader")]
        where = place(rows, "results/benchmarks/loader.csv")
        return Answer(f"{_span(rows['first_batch_seconds'], '{:.1f}')} s", where)

    return query


def _by_cores(loader: str, recipe: str) -> Query:
    """Images a second on two cores as a multiple of those on one."""

    def query(results: Path) -> Answer:
        rows = rows_where(results, "loader_cores", loader=loader, recipe=recipe)
        of = rows.groupby("cores")["images_per_second"].last()
        return Answer(f"{of[2] / of[1]:.2f}", place(rows, "results/benchmarks/loader_cores.csv"))

    return query


def _growth(rows: pd.DataFrame) -> str:
    """MiB that a process holds after the last epoch beyond those after the first."""
    of = rows.sort_values("epoch").groupby("loader")["memory_mib"]
    return f"{_span(of.last() - of.first(), '{:.0f}')} MiB"


def numbers() -> dict[str, Query]:
    """Name -> query."""
    found: dict[str, Query] = {
        "table.loader": _loader_table,
        "loader.start.cifar": _first_batch(_CIFAR, "rand-m2-n1"),
        "loader.start.photographs": _first_batch(_PHOTOGRAPHS),
        "loader.start.empty": benchmark(
            "loader_start",
            lambda rows: f"{two_digits(rows['first_batch_seconds'].mean())} s",
            kernels="empty",
        ),
        "loader.memory": benchmark(
            "loader_memory", lambda rows: f"{rows['memory_mib'].max() / 1024:.1f} GiB"
        ),
        "loader.memory.growth": benchmark("loader_memory", _growth),
    }
    for loader in ("torch", "ffcv"):
        for recipe, name in ((_CIFAR, "cifar"), (_PHOTOGRAPHS, "photographs")):
            found[f"loader.cores.{loader}.{name}"] = _by_cores(loader, recipe)
    for maker in MAKERS:
        for recipe in _RECIPES:
            for loader in ("DataLoader", "torch", "ffcv", "ffcv, pixels"):
                key = f"loader.{recipe}.{loader.replace(', ', '-').lower()}.{maker}"
                found[key] = _loader(maker, recipe, loader, "ratio", "{:.1f} times")
                found[f"{key}.images"] = _loader(
                    maker, recipe, loader, "images_per_second", "{:,.0f} images/s"
                )
    return found
