"""The command line. Heavy packages are imported by the commands that need them."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codepath.runtime import (
    EXIT_INTERRUPTED,
    REPO_ROOT,
    InterruptedRun,
    UserError,
    has_gpu,
    make_directory,
)

if TYPE_CHECKING:
    from rich.console import Console

    from codepath.config import RunConfig
    from codepath.figures.upkeep import Made
    from codepath.rundir import Places

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
Strict = Annotated[bool, typer.Option("--strict", help="Fail where rows are missing.")]
ScaleAsked = Annotated[
    str | None,
    typer.Option("--scale", help="Call missing what this scale lacks; default: any scale will do."),
]
Out = Annotated[Path, typer.Option(help="Folder to write into.")]
Force = Annotated[bool, typer.Option("--force", help="Make anew what is up to date, too.")]


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
    if experiment.benchmarks:
        raise UserError(f"{name} trains nothing: {experiment.command('paper')}")
    return [
        override(config, settings or [])
        for number in range(seed, seed + seeds)
        for config in experiment.runs(scale or _scale_here(experiment.usual_scales), number)
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

    experiments = all_experiments()
    lines = [
        (
            experiment.name,
            experiment.paper_item,
            "counted" if experiment.benchmarks else ", ".join(experiment.scales),
            experiment.description.splitlines()[0],
        )
        for experiment in experiments
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for *cells, title in lines:
        padded = [f"{cell:{width}}" for cell, width in zip(cells, widths, strict=False)]
        typer.echo("  ".join([*padded, title]))


@app.command()
def show(name: Name, scale: Scale = None, results: ResultsIn = REPO_ROOT / "results") -> None:
    """What an experiment is, costs and should give, and its runs in full."""
    from codepath.config import to_dict
    from codepath.experiments import find_experiment
    from codepath.experiments.cost import cost_lines, facts

    experiment = find_experiment(name)
    scale = scale or experiment.usual_scales[0]
    typer.echo(f"{experiment.name} ({experiment.paper_item})\n\n{experiment.description}\n")
    for line in (*facts(experiment), *cost_lines(experiment, results)):
        typer.echo(line)
    for config in experiment.runs(scale, seed=0):
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
    from codepath.rundir import is_done

    planned = _planned(name, scale, seed, seeds, settings)
    chosen = [config for config in planned if only in f"{config.experiment} {config.name}"]
    if not chosen:
        names = ", ".join(f"{config.experiment} {config.name}" for config in planned)
        raise UserError(f"no run has '{only}' in its name: {names}")
    for config in chosen:
        config.train.check_precision(precision)
    for config in chosen:
        places = _places(runs, results, config.scale)
        run_dir = places.run_dir(config)
        if is_done(run_dir, config):
            from codepath import store

            typer.echo(f"{config.experiment} {config.name}: done already ({_shown(run_dir)})")
            store.collect(places.results, [run_dir])
        else:
            from rich.console import Console

            from codepath import jobs
            from codepath.runstate import outcome_noted
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
                jobs.run(config, places, Console(), data, loader, options)


@app.command()
def watch(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory.")],
    once: Annotated[bool, typer.Option("--once", help="Print its state and end.")] = False,
) -> None:
    """Show a run in training: losses, energies of the blocks' paths, speed, waiting for data."""
    from rich.console import Console

    from codepath.watch import watch as watch_

    watch_(run_dir, Console(), once=once)


@app.command()
def evaluate(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="A trained run's directory.")],
    data: Data = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option("--kind", help="Only this kind of rows, such as exits; may be repeated."),
    ] = None,
) -> None:
    """Measure a trained run again; its rows go to RUN/rows (`codepath collect` takes them on)."""
    from codepath import jobs

    jobs.evaluate_run(run_dir, data=data, kinds=kinds or ())
    typer.echo(f"wrote {_shown(run_dir / 'rows')}")


def _wide(console: Console) -> Console:
    """As wide as a table needs where it goes to a file and not to a terminal."""
    if not console.is_terminal:
        console.width = 130
    return console


RunDir = Annotated[Path, typer.Argument(metavar="RUN", help="A trained coded run's directory.")]


@app.command()
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

    from codepath.apply.classifiers import ExtractOptions, extract_run
    from codepath.evaluate.thresholds import Objective
    from codepath.models.classifier_file import FORMATS
    from codepath.runtime import unknown_name

    if compress is not None and not 0 < compress < 1:
        raise UserError(f"--compress is {compress}: it is a share of the parameters, below 1")
    chosen = tuple(f for f in formats.split(",") if f and f != "none")
    for name in chosen:
        if name not in FORMATS:
            raise unknown_name("format", name, FORMATS)
    options = ExtractOptions(
        classes, Objective.parse(objective), compress, curve, chosen, max(turns, 0)
    )
    extract_run(run_dir, out, options, data, _wide(Console()))
    typer.echo(f"wrote {_shown(out)}")
    if curve:
        from codepath.figures.compression import draw_run

        typer.echo(f"wrote {_shown(draw_run(run_dir / 'rows', out))}")


@app.command()
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

    from codepath.apply.exits import ExitOptions, exits_run

    options = ExitOptions(decoder, criterion, loss, budget)
    exits_run(run_dir, options, export, times, data, _wide(Console()))


@app.command()
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
    from codepath.apply.explain import explain_image

    if top < 1:
        raise UserError(f"--top is {top}, at least 1 needed")
    explanation = explain_image(run_dir, image, top, data)
    typer.echo(explanation.to_json().rstrip())
    if out is not None:
        from codepath.figures.explain import draw_explanation

        draw_explanation(explanation.to_dict(), out)
        typer.echo(f"wrote {_shown(out)}", err=True)


@app.command()
def paths(
    run_dir: RunDir,
    out: Annotated[Path | None, typer.Option(help="Picture; default RUN/paths.png.")] = None,
) -> None:
    """Mean energy per class and path beside the coding schemes, with bit-error rates."""
    from codepath.apply.explain import run_paths
    from codepath.figures.paths import BlockTable, draw_paths

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
    typer.echo(f"wrote {_shown(picture)}")


@app.command()
def collect(
    folders: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories, or a lease's folder.")
    ],
    results: ResultsIn = REPO_ROOT / "results",
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
            typer.echo(f"wrote {_shown(target)}")
    typer.echo(f"{store.collect(results, runs)} new rows in {_shown(results)}")


@app.command()
def submit(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="Experiments, tables or figures (table2), or all."),
    ],
    scale: Annotated[
        str | None,
        typer.Option(
            help="demo, cpu, short or paper; default: on slurm each experiment's largest."
        ),
    ] = None,
    seed: Seed = 0,
    seeds: Seeds = 3,
    runs: Runs = Path("runs"),
    results: Results = None,
    settings: Settings = None,
    cluster: Annotated[
        str, typer.Option(help="slurm, local (in the background here) or debug (in this process).")
    ] = "slurm",
    profile: Annotated[
        str | None, typer.Option(help="Section of slurm/profiles.toml; default: by its [use].")
    ] = None,
    parallel: Annotated[
        int | None, typer.Option(help="Most jobs of an array at once; default: the profile's.")
    ] = None,
    data: Data = None,
    loader: LoaderName = "auto",
    device_batch: DeviceBatch = 0,
    precision: Precision = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be submitted; submit nothing.")
    ] = False,
) -> None:
    """Submit runs through Submitit: data first, then training with evaluation, then collecting.

    Finished runs and those under way are left out. Jobs run a copy of the present source. Of
    several data sets each may lie in a folder of its name below --data (DATA/imagenet).
    """
    from codepath.launch.cluster import check_profiles
    from codepath.launch.plan import Destination, find_targets, make_plan

    check_profiles()
    configs = []
    for experiment in find_targets(names):
        if scale and scale not in experiment.scales and experiment.name not in names:
            typer.echo(f"left out, has no {scale} scale: {experiment.name}")
            continue
        if not experiment.runs(experiment.scales[-1], seed):
            typer.echo(f"trains nothing: {experiment.name}; {experiment.command('paper')}")
            continue
        largest = experiment.scales[-1] if cluster == "slurm" else None
        configs += _planned(experiment.name, scale or largest, seed, seeds, settings)
    destination = Destination(runs.resolve(), results.resolve() if results else None)
    plan = make_plan(configs, destination, profile, parallel)
    for line in plan.lines(destination, cluster):
        typer.echo(line)
    if dry_run or not plan.configs:
        return
    from codepath.launch.submit import Submission

    data = data.resolve() if data else None
    submission = Submission(plan, destination, cluster, data, loader, device_batch, precision)
    for line in submission.submit():
        typer.echo(line)


@app.command()
def lease(
    out: Annotated[Path, typer.Option(help="Folder of the lease; the same one goes on.")],
    minutes: Annotated[float, typer.Option(help="How long the GPU is there.")] = 13.0,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="On the CPU, with tiny settings: does all work here?")
    ] = False,
    data: Data = None,
    loader: LoaderName = "auto",
    back: Annotated[
        Path | None, typer.Option(help="Folder for the files to take home; default: OUT/back.")
    ] = None,
    results: Annotated[
        Path, typer.Option("--results", help="Rows that are there already are not made again.")
    ] = REPO_ROOT / "results",
    continued: Annotated[
        bool,
        typer.Option(
            "--to-be-continued", help="Another lease follows: begin runs that cannot end in this."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and how long it takes.")
    ] = False,
) -> None:
    """Use a GPU that is there for some minutes: tests, speeds, and CIFAR-10 at the short scale.

    The parts are ordered by worth. What cannot end in time is not begun, the rest is saved. Exit
    code 0: done, or the time is up; 1: a part failed; 75 or 130: told to stop, and saved.
    """
    from rich.console import Console

    from codepath.lease.parcel import require_room
    from codepath.lease.parts import Place, paper_parts, rehearsal_parts
    from codepath.lease.work import Lease
    from codepath.runtime import git_state, gpu_name, processor_name

    if minutes <= 0:
        raise UserError(f"--minutes is {minutes:g}, must be more than 0")
    if data is not None and not data.exists():
        raise UserError(f"--data: {data} does not exist")
    device = processor_name() if rehearse else gpu_name()
    if not device:
        raise UserError("no GPU answers here: --rehearse goes through the same list on the CPU")
    commit, dirty = git_state()
    place = Place(
        folder=make_directory(out).resolve(),
        device=device,
        commit="" if dirty or commit == "unknown" else commit,
        minutes=minutes,
        known=results.resolve(),
        data=data.resolve() if data else None,
        loader=loader,
        continued=continued,
        full_minutes=0.0 if rehearse else Place.full_minutes,
    )
    back = (back or out / "back").resolve()
    require_room(back)
    parts = rehearsal_parts() if rehearse else paper_parts()
    environment = {"CUDA_VISIBLE_DEVICES": ""} if rehearse else {}
    working = Lease(place, parts, back, Console(), environment)
    if dry_run:
        for line in working.plan():
            typer.echo(line)
        return
    code = working.work()
    if code:
        raise typer.Exit(code)


@app.command("job-goes-on", hidden=True)
def job_goes_on(runs: Runs = Path("runs")) -> None:
    """For batch scripts: exit code 0 if this Slurm job, whose step a signal ended, goes on."""
    from codepath.launch.recovery import job_goes_on

    if not job_goes_on(runs.resolve()):
        raise typer.Exit(1)


Chosen = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME...]", help="Runs, experiments or scales below RUNS; or all."),
]


@app.command()
def status(
    names: Chosen = None,
    runs: Runs = Path("runs"),
    watch: Annotated[bool, typer.Option("--watch", help="Show it until nothing runs.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between looks, with --watch.")] = 10.0,
) -> None:
    """What runs are doing: waiting, running (epoch, ETA), failed (why), done; 1 if any failed."""
    from codepath.launch.control import statuses_of
    from codepath.launch.status import table

    statuses = statuses_of(runs, names or [])
    if watch:
        import time

        from rich.console import Console
        from rich.live import Live

        with Live(console=Console(highlight=False), auto_refresh=False) as live:
            while True:
                live.update("\n".join(table(statuses)), refresh=True)
                if not any(s.state in ("running", "waiting") for s in statuses):
                    break
                time.sleep(every)
                statuses = statuses_of(runs, names or [])
    else:
        for line in table(statuses):
            typer.echo(line)
    if any(s.state == "failed" for s in statuses):
        raise typer.Exit(1)


@app.command()
def cancel(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="Runs, experiments or scales below RUNS; or all."),
    ],
    runs: Runs = Path("runs"),
) -> None:
    """Cancel runs that wait or run; what they saved stays."""
    from codepath.launch.control import cancel as cancel_
    from codepath.launch.control import statuses_of

    for line in cancel_(statuses_of(runs, names)):
        typer.echo(line)


@app.command()
def retry(
    names: Chosen = None,
    runs: Runs = Path("runs"),
    cluster: Annotated[str | None, typer.Option(help="Another cluster than before.")] = None,
    profile: Annotated[str | None, typer.Option(help="Another profile than before.")] = None,
    device_batch: Annotated[
        int | None, typer.Option(help="Another number of images at once than before.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="Another precision than before.")] = None,
) -> None:
    """Submit failed and cancelled runs again, with the present source; they go on."""
    from codepath.launch.control import retry as retry_
    from codepath.launch.control import statuses_of

    statuses = statuses_of(runs, names or [])
    for line in retry_(statuses, profile, cluster, device_batch, precision):
        typer.echo(line)


def _redraw(
    command: str,
    results: Path,
    out: Path,
    force: bool,
    make: Callable[[], Made],
    strict: bool = False,
    options: tuple[object, ...] = (),
) -> None:
    """Make what is not up to date, say what a command always says, and what is missing."""
    from codepath.figures import upkeep

    inputs = upkeep.inputs_digest(results, str(results), *options)  # texts name the folder
    made = None if force else upkeep.kept(out, command, inputs)
    if made is None:
        made = make()
        upkeep.keep(out, command, inputs, made)
    else:
        files = f"{len(made.files)} file{'s' if len(made.files) > 1 else ''}"
        typer.echo(f"{command}: up to date ({files} in {_shown(out)}; --force makes them anew)")
    for line in made.said:
        typer.echo(line)
    for line in made.missing:
        typer.echo(f"missing: {line}")
    if made.missing and strict:
        raise UserError(f"{len(made.missing)} experiments miss rows; the commands above make them")


def _wrote(path: Path) -> None:
    typer.echo(f"wrote {_shown(path)}")


@app.command()
def figures(
    results: ResultsIn = REPO_ROOT / "results",
    out: Out = REPO_ROOT / "paper",
    strict: Strict = False,
    scale: ScaleAsked = None,
    wide: Annotated[bool, typer.Option("--wide", help="Also two columns wide.")] = False,
    force: Force = False,
) -> None:
    """Redraw every figure that the rows allow, as PDF and PNG in OUT/figures."""

    def make() -> Made:
        from codepath.figures.build import build_figures
        from codepath.figures.upkeep import Made

        built = build_figures(results, out, _wrote, scale, wide, force)
        rest = len(built.paths) // 2 - built.drawn
        if rest:
            typer.echo(f"{rest} pictures were up to date (--force draws them anew)")
        return Made(built.paths, missing=built.missing)

    _redraw("figures", results, out, force, make, strict, (scale, wide))


@app.command()
def tables(
    results: ResultsIn = REPO_ROOT / "results",
    out: Out = REPO_ROOT / "paper",
    strict: Strict = False,
    scale: ScaleAsked = None,
    force: Force = False,
) -> None:
    """Rewrite the tables in OUT/tables, as Markdown and LaTeX."""

    def make() -> Made:
        from codepath.figures.tables import write_tables
        from codepath.figures.upkeep import Made

        written = write_tables(results, out, scale)
        for path in written.paths:
            _wrote(path)
        return Made(written.paths, missing=written.missing)

    _redraw("tables", results, out, force, make, strict, (scale,))


@app.command()
def compare(
    results: ResultsIn = REPO_ROOT / "results",
    out: Out = REPO_ROOT / "paper",
    force: Force = False,
) -> None:
    """Write the baselines table: coded networks beside plain ones, OUT/tables/baselines.md."""

    def make() -> Made:
        from codepath.figures.compare import write_comparisons
        from codepath.figures.upkeep import Made

        path = write_comparisons(results, out)
        _wrote(path)
        return Made([path])

    _redraw("compare", results, out, force, make)


@app.command()
def verdict(
    results: ResultsIn = REPO_ROOT / "results",
    out: Out = REPO_ROOT / "paper",
    force: Force = False,
) -> None:
    """Judge the paper's claims by the rows: OUT/claims.md, OUT/DEVIATIONS.md, a summary here."""

    def make() -> Made:
        from codepath.figures.deviations import write_deviations
        from codepath.figures.upkeep import Made
        from codepath.figures.verdict import summary, write_claims

        path, judged = write_claims(results, out)
        files = [path, write_deviations(results, out)]
        for file in files:
            _wrote(file)
        said = [
            f"{claim.verdict:12} {claim.text} [{claim.data}]: {claim.ours}"
            for claim in judged
            if claim.outcome
        ]
        return Made(files, [*said, f"of {len(judged)} claims: {summary(judged)}"])

    _redraw("verdict", results, out, force, make)


@app.command()
def report(
    results: ResultsIn = REPO_ROOT / "results",
    out: Out = REPO_ROOT / "paper",
    strict: Strict = False,
    scale: ScaleAsked = None,
    force: Force = False,
) -> None:
    """Write OUT/report.html: claims, figures, tables and their runs on one page, no network."""

    def make() -> Made:
        from codepath.figures.report import write_report
        from codepath.figures.upkeep import Made

        path, missing = write_report(results, out, scale, force)
        _wrote(path)
        return Made([path], missing=missing)

    _redraw("report", results, out, force, make, strict, (scale,))


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
        str, typer.Argument(metavar="SOURCE", help="digits, cifar10, cifar100, imagenet or images.")
    ],
    data: Data = None,
    subset: Annotated[bool, typer.Option("--subset", help="Fewer images are meant.")] = False,
) -> None:
    """Where the images come from, in words, their sizes, and how many of each class."""
    from codepath.data import describe_images, load_image_set

    for line in describe_images(load_image_set(source, data, subset=subset)):
        typer.echo(line)


@data_sets.command("build")
def build_data(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="cifar10, cifar100, imagenet or images.")
    ],
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default: DATA/betons.")] = None,
    store: Annotated[
        str, typer.Option(help="jpeg, or pixels: larger, and much faster to load.")
    ] = "jpeg",
    longest: Annotated[
        int, typer.Option(help="Make larger images smaller, to so many pixels a side; 0: do not.")
    ] = 0,
    quality: Annotated[int, typer.Option(help="JPEG quality of images made smaller.")] = 90,
    subset: Annotated[bool, typer.Option("--subset", help="Fewer images are meant.")] = False,
) -> None:
    """Write FFCV's files (betons) of a data set; an interrupted writing goes on.

    Every image is decoded once, so that a damaged one is found here and not in training.
    """
    from codepath.data import load_image_set
    from codepath.data.beton import BetonSettings, ensure_beton

    settings = BetonSettings(store, longest, quality)
    images = load_image_set(source, data, subset=subset, originals=True)
    folder = out or (data if data is not None and data.is_dir() else Path("data")) / "betons"
    for split in ("train", "test"):
        with _image_progress(f"{source} {split}", len(images.split(split))) as stored:
            path = ensure_beton(images, split, folder, settings, stored)
        typer.echo(f"{_shown(path)}: {path.stat().st_size / 2**20:,.1f} MiB")


@data_sets.command("verify")
def verify_data(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Betons.")],
) -> None:
    """Compare every byte of betons with what was written; name the samples that are altered."""
    from codepath.data.beton import Beton

    wrong = []
    for file in files:
        try:
            beton = Beton(file)
            with _image_progress(file.name, len(beton)) as read:
                damages = list(beton.damages(read))
        except UserError as error:
            typer.echo(error)
            wrong.append(file)
            continue
        for damage in damages[:20]:
            typer.echo(f"{file}: {damage}")
        if damages:
            count = f"{len(damages)} place{'s' if len(damages) > 1 else ''}"
            typer.echo(f"{file}: {count} altered; remove it, {beton.remade}")
            wrong.append(file)
        else:
            typer.echo(f"{file}: {len(beton):,} images as they were written")
    if wrong:
        raise UserError(f"{len(wrong)} of {len(files)} files damaged: {', '.join(map(str, wrong))}")


@contextmanager
def _image_progress(title: str, images: int) -> Iterator[Callable[[int], None]]:
    """A bar with the remaining time; yields what takes the number of images done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=images)
        yield lambda done: bar.update(task, completed=done)


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
    except InterruptedRun as stop:
        typer.echo(f"\n{stop}", err=True)
        sys.exit(stop.exit_code)
    except KeyboardInterrupt:
        typer.echo("\ninterrupted", err=True)
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
