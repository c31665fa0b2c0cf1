"""Commands on jobs: submit, lease, status, cancel, retry."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from codepath.cli.options import (
    Chosen,
    Data,
    DeviceBatch,
    LoaderName,
    Precision,
    Results,
    Runs,
    Seed,
    Seeds,
    Settings,
    planned_runs,
)
from codepath.core.errors import UserError
from codepath.core.files import make_directory

commands = typer.Typer()


@commands.command()
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
        str | None,
        typer.Option(help="Section of slurm/profiles.toml; default: as its section use says."),
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
    if data is not None and not data.exists():
        raise UserError(f"--data: {data} does not exist here")
    configs = []
    for experiment in find_targets(names):
        if scale and scale not in experiment.scales and experiment.name not in names:
            typer.echo(f"left out, has no {scale} scale: {experiment.name}")
            continue
        if not experiment.runs(experiment.scales[-1], seed):
            typer.echo(f"trains nothing: {experiment.name}; {experiment.command('paper')}")
            continue
        largest = experiment.scales[-1] if cluster == "slurm" else None
        configs += planned_runs(experiment.name, scale or largest, seed, seeds, settings)
    destination = Destination(runs.resolve(), results.resolve() if results else None)
    plan = make_plan(configs, destination, profile, parallel)
    for line in plan.lines(destination, cluster, data):
        typer.echo(line)
    if dry_run:
        from codepath.launch.expected import expected_lines

        own = results is not None and (results / "benchmarks").is_dir()
        speeds = results if results and own else Path("results")
        for line in expected_lines(plan, cluster, speeds, precision):
            typer.echo(line)
    if dry_run or not plan.configs:
        return
    from codepath.launch.submit import Submission

    data = data.resolve() if data else None
    submission = Submission(plan, destination, cluster, data, loader, device_batch, precision)
    for line in submission.submit():
        typer.echo(line)


@commands.command()
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
    ] = Path("results"),
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

    from codepath.core.machine import gpu_name, processor_name
    from codepath.core.provenance import CHECKOUT, git_state, is_commit
    from codepath.lease.parcel import require_room
    from codepath.lease.parts import Place, paper_parts, rehearsal_parts
    from codepath.lease.work import Lease

    if CHECKOUT is None:
        raise UserError(
            "a lease runs tests/gpu, which only a checkout has: clone the repository and run "
            "`make setup` there"
        )
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
        commit="" if dirty or not is_commit(commit) else commit,
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
    working = Lease(place, parts, back, Console(markup=False), environment)
    if dry_run:
        for line in working.plan():
            typer.echo(line)
        return
    code = working.work()
    if code:
        raise typer.Exit(code)


@commands.command("job-goes-on", hidden=True)
def job_goes_on(runs: Runs = Path("runs")) -> None:
    """For batch scripts: exit code 0 if this Slurm job, whose step a signal ended, goes on."""
    from codepath.launch.requeue import job_goes_on

    if not job_goes_on(runs.resolve()):
        raise typer.Exit(1)


@commands.command()
def status(
    names: Chosen = None,
    runs: Runs = Path("runs"),
    watch: Annotated[bool, typer.Option("--watch", help="Show it until nothing runs.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between looks, with --watch.")] = 10.0,
) -> None:
    """What runs are doing: waiting, running (epoch, ETA), failed (why), done; 1 if any failed."""
    from codepath.launch.control import statuses_of
    from codepath.run.state import table

    statuses = statuses_of(runs, names or [])
    if watch:
        import time

        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        console = Console(highlight=False, markup=False)
        with Live(console=console, auto_refresh=False) as live:
            while True:
                live.update(Text("\n".join(table(statuses))), refresh=True)
                if not any(status.is_under_way for status in statuses):
                    break
                time.sleep(every)
                statuses = statuses_of(runs, names or [])
    else:
        for line in table(statuses):
            typer.echo(line)
    if any(s.state == "failed" for s in statuses):
        raise typer.Exit(1)


@commands.command()
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
    from codepath.launch.turns import submitting

    # A run that is being submitted has no job yet that could be cancelled.
    submitted = (runs / "jobs").is_dir()
    with submitting(runs) if submitted else contextlib.nullcontext():
        for line in cancel_(statuses_of(runs, names)):
            typer.echo(line)


@commands.command()
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
