"""Commands beside: convert, doctor, bench, timm."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from codepath.cli.options import (
    Out,
    shown_path,
)
from codepath.core.errors import UserError
from codepath.core.provenance import SHIPPED

commands = typer.Typer()


@commands.command()
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Checkpoint of the authors' code.")],
    model: Annotated[str, typer.Option(help="The network that it is of.")],
    out: Out,
    ema: Annotated[bool, typer.Option("--ema", help="The moving average of the weights.")] = False,
) -> None:
    """Turn the authors' weights into a folder that timm loads (local-dir:OUT)."""
    from codepath.models.convert import create_converted
    from codepath.models.hub import save_local

    typer.echo(f"wrote {shown_path(save_local(create_converted(model, file, ema), out))}")


@commands.command()
def doctor() -> None:
    """What is installed here, what is missing, and what that means."""
    from codepath.cli.doctor import report

    for line in report():
        typer.echo(line)


@commands.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,  # what stands behind NAME is the benchmark's, --help too
    }
)
def bench(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A script of benchmarks/, without .py.")] = "",
) -> None:
    """Run a benchmark; further options go to it. Without a name: list them."""
    import runpy

    from codepath.core.errors import unknown_name

    folder = SHIPPED / "benchmarks"
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
    sys.path.insert(0, str(SHIPPED))
    sys.argv = [str(scripts[name]), *context.args]
    runpy.run_path(str(scripts[name]), run_name="__main__")


@commands.command(
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
    objective: Annotated[
        str, typer.Option(envvar="CODEPATH_OBJECTIVE", help="What trains the paths.")
    ] = "energy_power",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another setting of the objective, such as asked=0.125."),
    ] = None,
) -> None:
    """Run a script of timm with these networks, and with the coding loss in training.

    Options of this command stand before SCRIPT; what follows goes to the script.
    """
    from codepath.experiments.registry import parse_setting
    from codepath.run.objectives import ObjectiveConfig
    from codepath.train.timm_runner import run_script

    values: dict[str, Any] = {"mu": mu, "exponent": exponent, "objective": objective}
    for setting in settings or []:
        key, separator, text = setting.partition("=")
        if not separator:
            raise UserError(f"cannot read the setting '{setting}': write key=value")
        values[key] = parse_setting(ObjectiveConfig, key, text, setting, "the objective")
    run_script(script, context.args, ObjectiveConfig(**values))
