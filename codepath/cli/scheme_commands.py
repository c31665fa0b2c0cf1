"""Commands on coding schemes: codepath codes ..."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codepath.cli.options import shown_path
from codepath.core.errors import UserError

codes = typer.Typer(help="Coding schemes.", no_args_is_help=True)


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

    from codepath.codes import certify
    from codepath.codes.design import design_scheme

    if out is not None and not out.parent.is_dir():
        raise UserError(f"{out.parent} is not a folder: create it, or choose another --out")
    console = Console(stderr=True, markup=False)
    with console.status("bounds") as status:
        scheme = design_scheme(
            classes,
            paths,
            active,
            seed=seed,
            time_limit=time_limit,
            distance=distance,
            progress=status.update,
        )
    if out is None:
        typer.echo(scheme.to_csv().rstrip())
    else:
        scheme.save(out)
        typer.echo(f"wrote {shown_path(out)}")
    for line in certify(scheme).lines():
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
    from codepath.codes import certify, load_scheme

    scheme = load_scheme(name)
    typer.echo(
        f"K = {scheme.classes} classes, N = {scheme.paths} paths, Nact = {scheme.active} "
        f"(r = {scheme.ratio:g})"
    )
    for line in certify(scheme).lines():
        typer.echo(line)
    typer.echo("column sums " + " ".join(map(str, scheme.column_sums)))
    counts = scheme.distance_counts
    typer.echo("distance  pairs of classes")
    for distance in counts.nonzero()[0]:
        bar = "#" * max(1, round(48 * counts[distance] / counts.max()))
        typer.echo(f"{distance:8}  {counts[distance]:<10,} {bar}")
    if picture is not None:
        from codepath.paper.scheme_drawing import draw_scheme

        draw_scheme(scheme, Path(name).stem if name.endswith(".csv") else name, picture)
        typer.echo(f"wrote {shown_path(picture)}")


@codes.command("check")
def check_scheme(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV file.")],
    distance: Annotated[int | None, typer.Option(help="Least minimum distance to accept.")] = None,
) -> None:
    """Whether a CSV file holds a valid scheme; exit code 1 and the line at fault if not."""
    from codepath.codes import CodingScheme, certify, largest_distance

    scheme = CodingScheme.from_csv(file)
    if distance is not None and scheme.min_distance < distance:
        most = largest_distance(scheme.classes, scheme.paths, scheme.active)
        raise UserError(
            f"{file}: minimum distance {scheme.min_distance}, {distance} demanded "
            f"(no scheme of this size exceeds {most})"
        )
    typer.echo(f"{file}: valid, {scheme.classes} x {scheme.paths}, {scheme.active} ones a row")
    for line in certify(scheme).lines():
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
