"""`overlay`, `report` and `plot`: scores, maps and runs to look at."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from medood.cli.options import Bootstraps, Device, IndexFile, Maps, MovedImages, OnlyIds, Plane, Run, Scores, Seed, Source, Table


def overlay(
    maps: Maps,
    out: Annotated[Path, typer.Option(help="Folder for the scenes and pictures.")] = Path("overlay"),
    images: MovedImages = None,
    only: OnlyIds = None,
) -> None:
    """Make one 3D Slicer scene and one picture per series or image: a double click shows the map over it, and what was not examined.

    Pictures carry score, p-value, decision and warnings, and the colour bar of the run.
    """
    from medood.tasks.looking.overlay import overlay as make

    for path in make(maps, out, images=images, only=only or ()):
        typer.echo(path)


def report(
    scores: Scores,
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    maps: Annotated[Path | None, typer.Option(help="Folder of the maps, to look at the hottest cases slice by slice.")] = None,
    images: MovedImages = None,
    labels: Annotated[
        Path | None, typer.Option(help="CSV of id, slice, label, mask: adds the evaluation, and outlines of lesions.")
    ] = None,
    with_images: Annotated[bool, typer.Option("--with-images", help="Put the images of patients in; otherwise the maps alone.")] = False,
    cases: Annotated[int, typer.Option(min=1, max=200, help="Cases to put in with --maps, those with the highest scores.")] = 6,
    title: Annotated[str, typer.Option(help="Heading of the page.", show_default="the folder of the scores")] = "",
    bootstraps: Bootstraps = 1000,
    seed: Seed = 0,
) -> None:
    """Make one HTML file of a scoring: a table to sort and filter, scores against those of held-out normals, the hottest cases.

    It needs no network and no server, and loads nothing from elsewhere. Ids stand in it as they do in scores.csv; images of patients only
    with --with-images.
    """
    from medood.tasks.looking.report import report as make

    page = make(
        scores,
        out,
        maps=maps,
        images=images,
        labels=labels,
        with_images=with_images,
        cases=cases,
        title=title,
        bootstraps=bootstraps,
        seed=seed,
    )
    typer.echo(page)


def plot(
    run: Run,
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="FOLDER", help="Folders of images, or s3://BUCKET/FOLDER; without one: curves only.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the figures.")] = Path("plots"),
    labels: Annotated[Path | None, typer.Option(help="CSV of id, slice, label for the first folder.", show_default=False)] = None,
    table: Table = None,
    part: Annotated[str | None, typer.Option(help="Take only this part of the first folder's table or cohort: test, say.")] = None,
    source: Source = "folder",
    plane: Plane = None,
    rows: Annotated[int, typer.Option(min=1, max=20, help="Images per class, from its lowest score to its highest.")] = 4,
    limit: Annotated[int, typer.Option(min=1, help="Score at most so many series or images of each folder, evenly spaced.")] = 200,
    device: Device = "auto",
    index: IndexFile = None,
) -> None:
    """Draw training curves, images with their scores by class, histograms, and what the detector makes of images, as PNG and SVG.

    --labels, --table, --part, --source and --index are about the first folder, whose classes are then normal and anomalous. Every further
    folder is a class of its own, such as images of another kind.
    """
    from medood.tasks.images.from_archive import local_folder
    from medood.tasks.looking.plot import plot as draw

    with ExitStack() as stack:
        here = [stack.enter_context(local_folder(each, None if number else index)) for number, each in enumerate(folders or ())]
        written = draw(
            run,
            here,
            out,
            source=source,
            table=table,
            part=part,
            labels=labels,
            plane=plane,
            rows=rows,
            limit=limit,
            device=device,
            index=index,
        )
    for path in written:
        typer.echo(path)
