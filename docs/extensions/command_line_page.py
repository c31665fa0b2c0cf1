"""The page `reference/cli`: every command with its arguments and options, from the program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer.main
from page_text import write_if_new
from sphinx.application import Sphinx

from codepath.cli import app as program


def _cell(text: str) -> str:
    """Text that may stand in a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _command(path: str, command: Any, depth: int) -> list[str]:
    """The section of one command or group, and of the commands below it."""
    context = type(command).context_class(command, info_name=path)
    lines = [f"{'#' * depth} {path}", "", (command.help or "").strip().replace("\b", ""), ""]
    if hasattr(command, "commands"):
        for name, below in command.commands.items():
            lines += _command(f"{path} {name}", below, depth + 1)
        return lines
    usage = " ".join(command.collect_usage_pieces(context)).replace("[[", "[").replace("]]", "]")
    lines += ["```text", f"{path} {usage}", "```", ""]
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    if arguments:
        lines += ["| argument | what it is |", "| --- | --- |"]
        lines += [
            f"| `{one.display_name_raw}` | {_cell(one.help or '')} |" for one in arguments
        ] + [""]
    if options:
        lines += ["| option | default | what it does |", "| --- | --- | --- |"]
        lines += [_row(one, context) for one in options] + [""]
    return lines


def _row(option: Any, context: Any) -> str:
    """An option's row: how it is spelled, its value, its default, its help."""
    spelled = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    value = (
        "" if option.is_flag else f" {_cell(option.metavar or option.display_type(ctx=context))}"
    )
    default = option.default
    empty = default is None or default is False or default in ("", [], ()) or callable(default)
    return f"| {spelled}{value} | {'' if empty else f'`{default}`'} | {_cell(option.help or '')} |"


def page() -> str:
    """The whole page as Markdown."""
    group = typer.main.get_command(program)
    lines = [
        "# Command line",
        "",
        f"{group.help} `codepath --help` and `codepath COMMAND --help` print the same.",
        "",
    ]
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        lines += _command(f"codepath {name}", command, 2)
    return "\n".join(lines) + "\n"


def _write(app: Sphinx) -> None:
    write_if_new(Path(app.srcdir, "reference/cli.md"), page())


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the page before the build reads the pages."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
