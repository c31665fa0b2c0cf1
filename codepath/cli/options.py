"""Options that several commands have, and what their values mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codepath.core.errors import UserError
from codepath.core.machine import has_gpu

if TYPE_CHECKING:
    from rich.console import Console

    from codepath.run.config import RunConfig
    from codepath.run.directory import Places


Name = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="See `codepath list`.")]


Scale = Annotated[
    str | None,
    typer.Option(
        help="demo, cpu, short (60 of 300 epochs, CIFAR) or paper; default: paper with a GPU, else "
        "the smallest."
    ),
]


Seed = Annotated[int, typer.Option(help="The first seed.")]


Seeds = Annotated[int, typer.Option(help="How many seeds, from the first on.")]


Runs = Annotated[Path, typer.Option(help="Where run directories live.")]


Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override, such as train.epochs=2; recorded as another experiment."),
]


Data = Annotated[
    Path | None,
    typer.Option(help="Folder with the data set's archive, or folder or tar of images."),
]


DeviceBatch = Annotated[
    int,
    typer.Option(help="Images at once on a device; the recipe's batch is accumulated. 0: all."),
]


Precision = Annotated[
    str,
    typer.Option(
        help="float32 or bfloat16; auto: the recipe's where the device has it, else float32."
    ),
]


LoaderName = Annotated[str, typer.Option("--loader", help="ffcv, torch or auto.")]


Results = Annotated[
    Path | None,
    typer.Option(help="Where rows go; default RUNS/SCALE/results."),
]


ResultsIn = Annotated[Path, typer.Option("--results", help="Folder with the rows.")]


RowsIn = Annotated[
    Path | None,
    typer.Option("--results", help="Folder with the rows; default: results or runs/SCALE/results."),
]


def rows_folder(given: Path | None) -> Path:
    """The folder of rows that is read, and a line on it where another could be meant.

    Without one given it is `results` of the present folder. Where that has no rows, it is the one
    that `codepath run` wrote below `runs`.

    Raises:
        UserError: several scales have rows below `runs`.
    """
    if given is not None:
        return given
    results = Path("results")
    below = sorted(path.parent for path in Path("runs").glob("*/results/runs.csv"))
    named = ", ".join(map(str, below))
    if (results / "runs.csv").exists():
        if below:
            typer.echo(f"rows of {results}; there are others in {named} (--results takes them)")
        return results
    if len(below) > 1:
        raise UserError(f"several folders have rows: choose one with --results: {named}")
    if not below:
        return results
    typer.echo(f"rows of {named}")
    return below[0]


Strict = Annotated[bool, typer.Option("--strict", help="Fail where rows are missing.")]


ScaleAsked = Annotated[
    str | None,
    typer.Option("--scale", help="Call missing what this scale lacks; default: any scale will do."),
]


Out = Annotated[Path, typer.Option(help="Folder to write into.")]


Force = Annotated[bool, typer.Option("--force", help="Make anew what is up to date, too.")]


def shown_path(path: Path) -> str:
    """The path, relative to the working directory if it lies below that."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def planned_runs(
    name: str, scale: str | None, seed: int, seeds: int, settings: list[str] | None
) -> list[RunConfig]:
    from codepath.experiments import find_experiment
    from codepath.experiments.registry import override

    experiment = find_experiment(name)
    if seeds < 1:
        raise UserError(f"--seeds is {seeds}, at least 1 needed")
    if experiment.benchmarks:
        raise UserError(f"{name} trains nothing: {experiment.command('paper')}")
    return [
        override(config, settings or [])
        for number in range(seed, seed + seeds)
        for config in experiment.runs(scale or scale_here(experiment.usual_scales), number)
    ]


def scale_here(scales: tuple[str, ...]) -> str:
    """The paper's scale where there is a GPU, else the smallest."""
    return scales[-1] if has_gpu() else scales[0]


def places_of(runs: Path, results: Path | None, scale: str) -> Places:
    from codepath.run.directory import Places

    return Places(runs, results or runs / scale / "results")


def wide_console(console: Console) -> Console:
    """The console, made as wide as tables need where it writes to a file, not to a terminal."""
    if not console.is_terminal:
        console.width = 130
    return console


RunDir = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A trained coded run's directory, or a network that comes along: codepath pretrained.",
    ),
]


Chosen = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME...]", help="Runs, experiments or scales below RUNS; or all."),
]
