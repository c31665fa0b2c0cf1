"""Commands on a trained run: explore, explain, pretrained, paths, extract, exits, pack, collect."""

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
def explore(
    run: Annotated[
        str,
        typer.Argument(
            metavar="[RUN]", help="A run's directory or a network that comes along; default: best."
        ),
    ] = "",
    port: Annotated[int, typer.Option(help="0: the first free one from 7860 on.")] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = False,
) -> None:
    """A local page: choose an image, see its paths, switch paths off."""
    import importlib.util

    from codepath.models.shipped import BEST
    from codepath.parts.trained_run import find_run

    if importlib.util.find_spec("gradio") is None:
        raise UserError("the page needs Gradio: pip install 'codepath[explore]'")
    from codepath.explore.page import serve

    name = run or BEST
    serve(find_run(name), name, port, browser, typer.echo)


@commands.command()
def explain(
    image: Annotated[
        list[str],
        typer.Argument(metavar="[RUN] IMAGE", help="An image file, or test:NUMBER."),
    ],
    model: Annotated[
        str, typer.Option(help="RUN: a directory or a network that comes along. Default: the best.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="Picture to write (.png, .pdf or .svg); default: none.")
    ] = None,
    top: Annotated[int, typer.Option(help="Classes to show, the likeliest ones.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
    data: Data = None,
) -> None:
    """The path that an image takes: energies of its paths, what each block decides, the exit.

    Images of any size are taken: the central square is resized to what the network takes.
    """
    from codepath.models.shipped import BEST
    from codepath.parts.explanation import explain_image
    from codepath.parts.trained_run import find_run

    if top < 1:
        raise UserError(f"--top is {top}, at least 1 needed")
    *runs, file = image
    if len(runs) + bool(model) > 1:
        raise UserError(f"one RUN and one IMAGE are needed, not {' '.join([*image, model])}")
    run_dir = find_run(runs[0] if runs else model or BEST)
    explanation = explain_image(run_dir, file, top, data)
    typer.echo(explanation.to_json().rstrip() if as_json else explanation.words())
    if out is not None:
        from codepath.paper.drawings.explained_image import draw_explanation

        draw_explanation(explanation.to_dict(), out)
        typer.echo(f"wrote {shown_path(out)}", err=True)


@commands.command()
def pretrained() -> None:
    """The trained networks that come along, with their facts."""
    from codepath.models.shipped import shipped_facts, shipped_names

    for name in shipped_names():
        typer.echo(f"{name}\n  {shipped_facts(name).description}")
    typer.echo("timm.create_model(NAME, pretrained=True) loads one; NAME also stands for RUN.")


@commands.command()
def paths(
    run_dir: RunDir,
    out: Annotated[
        Path | None, typer.Option(help="Picture; default RUN/paths.png, paths.png of a network.")
    ] = None,
) -> None:
    """Mean energy per class and path beside the coding schemes, with bit-error rates."""
    from codepath.paper.pictures.path_energies import BlockTable, draw_paths
    from codepath.parts.explanation import run_paths
    from codepath.parts.trained_run import find_run

    found = find_run(run_dir)
    blocks, facts = run_paths(found)
    tables = [
        BlockTable(number, block.mean, block.table, block.bit_error_rate)
        for number, block in blocks.items()
    ]
    picture = out or (found if found == Path(run_dir) else Path()) / "paths.png"
    n = sum(next(iter(blocks.values())).counts)
    draw_paths(tables, facts.class_names, f"{facts.source}, n = {n:,} test images", picture)
    for number, block in blocks.items():
        typer.echo(f"block {number}: bit-error rate {100 * block.bit_error_rate:.2f} %")
    typer.echo(f"wrote {shown_path(picture)}")


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
    from codepath.parts.trained_run import find_run

    if compress is not None and not 0 < compress < 1:
        raise UserError(f"--compress is {compress}: it is a share of the parameters, below 1")
    chosen = tuple(f for f in formats.split(",") if f and f != "none")
    for name in chosen:
        if name not in FORMATS:
            raise unknown_name("format", name, FORMATS)
    options = ExtractOptions(
        classes, Objective.parse(objective), compress, curve, chosen, max(turns, 0)
    )
    found = find_run(run_dir, writes=curve)
    extract_run(found, out, options, data, wide_console(Console(markup=False)))
    typer.echo(f"wrote {shown_path(out)}")
    if curve:
        from codepath.paper.pictures.compression_curve import draw_run

        typer.echo(f"wrote {shown_path(draw_run(found / 'rows', out))}")


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
    from codepath.parts.trained_run import find_run

    options = ExitOptions(decoder, criterion, loss, budget)
    found = find_run(run_dir, writes=True)
    exits_run(found, options, export, times, data, wide_console(Console(markup=False)))


@commands.command()
def pack(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="An evaluated run's directory.")],
    name: Annotated[
        str,
        typer.Option(
            help="NETWORK.TAG: timm's name for it once it lies in codepath/models/pretrained."
        ),
    ],
    out: Out,
) -> None:
    """A trained run as a folder of some MB that works without its images, OUT/NAME."""
    from codepath.parts.packing import pack_run

    folder = pack_run(run_dir, out, name)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    typer.echo(f"wrote {shown_path(folder)} ({size / 1e6:.1f} MB)")


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
            settings = store.BENCHMARK_SETTINGS.get(path.stem.split("-")[0])
            if settings is None:
                raise UserError(f"{path} is no benchmark that a lease measures: remove it")
            target = make_directory(results / "benchmarks") / path.name
            store.put_benchmark(target, store.read_benchmark(path), settings)
            typer.echo(f"wrote {shown_path(target)}")
    typer.echo(f"{store.collect(results, runs)} new rows in {shown_path(results)}")
