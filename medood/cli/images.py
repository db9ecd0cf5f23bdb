"""`inspect`, `index`, `labels` and `phantoms`: folders of images, without a detector."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medood.cli.ending import SOME_FAILED
from medood.cli.options import IndexFile, Overwrite, Seed, Source, Table


def inspect(
    folder: Annotated[
        Path, typer.Argument(help="Folder to look into, or s3://BUCKET/FOLDER, zip:///FILE.zip, dicomweb://HOST/ROOT#study=UID.")
    ],
    source: Source = "folder",
    table: Table = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    index: IndexFile = None,
) -> None:
    """Show what is in a folder, how it will be grouped into series and patients, and what cannot be used and why."""
    from medood.tasks.images.from_archive import images_of
    from medood.tasks.images.inspect import inspect_images

    with images_of(folder, index) as images:
        inspect_images(images, source, table, json, index)


def index(
    folder: Annotated[Path, typer.Argument(help="Folder of DICOM, NIfTI or picture files, or s3://BUCKET/FOLDER.", show_default=False)],
    to: Annotated[Path | None, typer.Option(help="File to make or bring up to date.", show_default="in the user's cache")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that read headers.", show_default="one per core, 8 at most")] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="Who reads headers: local, processes of this command; dask, the same by Dask; dask://HOST:PORT, the workers of this Dask "
            "scheduler, which see the same folder. The index is written here.",
        ),
    ] = "local",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew, whatever is in the file.")] = False,
) -> None:
    """Read the headers of an archive once: the same command later reads only what is new or changed, and forgets what has gone.

    Other commands take what it holds with --index and find the same as without. Stopped or killed, the same command goes on. The index is
    readable by you alone; it holds paths, UIDs and times of acquisition, and tokens instead of patients. Needs `pip install medood[index]`.
    """
    from medood.engines.engine import engine_of
    from medood.tasks.images.index import index_folder

    chosen = engine_of(engine, None if engine == "local" else workers)
    report = index_folder(folder, to, workers=workers, engine=chosen, overwrite=overwrite)
    typer.echo(report.file)
    typer.echo(
        f"{report.files} files, {report.read} of them read now and {report.gone} gone since the last time: {report.entries} series or "
        f"single images, {report.problems} that cannot be used ({report.seconds:.1f} s)",
        err=True,
    )


def labels(
    source: Annotated[str, typer.Argument(help="A cohort, such as brats or isic; or `folder`, with a table.", show_default=False)],
    folder: Annotated[Path, typer.Argument(help="Folder of the cohort.", show_default=False)],
    out: Annotated[Path, typer.Option(help="CSV file to write.")] = Path("labels.csv"),
    table: Table = None,
    changes: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the cohort: year=2016.")] = None,
    overwrite: Overwrite = False,
    index: IndexFile = None,
) -> None:
    """Write a cohort's own labels as the CSV that `medood evaluate` reads.

    Lesion masks that are boxes in a table (rsna) are written as images into the folder masks/ beside it. Exit status 3 says that some
    images have no row because they, or their masks, could not be read; they are named.
    """
    from medood.tasks.images.labels import labels_of

    left_out = labels_of(source, folder, out, table=table, changes=changes or (), overwrite=overwrite, index=index)
    typer.echo(out)
    for problem in left_out:
        typer.secho(f"Left out: {problem.path}: {problem.message}", fg="yellow", err=True)
    if left_out:
        raise typer.Exit(SOME_FAILED)


def phantoms(
    out: Annotated[Path, typer.Argument(help="Folder to make.", show_default=False)],
    subjects: Annotated[int, typer.Option(min=1, help="How many subjects.")] = 24,
    seed: Seed = 0,
) -> None:
    """Make brain-like FLAIR volumes with and without lesions, as NIfTI and as a DICOM series, to try medood on."""
    from medood.tasks.images.phantoms import write_phantoms

    write_phantoms(out, subjects=subjects, seed=seed)
    typer.echo(out)
