"""`score` and `gate`: what a run says of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medood.cli.ending import end_with_some_failed
from medood.cli.options import Cache, Device, IndexFile, Overwrite, Part, Plane, Resume, Run, Source, Table, words
from medood.core.errors import MedoodError

if TYPE_CHECKING:
    from medood.engines.engine import Engine
    from medood.scoring.stream import Outcome

_Folder = Annotated[
    Path,
    typer.Argument(
        help="Folder of DICOM, NIfTI or picture files, searched with its sub-folders; or s3://BUCKET/FOLDER, zip:///FILE.zip and what else "
        "fsspec knows; or a study of an archive, fetched for this command: dicomweb://HOST/ROOT#study=UID.",
        show_default=False,
    ),
]
_Out = Annotated[Path, typer.Option(help="Table to write: CSV, or Parquet when its name ends in .parquet.")]
_Maps = Annotated[Path | None, typer.Option(help="Folder for the maps: one file per series or image, named after it.")]
_MapFormat = Annotated[
    Literal["auto", "nrrd", "nii.gz"],
    typer.Option(help="auto: pictures as 16-bit PNG, whose scale maps.json says, all else as NRRD. nrrd, nii.gz: every map so."),
]
_MapsWith = Annotated[
    str,
    typer.Option(
        metavar="KINDS",
        help="Also write beside each map, with commas between: picture (the map in colours over the image, PNG), plain (the prepared "
        "intensity, which `evaluate` compares maps with), patches (patch scores).",
    ),
]
_Objects = Annotated[
    Path | None, typer.Option(help="Folder for DICOM objects of what is found in DICOM series, as `medood dicom` makes them.")
]
_ScoredPart = Annotated[str | None, typer.Option(help="Score only this part of the table or cohort: test, say.")]
_Identifiers = Annotated[
    Path | None, typer.Option(help="Also write a CSV of patient names, ids, birth dates and accession numbers by series.")
]
_Engine = Annotated[
    str,
    typer.Option(
        help="Who scores: local, this process; dask, several processes on this machine, one for each GPU if there are any; "
        "dask://HOST:PORT, the workers of this Dask scheduler, which see the same run, images and --out.",
    ),
]
_Workers = Annotated[int | None, typer.Option(min=1, help="Processes of --engine dask.", show_default="one for each GPU or core")]


def score(
    run: Run,
    folder: _Folder,
    out: _Out = Path("scores.csv"),
    maps: _Maps = None,
    map_format: _MapFormat = "auto",
    maps_with: _MapsWith = "",
    dicom: _Objects = None,
    source: Source = "folder",
    table: Table = None,
    part: _ScoredPart = None,
    plane: Plane = None,
    device: Device = "auto",
    identifiers: _Identifiers = None,
    engine: _Engine = "local",
    workers: _Workers = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    index: IndexFile = None,
) -> None:
    """Score every image below a folder: a calibrated score, p-value and decision per slice, image and series.

    Exit status 3 says that some files could not be scored; scores.csv has a row with the reason for each. Stopped by Ctrl-C (130) or
    SIGTERM (143), it goes on after the last complete series with --resume.

    Of an archive, the login is in the environment: MEDOOD_DICOMWEB_TOKEN, or MEDOOD_DICOMWEB_USER and MEDOOD_DICOMWEB_PASSWORD. Each series
    is deleted before the next is fetched: ask for --dicom or pictures in the same command.
    """
    from medood.core.running.fast_start import import_monai_alone
    from medood.engines.engine import engine_of

    chosen = engine_of(engine, workers)
    import_monai_alone()

    from medood.tasks.images.from_archive import images_of
    from medood.tasks.scoring.score import score_folder

    _check_address(folder, chosen, identifiers)
    read: dict[str, Any] = {"source": source, "table": table, "part": part, "plane": plane, "index": index}
    written: dict[str, Any] = {"maps": maps, "map_format": map_format, "maps_with": words(maps_with), "objects": dicom}
    written |= {"identifiers": identifiers, "resume": resume, "overwrite": overwrite}
    with images_of(folder, index) as images:
        outcome = score_folder(run, images, out, device=device, engine=chosen, **read, **written)
    _report(outcome, out)


def _check_address(folder: Path, engine: Engine, identifiers: Path | None) -> None:
    """Raises MedoodError when the images are not on this machine and something wanted has to read files itself."""
    from medood.sources.fetching import is_remote
    from medood.tasks.images.from_archive import is_archive

    if is_remote(str(folder)) and (identifiers or engine.kind != "local"):
        raise MedoodError("--identifiers and --engine read files themselves, which they cannot from an address: copy the images here.")
    if is_archive(folder) and engine.kind != "local":
        raise MedoodError("--engine reads files itself, which it cannot from an archive: copy the images here.")


def _report(outcome: Outcome, out: Path) -> None:
    times = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in outcome.seconds.items())
    typer.echo(f"{out}: {outcome.rows} rows ({times})", err=True)
    if outcome.failed:
        end_with_some_failed(f"{outcome.failed} files or series could not be scored; {out} says why.")


def gate(
    run: Run,
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of DICOM, NIfTI or picture files, searched with its sub-folders; or s3://BUCKET/FOLDER.", show_default=False
        ),
    ] = None,
    fit: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Give the run a gate, fitted on this folder of normal images.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="CSV file to write.")] = Path("gate.csv"),
    source: Source = "folder",
    table: Table = None,
    part: Part = None,
    overwrite: Overwrite = False,
    cache: Cache = None,
    index: IndexFile = None,
) -> None:
    """Say which images are of the kind that a run was made for, without scoring them.

    A run made by an earlier medood has no gate: --fit FOLDER adds one, from normal images of the kind that it was trained on. Then
    --source, --table, --part and --index are about that folder, and --overwrite replaces a gate that the run has already. Exit status 3
    says that some files could not be read.
    """
    from medood.tasks.images.from_archive import local_folder
    from medood.tasks.scoring.gate import fit_run_gate, gate_folder

    if (fit is None) == (folder is None):
        raise MedoodError("`medood gate RUN FOLDER` asks about a folder, `medood gate RUN --fit FOLDER` fits a gate: name one of the two.")
    if fit is not None:
        with local_folder(fit, index) as images:
            said = fit_run_gate(run, images, source=source, table=table, part=part, overwrite=overwrite, cache=cache, index=index)
        for sentence in said:
            typer.echo(sentence, err=True)
        typer.echo(run)
        return
    assert folder is not None
    with local_folder(folder, index) as images:
        answer = gate_folder(run, images, out, source=source, table=table, part=part, overwrite=overwrite, index=index)
    typer.echo(
        f"{out}: {answer.inside} series or images are of the kind that {run.name} was made for, {answer.outside} are not "
        f"({answer.seconds:.1f} s)",
        err=True,
    )
    if answer.failed:
        end_with_some_failed(f"{answer.failed} files or series could not be read; {out} says why.")
