"""Commands on experiments and their runs: list, show, run, watch, evaluate."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from codepath.cli.options import (
    Data,
    DeviceBatch,
    LoaderName,
    Name,
    Precision,
    Results,
    ResultsIn,
    Runs,
    Scale,
    Seed,
    Seeds,
    Settings,
    places_of,
    planned_runs,
    shown_path,
)
from codepath.core.errors import UserError

commands = typer.Typer()

DEMO = "table2-digits"
"""The demo's experiment."""


@commands.command("list")
def list_() -> None:
    """Experiments and the paper's item that each belongs to."""
    from codepath.experiments import all_experiments

    experiments = all_experiments()
    lines = [
        (
            experiment.name,
            experiment.paper_item,
            "counted" if experiment.benchmarks else ", ".join(experiment.scales),
            experiment.title,
        )
        for experiment in experiments
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for *cells, title in lines:
        padded = [f"{cell:{width}}" for cell, width in zip(cells, widths, strict=False)]
        typer.echo("  ".join([*padded, title]))


@commands.command()
def show(
    name: Name,
    scale: Scale = None,
    results: ResultsIn = Path("results"),
    config: Annotated[
        bool, typer.Option("--config", help="The configurations of its runs, too.")
    ] = False,
) -> None:
    """What an experiment gives, how long it takes, and its runs."""
    from codepath.experiments import find_experiment
    from codepath.experiments.run_time import cost_lines, facts
    from codepath.run.config import to_dict

    experiment = find_experiment(name)
    typer.echo(experiment.description)
    for line in cost_lines(experiment, results, (scale,) if scale else ()):
        typer.echo(f"  {line}")
    typer.echo()
    for line in facts(experiment):
        typer.echo(line)
    scale = scale or experiment.usual_scales[0]
    runs = experiment.runs(scale, seed=0)
    if not runs:
        return
    typer.echo(f"\nruns of seed 0 at {scale} scale:")
    for run in runs:
        typer.echo(f"  {run.run_id}")
        for section, values in to_dict(run).items() if config else ():
            if isinstance(values, dict):
                words = " ".join(f"{key}={value}" for key, value in values.items())
                typer.echo(f"    {section}  {words}")
    if not config:
        typer.echo(f"their configurations: codepath show {name} --scale {scale} --config")


@commands.command()
def run(
    name: Name,
    scale: Scale = None,
    seed: Seed = 0,
    seeds: Seeds = 1,
    runs: Runs = Path("runs"),
    results: Results = None,
    settings: Settings = None,
    data: Data = None,
    loader: LoaderName = "auto",
    only: Annotated[
        str, typer.Option(help="Only the runs with this in their names: baseline, mu=2, ...")
    ] = "",
    device_batch: DeviceBatch = 0,
    precision: Precision = "auto",
    compiled: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile",
            help="Use torch.compile. Default: at short and paper scale, in one process with a GPU.",
        ),
    ] = None,
    align: Annotated[
        bool | None,
        typer.Option(
            "--align/--no-align",
            help="Pad channels and merge groups where GPUs are faster so. Default: on a GPU.",
        ),
    ] = None,
    save_minutes: Annotated[
        float, typer.Option(help="Time between checkpoints, besides those after each epoch.")
    ] = 5.0,
    evaluate_every: Annotated[
        int, typer.Option(help="Epochs between looks at the test split while training; 0: none.")
    ] = 0,
) -> None:
    """Train and evaluate an experiment; finished work is skipped, interrupted work resumed.

    Exit code 130 after Ctrl-C, 75 after SIGTERM or SIGUSR2: saved, the same command goes on.
    """
    from codepath.run.directory import is_done

    planned = planned_runs(name, scale, seed, seeds, settings)
    chosen = [config for config in planned if only in f"{config.experiment} {config.name}"]
    if not chosen:
        names = ", ".join(f"{config.experiment} {config.name}" for config in planned)
        raise UserError(f"no run has '{only}' in its name: {names}")
    for config in chosen:
        config.train.check_precision(precision)
        if data is not None and config.data.source == "digits":
            raise UserError(
                "digits come with scikit-learn and take no --data; for images of your own add "
                "--set data.source=images"
            )
    for config in chosen:
        places = places_of(runs, results, config.scale)
        run_dir = places.run_dir(config)
        if is_done(run_dir, config):
            from codepath import store

            if config.data.source == "images" and data is not None:
                from codepath.pipeline.run import check_same_images

                check_same_images(run_dir, config, data)
            typer.echo(f"{config.experiment} {config.name}: done already ({shown_path(run_dir)})")
            store.collect(places.results, [run_dir])
        else:
            from rich.console import Console

            from codepath.pipeline.run import train_and_evaluate
            from codepath.run.events import outcome_noted
            from codepath.train import FitOptions

            options = FitOptions(
                device_batch=device_batch,
                compile=compiled,
                align=align,
                precision=precision,
                save_minutes=save_minutes,
                evaluate_every=evaluate_every,
            )
            with outcome_noted(run_dir):
                train_and_evaluate(config, places, Console(markup=False), data, loader, options)


@commands.command()
def demo(seeds: Seeds = 1, runs: Runs = Path("runs")) -> None:
    """Train a coded and a plain network on digits (a minute), draw all, say what came out.

    It needs no data set. A repeated call goes on where the last one stopped.
    """
    run(DEMO, scale="demo", seeds=seeds, runs=runs)
    typer.echo("drawing figures, tables, claims and a page of all of them")
    from codepath.core.provenance import CHECKOUT
    from codepath.paper.at_once import in_short, make_all, not_drawn

    out = runs / "demo"
    results, coded = out / "results", out / DEMO / "coded-s0"
    judged = make_all(results, out)
    typer.echo()
    for line in in_short(results, out, judged):
        typer.echo(line)
    typer.echo("\nnext:")
    if shutil.which("codepath") is None:
        typer.echo(f"  . {shown_path(Path(sys.prefix))}/bin/activate")
    for command, what in (
        (f"codepath explore {coded}", "see in a browser which paths a digit takes"),
        (f"codepath paths {coded}", "how well the paths follow the codewords"),
        (
            "codepath run table2-cifar10 --scale cpu",
            "the same on CIFAR-10, small: half an hour and more",
        ),
    ):
        typer.echo(f"  {command:58}{what}")
    if names := not_drawn(results):
        more = "make demo-ablations" if CHECKOUT else "codepath run fig5-digits --scale demo, ..."
        typer.echo(
            f"\nNot drawn, since they compare trainings that a demo leaves out: {', '.join(names)} "
            f"({more} trains them)."
        )


@commands.command()
def watch(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory.")],
    once: Annotated[bool, typer.Option("--once", help="Print its state and end.")] = False,
) -> None:
    """Show a run in training: losses, energies of the blocks' paths, speed, waiting for data."""
    from rich.console import Console

    from codepath.run.watch import watch as watch_

    watch_(run_dir, Console(markup=False), once=once)


@commands.command()
def evaluate(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="A trained run's directory.")],
    data: Data = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option("--kind", help="Only this kind of rows, such as exits; may be repeated."),
    ] = None,
) -> None:
    """Measure a trained run again; its rows go to RUN/rows (`codepath collect` takes them on)."""
    from codepath.pipeline.measure import evaluate_run

    evaluate_run(run_dir, data=data, kinds=kinds or ())
    typer.echo(f"wrote {shown_path(run_dir / 'rows')}")
