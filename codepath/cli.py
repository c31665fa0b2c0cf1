"""The command line. Heavy packages are imported by the commands that need them."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codepath.runtime import REPO_ROOT, InterruptedRun, UserError, has_gpu

if TYPE_CHECKING:
    from codepath.config import RunConfig
    from codepath.rundir import Places

EXIT_INTERRUPTED = 130

app = typer.Typer(
    help="Coded ResNeXt: train, measure and redraw, from named experiments.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
codes = typer.Typer(help="Coding schemes.", no_args_is_help=True)
app.add_typer(codes, name="codes")
data_sets = typer.Typer(help="Data sets and augmentation.", no_args_is_help=True)
app.add_typer(data_sets, name="data")

Name = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="See `codepath list`.")]
Scale = Annotated[
    str | None,
    typer.Option(help="demo, cpu or paper; default: paper with a GPU, else the smallest."),
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
LoaderName = Annotated[str, typer.Option("--loader", help="ffcv, torch or auto.")]
Results = Annotated[
    Path | None,
    typer.Option(help="Where rows go; default RUNS/SCALE/results."),
]
ResultsIn = Annotated[Path, typer.Option("--results", help="Folder with the rows.")]
Out = Annotated[Path, typer.Option(help="Folder to write into.")]


def _shown(path: Path) -> str:
    """A path relative to the working directory where it lies below it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _planned(
    name: str, scale: str | None, seed: int, seeds: int, settings: list[str] | None
) -> list[RunConfig]:
    from codepath.experiments import find_experiment
    from codepath.experiments.registry import override

    experiment = find_experiment(name)
    if seeds < 1:
        raise UserError(f"--seeds is {seeds}, at least 1 needed")
    return [
        override(config, settings or [])
        for number in range(seed, seed + seeds)
        for config in experiment.runs(scale or _scale_here(experiment.scales), number)
    ]


def _scale_here(scales: tuple[str, ...]) -> str:
    """The paper's scale where there is a GPU, else the smallest."""
    return scales[-1] if has_gpu() else scales[0]


def _places(runs: Path, results: Path | None, scale: str) -> Places:
    from codepath.rundir import Places

    return Places(runs, results or runs / scale / "results")


@app.command("list")
def list_() -> None:
    """Experiments and the paper's item that each belongs to."""
    from codepath.experiments import all_experiments

    for experiment in all_experiments():
        scales, title = ", ".join(experiment.scales), experiment.description.splitlines()[0]
        typer.echo(f"{experiment.name:18} {experiment.paper_item:10} {scales:12} {title}")


@app.command()
def show(name: Name, scale: Scale = None) -> None:
    """What an experiment is, costs and should give, and its runs in full."""
    from codepath.config import to_dict
    from codepath.experiments import find_experiment

    experiment = find_experiment(name)
    typer.echo(f"{experiment.name} ({experiment.paper_item})\n\n{experiment.description}\n")
    for config in experiment.runs(scale or experiment.scales[0], seed=0):
        typer.echo(config.run_id)
        for section, values in to_dict(config).items():
            if isinstance(values, dict):
                typer.echo("  " + section + "  " + " ".join(f"{k}={v}" for k, v in values.items()))


@app.command()
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
) -> None:
    """Train and evaluate an experiment; finished work is skipped, interrupted work resumed."""
    from codepath.rundir import is_done

    for config in _planned(name, scale, seed, seeds, settings):
        places = _places(runs, results, config.scale)
        run_dir = places.run_dir(config)
        if is_done(run_dir, config):
            from codepath import store

            typer.echo(f"{config.experiment} {config.name}: done already ({_shown(run_dir)})")
            store.collect(places.results, [run_dir])
        else:
            from rich.console import Console

            from codepath import jobs

            jobs.run(config, places, Console(), data, loader)


@app.command()
def evaluate(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="A trained run's directory.")],
    data: Data = None,
) -> None:
    """Measure a trained run again; its rows go to RUN/rows (`codepath collect` takes them on)."""
    from codepath import jobs

    jobs.evaluate_run(run_dir, data=data)
    typer.echo(f"wrote {_shown(run_dir / 'rows')}")


@app.command()
def collect(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories.")],
    results: ResultsIn = REPO_ROOT / "results",
) -> None:
    """Append the rows of run directories to the results; rows already there are left out."""
    from codepath import store

    absent = [run for run in runs if not (run / "rows").is_dir()]
    if absent:
        raise UserError(f"{absent[0]} has no rows: evaluate it first")
    typer.echo(f"{store.collect(results, runs)} new rows in {_shown(results)}")


@app.command()
def submit(
    name: Name,
    scale: Scale = None,
    seed: Seed = 0,
    seeds: Seeds = 1,
    runs: Runs = Path("runs"),
    results: Results = None,
    settings: Settings = None,
    cluster: Annotated[
        str, typer.Option(help="slurm, local or debug (in this process).")
    ] = "slurm",
    profile: Annotated[str, typer.Option(help="Section of slurm/profiles.toml.")] = "cpu",
    data: Data = None,
    loader: LoaderName = "auto",
) -> None:
    """Submit an experiment's runs through Submitit, one job a run."""
    configs = _planned(name, scale, seed, seeds, settings)
    from codepath.launch import submit as submit_

    places = _places(runs, results, configs[0].scale)
    for job in submit_(configs, places, cluster, profile, data, loader):
        typer.echo(job)


@app.command()
def figures(results: ResultsIn = REPO_ROOT / "results", out: Out = REPO_ROOT / "paper") -> None:
    """Redraw every figure that the rows allow, as PDF and PNG in OUT/figures."""
    from codepath.figures import build_figures

    built = build_figures(results, out, on_file=lambda path: typer.echo(f"wrote {_shown(path)}"))
    for line in built.missing:
        typer.echo(f"left out: {line}")


@app.command()
def tables(results: ResultsIn = REPO_ROOT / "results", out: Out = REPO_ROOT / "paper") -> None:
    """Rewrite the tables in OUT/tables, as Markdown and LaTeX."""
    from codepath.figures import write_tables

    for path in write_tables(results, out):
        typer.echo(f"wrote {_shown(path)}")


@app.command()
def verdict(results: ResultsIn = REPO_ROOT / "results", out: Out = REPO_ROOT / "paper") -> None:
    """Judge the paper's claims by the rows: OUT/claims.md and a summary here."""
    from codepath.figures import write_claims

    path, judged = write_claims(results, out)
    for claim in judged:
        if not claim.verdict.startswith("not run"):
            typer.echo(f"{claim.verdict:12} {claim.text} [{claim.data}]: {claim.ours}")
    typer.echo(f"wrote {_shown(path)}")


@codes.command("design")
def design(
    classes: Annotated[int, typer.Option(help="K")],
    paths: Annotated[int, typer.Option(help="N")],
    active: Annotated[int, typer.Option(help="Nact, ones per codeword")],
    seed: int = 0,
    distance: Annotated[
        int | None, typer.Option(help="Minimum distance to reach; default: the largest.")
    ] = None,
    time_limit: Annotated[
        float | None, typer.Option(help="Seconds; default: until the constructions are through.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="CSV file to write; default: print.")] = None,
) -> None:
    """Design a scheme: large minimum distance, then even column sums, then few close pairs."""
    from rich.console import Console

    from codepath.codes.design import design_scheme

    if out is not None and not out.parent.is_dir():
        raise UserError(f"{out.parent} is not a folder: create it, or choose another --out")
    console = Console(stderr=True)
    with console.status("bounds") as status:
        scheme = design_scheme(
            classes, paths, active, seed, time_limit, distance, progress=status.update
        )
    if out is None:
        typer.echo(scheme.to_csv().rstrip())
    else:
        scheme.save(out)
        typer.echo(f"wrote {_shown(out)}")
    for line in scheme.certificate().lines():
        typer.echo(line, err=out is None)


@codes.command("show")
def show_scheme(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="Catalogue name or CSV file.")],
    picture: Annotated[
        Path | None,
        typer.Option(help="Also draw the table and its distances (.png, .pdf or .svg)."),
    ] = None,
) -> None:
    """Size, certificate, column sums and distances of a scheme."""
    from codepath.codes import load_scheme

    scheme = load_scheme(name)
    typer.echo(
        f"K = {scheme.classes} classes, N = {scheme.paths} paths, Nact = {scheme.active} "
        f"(r = {scheme.ratio:g})"
    )
    for line in scheme.certificate().lines():
        typer.echo(line)
    typer.echo("column sums " + " ".join(map(str, scheme.column_sums)))
    counts = scheme.distance_counts
    typer.echo("distance  pairs of classes")
    for distance in counts.nonzero()[0]:
        bar = "#" * max(1, round(48 * counts[distance] / counts.max()))
        typer.echo(f"{distance:8}  {counts[distance]:<10,} {bar}")
    if picture is not None:
        from codepath.figures.scheme import draw_scheme

        draw_scheme(scheme, Path(name).stem if name.endswith(".csv") else name, picture)
        typer.echo(f"wrote {_shown(picture)}")


@codes.command("check")
def check_scheme(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV file.")],
    distance: Annotated[int | None, typer.Option(help="Least minimum distance to accept.")] = None,
) -> None:
    """Whether a CSV file holds a valid scheme; exit code 1 and the line at fault if not."""
    from codepath.codes import CodingScheme, largest_distance

    scheme = CodingScheme.from_csv(file)
    if distance is not None and scheme.min_distance < distance:
        most = largest_distance(scheme.classes, scheme.paths, scheme.active)
        raise UserError(
            f"{file}: minimum distance {scheme.min_distance}, {distance} demanded "
            f"(no scheme of this size exceeds {most})"
        )
    typer.echo(f"{file}: valid, {scheme.classes} x {scheme.paths}, {scheme.active} ones a row")
    for line in scheme.certificate().lines():
        typer.echo(line)


@codes.command("list")
def list_schemes() -> None:
    """The schemes that come with the package."""
    from codepath.codes import catalog_names, load_scheme

    for name in catalog_names():
        scheme = load_scheme(name)
        sums = scheme.column_sums
        typer.echo(
            f"{name:18} d = {scheme.min_distance:2}, {scheme.pairs_at_min_distance:7,} pairs at d, "
            f"{sums.min()} to {sums.max()} classes per path"
        )


@data_sets.command("info")
def describe_data(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="digits, cifar10, cifar100 or imagenet.")
    ],
    data: Data = None,
    subset: Annotated[bool, typer.Option("--subset", help="Fewer images are meant.")] = False,
) -> None:
    """Where the images come from, in words, their sizes, and how many of each class."""
    from codepath.data import describe_images, load_image_set

    for line in describe_images(load_image_set(source, data, subset=subset)):
        typer.echo(line)


@data_sets.command("show")
def show_data(
    name: Name,
    picture: Annotated[Path, typer.Option(help="File to write (.png, .pdf or .svg).")],
    scale: Scale = None,
    seed: Seed = 0,
    epoch: Annotated[int, typer.Option(help="The first epoch, counted from 1.")] = 1,
    epochs: Annotated[int, typer.Option(help="How many epochs.")] = 8,
    number: Annotated[int, typer.Option("--images", help="How many images.")] = 8,
    settings: Settings = None,
    data: Data = None,
) -> None:
    """Draw training images as an experiment's runs see them, epoch by epoch."""
    from codepath.data import load_image_set, preview
    from codepath.figures.sheet import draw_sheet

    if min(epoch, epochs, number) < 1:
        raise UserError("--epoch, --epochs and --images are counted from 1")
    recipe = _planned(name, scale, seed, 1, settings)[0].data
    images = load_image_set(recipe.source, data, recipe.crop, recipe.subset)
    shown = range(epoch - 1, epoch - 1 + epochs)
    sheet = preview(images, recipe, seed, shown, number)
    draw_sheet(
        sheet.originals,
        sheet.augmented,
        [images.class_names[k] for k in images.train.labels[sheet.indices]],
        [f"epoch {number + 1}" for number in shown],
        f"{images.source}\n{recipe.words()}, seed {seed}",
        picture,
    )
    typer.echo(f"wrote {_shown(picture)}")


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Checkpoint of the authors' code.")],
    model: Annotated[str, typer.Option(help="The network that it is of.")],
    out: Out,
    ema: Annotated[bool, typer.Option("--ema", help="The moving average of the weights.")] = False,
) -> None:
    """Turn the authors' weights into a folder that timm loads (local-dir:OUT)."""
    from codepath.models.convert import create_converted
    from codepath.models.hub import save_local

    typer.echo(f"wrote {_shown(save_local(create_converted(model, file, ema), out))}")


@app.command()
def doctor() -> None:
    """What is installed here, what is missing, and what that means."""
    from codepath.doctor import report

    for line in report():
        typer.echo(line)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def bench(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A script of benchmarks/, without .py.")] = "",
) -> None:
    """Run a benchmark; further options go to it. Without a name: list them."""
    import runpy

    from codepath.runtime import unknown_name

    folder = REPO_ROOT / "benchmarks"
    scripts = {
        path.stem: path
        for path in sorted(folder.glob("*.py"))
        if not path.name.startswith("_") and "__main__" in path.read_text()
    }
    if not name:
        for stem in scripts:
            typer.echo(stem)
        return
    if name not in scripts:
        raise unknown_name("benchmark", name, scripts)
    sys.path.insert(0, str(REPO_ROOT))
    sys.argv = [str(scripts[name]), *context.args]
    runpy.run_path(str(scripts[name]), run_name="__main__")


@app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,  # what stands behind SCRIPT is the script's
    }
)
def timm(
    context: typer.Context,
    script: Annotated[Path, typer.Argument(help="train.py, validate.py, ... of a timm checkout.")],
    mu: Annotated[float, typer.Option(envvar="CODEPATH_MU", help="Weight of the coding loss.")] = 6,
    exponent: Annotated[
        float, typer.Option(envvar="CODEPATH_EXPONENT", help="Exponent of the coding loss.")
    ] = 4,
) -> None:
    """Run a script of timm with these networks, and with the coding loss in training.

    Options of this command stand before SCRIPT; what follows goes to the script.
    """
    from codepath.train.timm_runner import run_script

    run_script(script, context.args, mu, exponent)


def main() -> None:
    """Entry point: known mistakes end in one line and a non-zero exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # logs of background runs stay current
    try:
        app()
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except (InterruptedRun, KeyboardInterrupt) as error:
        typer.echo(f"\n{error or 'interrupted'}", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        typer.echo(
            f"error: {error.strerror or error}{where}; "
            "what was finished is kept, mend this and repeat the command",
            err=True,
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
