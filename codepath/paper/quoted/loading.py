"""Numbers of results/benchmarks/ on loading images: speed, first batch, cores, memory."""

from __future__ import annotations

import pandas as pd

from codepath.paper.quoted.alike import Choices, alike
from codepath.paper.quoted.answer import Query, span, two_digits
from codepath.paper.quoted.benchmarks import MAKERS, benchmark, largest, latest, newest
from codepath.paper.tables.layout import markdown

_RECIPES = {
    "rand-m4-n3": "CIFAR-10 (rand-m4-n3)",
    "rand-m2-n1": "CIFAR-100 (rand-m2-n1; DataLoader: m3)",
    "photographs": "ImageNet (rand-m10-n2), JPEG",
}
_IMAGES = {"cifar": "rand-m4-n3", "photographs": "photographs"}
"""What a name calls the images -> the recipe that stands for them."""
_LOADERS = {"dataloader": "DataLoader", "torch": "torch", "ffcv": "ffcv",
            "ffcv-pixels": "ffcv, pixels"}  # fmt: skip


def _loader_table(rows: pd.DataFrame) -> str:
    """Images a second of a DataLoader, and of both loaders as multiples of it."""

    def row(recipe: str, loader: str) -> pd.Series:
        return latest(rows[(rows["recipe"] == recipe) & (rows["loader"] == loader)])

    body = []
    for recipe, name in _RECIPES.items():
        first, *others = (row(recipe, loader) for loader in ("DataLoader", "torch", "ffcv"))
        ratios = [f"{float(one['ratio']):.1f} times" for one in others]
        body.append([name, f"{float(first['images_per_second']):,.0f}", *ratios])
    pixels = float(row("photographs", "ffcv, pixels")["ratio"])
    body.append(["ImageNet, `--store pixels`", "the same", "", f"{pixels:.1f} times"])
    header = ["recipe", "DataLoader, images/s", "torch loader", "FFCV loader"]
    return markdown(header, body).rstrip("\n")


def _first_batch(rows: pd.DataFrame) -> str:
    """Seconds until a loader's first batch, of the fastest and of the slowest."""
    return f"{span(rows['first_batch_seconds'], '{:.1f}')} s"


def _apart(rows: pd.DataFrame) -> str:
    """By how much a ratio on one processor differs from that on the other, at most."""
    of = rows.sort_values("created", kind="stable").groupby(["recipe", "loader", "device"])
    ratios = of["ratio"].last().unstack("device")
    first, second = (ratios[[name for name in ratios if str(name).startswith(maker)]].iloc[:, 0]
                     for maker in MAKERS.values())  # fmt: skip
    return f"{100 * (second / first - 1).abs().max():.0f} %"


def _by_cores(rows: pd.DataFrame) -> str:
    """Images a second on two cores as a multiple of those on one."""
    of = rows.groupby("cores")["images_per_second"].last()
    return f"{of[2] / of[1]:.2f}"


def _growth(rows: pd.DataFrame) -> str:
    """MiB that a process holds after the last epoch beyond those after the first."""
    of = rows.sort_values("epoch").groupby("loader")["memory_mib"]
    return f"{span(of.last() - of.first(), '{:.0f}')} MiB"


def _memory(rows: pd.DataFrame) -> str:
    return f"{rows['memory_mib'].max() / 1024:.1f} GiB"


def _mean_start(rows: pd.DataFrame) -> str:
    return f"{two_digits(rows['first_batch_seconds'].mean())} s"


def numbers() -> dict[str, Query]:
    """Name -> query."""
    loader, memory = benchmark("loader"), benchmark("loader_memory")
    amd = {"device": MAKERS["amd"]}
    compiled = {"device": MAKERS["intel"], "loader": ("torch", "ffcv", "ffcv, pixels")}
    speeds: dict[str, Choices] = {"recipe": _RECIPES.keys(), "loader": _LOADERS, "device": MAKERS}
    return {
        **alike("loader.{recipe}.{loader}.{device}", loader, newest("{:.1f} times", "ratio"),
                None, **speeds),
        **alike("loader.{recipe}.{loader}.{device}.images", loader,
                newest("{:,.0f} images/s", "images_per_second"), None, **speeds),
        **alike("table.loader", loader, _loader_table, amd),
        **alike("loader.images.{recipe}", loader, largest("{:,}", "images"), amd, recipe=_IMAGES),
        **alike("loader.turns", loader, largest("{:.0f}", "turns"), amd),
        **alike("loader.apart", loader, _apart, {"recipe": tuple(_RECIPES)}),
        **alike("loader.start.{recipe}", loader, _first_batch, compiled,
                recipe=_IMAGES | {"cifar": ("rand-m4-n3", "rand-m2-n1")}),
        **alike("loader.start.empty", benchmark("loader_start"), _mean_start, {"kernels": "empty"}),
        **alike("loader.cores.{loader}.{recipe}", benchmark("loader_cores"), _by_cores,
                loader=("torch", "ffcv"), recipe=_IMAGES),
        **alike("loader.memory", memory, _memory),
        **alike("loader.memory.growth", memory, _growth),
        **alike("loader.memory.epochs", memory, largest("{:.0f}", "epoch")),
    }  # fmt: skip
