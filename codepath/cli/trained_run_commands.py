"""Commands on a trained run: extract, exits, explain, paths, collect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codepath.cli.options import (
    Data,
    Out,
    ResultsIn,
    RunDir,
    shown_path,
    wide_console,
)
from codepath.core.errors import UserError
from codepath.core.files import make_directory

commands = typer.Typer()


@commands.command()
def extract(
    run_dir: RunDir,
    out: Out,
    classes: Annotated[str, typer.Option("--class", help="A class's name, or all.")] = "all",
    objective: Annotated[
        str, typer.Option(help="Of the threshold: f1, precision>=0.9 or recall>=0.9.")
    ] = "f1",
    compress: Annotated[
        float | None,
        typer.Option(help="Largest share of the network's parameters to keep, such as 0.4."),
    ] = None,
    curve: Annotated[
        bool, typer.Option("--curve", help="Measure F1 against kept share, and draw it.")
    ] = False,
    formats: Annotated[
        str, typer.Option(help="Graphs beside the weights: export,onnx, one of them, or none.")
    ] = "export,onnx",
    turns: Annotated[int, typer.Option(help="Timings of each classifier; 0: none.")] = 20,
    data: Data = None,
) -> None:
    """Cut a class's binary classifier out of a trained network, as files of its own."""
    from rich.console import Console

    from codepath.core.errors import unknown_name
    from codepath.evaluate.thresholds import Objective
    from codepath.models.classifier_file import FORMATS
    from codepath.parts.classifier_files import ExtractOptions, extract_run

    if compress is not None and not 0 < compress < 1:
        raise UserError(f"--compress is {compress}: it is a share of the parameters, below 1")
    chosen = tuple(f for f in formats.split(",") if f and f != "none")
    for name in chosen:
        if name not in FORMATS:
            raise unknown_name("format", name, FORMATS)
    options = ExtractOptions(
        classes, Objective.parse(objective), compress, curve, chosen, max(turns, 0)
    )
    extract_run(run_dir, out, options, data, wide_console(Console()))
    typer.echo(f"wrote {shown_path(out)}")
    if curve:
        from codepath.paper.pictures.compression_curve import draw_run

        typer.echo(f"wrote {shown_path(draw_run(run_dir / 'rows', out))}")


@commands.command()
def exits(
    run_dir: RunDir,
    decoder: Annotated[
        str, typer.Option(help="eq7, combined (of all blocks so far), or linear.")
    ] = "eq7",
    criterion: Annotated[str, typer.Option(help="margin, softmax or agreement.")] = "margin",
    loss: Annotated[float, typer.Option(help="Top-1 that may be lost, from 0 to 1.")] = 0.005,
    budget: Annotated[
        float | None,
        typer.Option(help="Instead: mean multiply-adds, as a share of the network's."),
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="Folder for one exported graph per exit.")
    ] = None,
    times: Annotated[int, typer.Option(help="Time exits on so many test images.")] = 0,
    data: Data = None,
) -> None:
    """Set the early exits of an evaluated run, cross-fitted, and write RUN/exits.json."""
    from rich.console import Console

    from codepath.parts.exit_settings import ExitOptions, exits_run

    options = ExitOptions(decoder, criterion, loss, budget)
    exits_run(run_dir, options, export, times, data, wide_console(Console()))


@commands.command()
def explain(
    run_dir: RunDir,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image file, or test:NUMBER.")],
    out: Annotated[
        Path | None, typer.Option(help="Picture to write (.png, .pdf or .svg); default: none.")
    ] = None,
    top: Annotated[int, typer.Option(help="Classes to show, the likeliest ones.")] = 3,
    data: Data = None,
) -> None:
    """The path that an image takes: energies beside codewords, decisions, exit; as JSON."""
    from codepath.parts.explanation import explain_image

    if top < 1:
        raise UserError(f"--top is {top}, at least 1 needed")
    explanation = explain_image(run_dir, image, top, data)
    typer.echo(explanation.to_json().rstrip())
    if out is not None:
        from codepath.paper.drawings.explained_image import draw_explanation

        draw_explanation(explanation.to_dict(), out)
        typer.echo(f"wrote {shown_path(out)}", err=True)


@commands.command()
def paths(
    run_dir: RunDir,
    out: Annotated[Path | None, typer.Option(help="Picture; default RUN/paths.png.")] = None,
) -> None:
    """Mean energy per class and path beside the coding schemes, with bit-error rates."""
    from codepath.paper.pictures.path_energies import BlockTable, draw_paths
    from codepath.parts.explanation import run_paths

    blocks, facts = run_paths(run_dir)
    tables = [
        BlockTable(number, block.mean, block.table, block.bit_error_rate)
        for number, block in blocks.items()
    ]
    picture = out or run_dir / "paths.png"
    n = sum(next(iter(blocks.values())).counts)
    draw_paths(tables, facts.class_names, f"{facts.source}, n = {n:,} test images", picture)
    for number, block in blocks.items():
        typer.echo(f"block {number}: bit-error rate {100 * block.bit_error_rate:.2f} %")
    typer.echo(f"wrote {shown_path(picture)}")


@commands.command()
def collect(
    folders: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories, or a lease's folder.")
    ],
    results: ResultsIn = Path("results"),
) -> None:
    """Append the rows of run directories to the results; rows already there are left out.

    Of a lease's folder (see `codepath lease`) the rows of all its finished runs, and of its
    benchmarks, which replace older ones of the same device.
    """
    from codepath import store

    leases = [folder for folder in folders if (folder / "lease.json").exists()]
    runs = [folder for folder in folders if folder not in leases]
    absent = [run for run in runs if not (run / "rows").is_dir()]
    if absent:
        raise UserError(f"{absent[0]} has no rows: evaluate it first")
    for folder in leases:
        runs += [path.parent for path in sorted(folder.glob("runs/*/*/*/DONE"))]
        for path in sorted((folder / "results" / "benchmarks").glob("*.csv")):
            target = make_directory(results / "benchmarks") / path.name
            settings = store.BENCHMARK_SETTINGS[path.stem.split("-")[0]]
            store.put_benchmark(target, store.read_benchmark(path), settings)
            typer.echo(f"wrote {shown_path(target)}")
    typer.echo(f"{store.collect(results, runs)} new rows in {shown_path(results)}")
