"""The command line put together, and its entry point."""

from __future__ import annotations

import io
import sys

import typer

from codepath.cli import (
    data_commands,
    experiment_commands,
    job_commands,
    paper_commands,
    scheme_commands,
    tool_commands,
    trained_run_commands,
)
from codepath.core.errors import UserError
from codepath.core.signals import EXIT_INTERRUPTED, InterruptedRun

app = typer.Typer(
    help="Coded ResNeXt: networks in which every class has its own paths.\n\n"
    "Try `codepath explore` first: a page that shows how a trained network decides. "
    "`codepath show EXPERIMENT` says what a replication gives and how long it takes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# The help lists the groups in this order.
for title, group in (
    ("Use a trained network", trained_run_commands),
    ("Train and measure", experiment_commands),
    ("Jobs on a cluster, minutes of a GPU", job_commands),
    ("The paper from its rows", paper_commands),
    ("Tools", tool_commands),
):
    for command in group.commands.registered_commands:
        command.rich_help_panel = title
    app.add_typer(group.commands)
app.add_typer(scheme_commands.codes, name="codes", rich_help_panel="Tools")
app.add_typer(data_commands.data_sets, name="data", rich_help_panel="Tools")


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
        name = error.filename2 or error.filename  # of two the one that is written
        where = f" ({name})" if name else ""
        typer.echo(
            f"error: {error.strerror or str(error) or type(error).__name__}{where}; "
            "what was finished is kept, mend this and repeat the command",
            err=True,
        )
        sys.exit(1)
