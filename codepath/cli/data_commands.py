"""Commands on data sets and augmentation: codepath data ..."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from codepath.cli.options import Data, Name, Scale, Seed, Settings, planned_runs, shown_path
from codepath.core.errors import UserError

data_sets = typer.Typer(help="Data sets and augmentation.", no_args_is_help=True)


@data_sets.command("info")
def describe_data(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="digits, cifar10, cifar100, imagenet or images.")
    ],
    data: Data = None,
    subset: Annotated[bool, typer.Option("--subset", help="Fewer images are meant.")] = False,
    size: Annotated[
        int, typer.Option(help="Of your own images in many sizes: as data.size of a run.")
    ] = 0,
) -> None:
    """Where the images come from, in words, their sizes, and how many of each class."""
    from codepath.data import describe_images, load_data_set

    for line in describe_images(load_data_set(source, data, subset=subset, size=size)):
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
    from codepath.data import load_data_set
    from codepath.data.beton_format import BetonSettings
    from codepath.data.beton_writer import ensure_beton

    settings = BetonSettings(store, longest, quality)
    images = load_data_set(source, data, subset=subset, originals=True)
    folder = out or (data if data is not None and data.is_dir() else Path("data")) / "betons"
    for split in ("train", "test"):
        with _image_progress(f"{source} {split}", len(images.split(split))) as stored:
            path = ensure_beton(images, split, folder, settings, stored)
        typer.echo(f"{shown_path(path)}: {path.stat().st_size / 2**20:,.1f} MiB")


@data_sets.command("verify")
def verify_data(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Betons.")],
) -> None:
    """Compare every byte of betons with what was written; name the samples that are altered.

    `codepath data build` prints the betons' names.
    """
    from codepath.data.beton import Beton

    wrong: dict[str, list[Path]] = {"absent": [], "damaged": []}
    for file in files:
        try:
            beton = Beton(file)
            with _image_progress(file.name, len(beton)) as read:
                damages = list(beton.damages(read))
        except UserError as error:
            typer.echo(error)
            wrong["damaged" if file.is_file() else "absent"].append(file)
            continue
        for damage in damages[:20]:
            typer.echo(f"{file}: {damage}")
        if damages:
            count = f"{len(damages)} place{'s' if len(damages) > 1 else ''}"
            typer.echo(f"{file}: {count} altered; remove it, {beton.remade}")
            wrong["damaged"].append(file)
        else:
            typer.echo(f"{file}: {len(beton):,} images as they were written")
    found = [
        f"{len(those)} of {len(files)} files {what}: {', '.join(map(str, those))}"
        for what, those in wrong.items()
        if those
    ]
    if found:
        raise UserError("; ".join(found))


@contextmanager
def _image_progress(title: str, images: int) -> Iterator[Callable[[int], None]]:
    """A bar with the remaining time; yields what takes the number of images done."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True, markup=False)
    with Progress(*columns, transient=True, console=console) as bar:
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
    from codepath.data import load_configured, preview
    from codepath.paper.drawings.contact_sheet import draw_sheet

    if min(epoch, epochs, number) < 1:
        raise UserError("--epoch, --epochs and --images are counted from 1")
    recipe = planned_runs(name, scale, seed, 1, settings)[0].data
    images = load_configured(recipe, data)
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
    typer.echo(f"wrote {shown_path(picture)}")
