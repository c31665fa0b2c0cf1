"""Commands that draw and write what the rows say: figures, tables, claims, report, numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codepath.cli.options import (
    Force,
    Out,
    RowsIn,
    ScaleAsked,
    Strict,
    rows_folder,
    shown_path,
)
from codepath.core.errors import UserError

if TYPE_CHECKING:
    from codepath.paper.upkeep import Made

commands = typer.Typer()


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
    from codepath.paper import upkeep

    inputs = upkeep.inputs_digest(results, str(results), *options)  # texts name the folder
    made = None if force else upkeep.kept(out, command, inputs)
    if made is None:
        made = make()
        upkeep.keep(out, command, inputs, made)
    else:
        files = f"{len(made.files)} file{'s' if len(made.files) > 1 else ''}"
        typer.echo(f"{command}: up to date ({files} in {shown_path(out)}; --force makes them anew)")
    for line in made.said:
        typer.echo(line)
    for line in made.missing:
        typer.echo(f"missing: {line}")
    if made.missing and strict:
        raise UserError(f"{len(made.missing)} experiments miss rows; the commands above make them")


def _wrote(path: Path) -> None:
    typer.echo(f"wrote {shown_path(path)}")


@commands.command()
def figures(
    results: RowsIn = None,
    out: Out = Path("paper"),
    strict: Strict = False,
    scale: ScaleAsked = None,
    wide: Annotated[bool, typer.Option("--wide", help="Also two columns wide.")] = False,
    force: Force = False,
) -> None:
    """Redraw every figure that the rows allow, as PDF and PNG in OUT/figures."""
    results = rows_folder(results)

    def make() -> Made:
        from codepath.paper.build import build_figures
        from codepath.paper.upkeep import Made

        built = build_figures(results, out, _wrote, scale, wide, force)
        rest = len(built.paths) // 2 - built.drawn
        if rest:
            typer.echo(f"{rest} pictures were up to date (--force draws them anew)")
        return Made(built.paths, missing=built.missing)

    _redraw("figures", results, out, force, make, strict, (scale, wide))


@commands.command()
def tables(
    results: RowsIn = None,
    out: Out = Path("paper"),
    strict: Strict = False,
    scale: ScaleAsked = None,
    force: Force = False,
) -> None:
    """Rewrite the tables in OUT/tables, as Markdown and LaTeX."""
    results = rows_folder(results)

    def make() -> Made:
        from codepath.paper.tables.table_files import write_tables
        from codepath.paper.upkeep import Made

        written = write_tables(results, out, scale)
        for path in written.paths:
            _wrote(path)
        return Made(written.paths, missing=written.missing)

    _redraw("tables", results, out, force, make, strict, (scale,))


@commands.command()
def compare(
    results: RowsIn = None,
    out: Out = Path("paper"),
    force: Force = False,
) -> None:
    """Write the baselines table: coded networks beside plain ones, OUT/tables/baselines.md."""
    results = rows_folder(results)

    def make() -> Made:
        from codepath.paper.tables.baselines import write_comparisons
        from codepath.paper.upkeep import Made

        path = write_comparisons(results, out)
        _wrote(path)
        return Made([path])

    _redraw("compare", results, out, force, make)


@commands.command()
def verdict(
    results: RowsIn = None,
    out: Out = Path("paper"),
    force: Force = False,
) -> None:
    """Judge the paper's claims by the rows: OUT/claims.md, OUT/DEVIATIONS.md, a summary here."""
    results = rows_folder(results)

    def make() -> Made:
        from codepath.paper.claims.deviation_list import write_deviations
        from codepath.paper.claims.verdict import summary, write_claims
        from codepath.paper.upkeep import Made

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


@commands.command()
def report(
    results: RowsIn = None,
    out: Out = Path("paper"),
    strict: Strict = False,
    scale: ScaleAsked = None,
    force: Force = False,
) -> None:
    """Write OUT/report.html: claims, figures, tables and their runs on one page, no network."""
    results = rows_folder(results)

    def make() -> Made:
        from codepath.paper.report.page import write_report
        from codepath.paper.upkeep import Made

        path, missing = write_report(results, out, scale, force)
        _wrote(path)
        return Made([path], missing=missing)

    _redraw("report", results, out, force, make, strict, (scale,))


@commands.command()
def numbers(
    pages: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PAGE]...", help="Markdown files; else README.md, docs/, paper/NOTES.md."
        ),
    ] = None,
    results: RowsIn = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 1 where one would change.")
    ] = False,
) -> None:
    """Refresh the numbers of README, pages and notes, which stand between marks, from the rows."""
    from codepath.core.files import write_text
    from codepath.paper.quoted import refreshed

    made = {"build", "reference"}  # folders of docs/ that its build makes
    docs = [page for page in sorted(Path("docs").rglob("*.md")) if not made & set(page.parts)]
    pages = pages or [Path("README.md"), *docs, Path("paper/NOTES.md")]
    if absent := [shown_path(page) for page in pages if not page.is_file()]:
        raise UserError(f"no file {absent[0]}: call this in a checkout, or name the pages")
    rows = rows_folder(results)
    changes = {}
    for page in pages:
        try:
            text, old = refreshed(page.read_text(), rows)
        except UserError as error:
            raise UserError(f"{shown_path(page)}: {error}") from None
        if old:
            changes[page] = text
            typer.echo(f"{shown_path(page)}: {', '.join(dict.fromkeys(old))}")
    if check and changes:
        raise UserError("the numbers above are not those of the rows; refresh them: make numbers")
    for page, text in changes.items():
        write_text(page, text)
        _wrote(page)
    if not changes:
        typer.echo(f"numbers: up to date ({len(pages)} pages)")
