"""`dicom`, `export` and `node`: what was found, and runs themselves, for other systems."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from medood.cli.ending import SOME_FAILED
from medood.cli.options import Device, Maps, MovedImages, OnlyIds, Overwrite, Run, words
from medood.core.errors import MedoodError


def dicom(
    maps: Maps,
    out: Annotated[Path, typer.Option(help="Folder for the objects: one folder per series or image, and objects.jsonl, which lists them.")],
    images: MovedImages = None,
    only: OnlyIds = None,
    kinds: Annotated[
        str, typer.Option(metavar="KINDS", help="Only these: report, segmentation, picture, map, key_objects; with commas between.")
    ] = "",
) -> None:
    """Make DICOM objects of what was found in DICOM series, for a PACS and its viewers.

    report (structured report, TID 1500), segmentation (what lies above the threshold of the map), picture (secondary capture of the
    hottest slices with score and decision), map (parametric map, float), key_objects (the hottest slices; not for what was called normal).

    They belong to the patient and the study of the images, and so carry name, id, birth date and accession number as these do. All are
    marked RESEARCH. The same run and series give the same UIDs, so that sending them twice doubles nothing. Exit status 3 says that there
    are no objects of some images; they are named.
    """
    from medood.tasks.deployment.dicom import dicom as make

    written = make(maps, out, images=images, only=only or (), kinds=words(kinds))
    typer.echo(out)
    if written.failed:
        raise typer.Exit(SOME_FAILED)


def export(
    run: Annotated[Path | None, typer.Argument(help="Run folder that `medood train` made.", show_default=False)] = None,
    out: Annotated[
        Path | None, typer.Option(help="File (.onnx, .pt2) or folder (a bundle) to write.", show_default="beside the run folder")
    ] = None,
    form: Annotated[
        Literal["onnx", "torch", "monai-bundle"],
        typer.Option("--format", help="onnx (ONNX Runtime), torch (torch.export) or monai-bundle (python -m monai.bundle run)."),
    ] = "onnx",
    takes: Annotated[
        Literal["auto", "pixels", "prepared"],
        typer.Option("--input", help="What it takes: pixel values; images that the run's transforms prepared; or pixel values if they do."),
    ] = "auto",
    images: Annotated[
        Path | None, typer.Option(help="Compare answers on images of this folder.", show_default="held-out images of the run")
    ] = None,
    no_images: Annotated[
        bool, typer.Option("--no-images", help="Store no image of a patient: compare on noise that is like the images on average.")
    ] = False,
    check: Annotated[
        Path | None, typer.Option(help="Instead: compute the images in this export again and compare with what it answered.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a run as a file that gives the same answers without medood.

    One image in; score, p-value, decision and map out: transforms, network, memory banks, SVMs, flows, pooling and calibration are inside.
    What cannot be inside is refused, or said in the description beside the file, FILE.json. The file is written only if it agrees with
    medood on 32 images to 1e-4 of the spread of scores; these and the answers lie beside it, in FILE.npz, for --check, which needs no run.
    They are images of patients: give them away as you would the originals, or export with --no-images.

    Answers are research results: no file says that an image is of the kind the run was trained on, as `medood score` does.
    """
    from medood.tasks.deployment.export import check_export, export_run

    if check is not None:
        if run is not None or out is not None:
            raise MedoodError("--check takes the export alone: leave out the run and --out.")
        check_export(check)
        typer.echo(check)
        return
    if run is None:
        raise MedoodError("Name the run folder to export, or an export to check: medood export --check FILE.")
    typer.echo(export_run(run, out, kind=form, wanted=takes, images=images, no_images=no_images, overwrite=overwrite))


def node(
    run: Run,
    config: Annotated[Path, typer.Option(help="The node's configuration: a YAML file; see the page on archives.", show_default=False)],
    device: Device = "auto",
    status: Annotated[
        bool, typer.Option("--status", help="Only print what is in the queue; exit status 3 if anything has failed.")
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Only take up again what has failed; a node may be at work meanwhile.")] = False,
) -> None:
    """Take studies from a PACS, score them, and send the results back to it as DICOM objects.

    Objects come by C-STORE or are fetched by DICOMweb; results go by STOW-RS or C-STORE. What was acknowledged is in a queue on the disk:
    however the node ends, the same command goes on. Ctrl-C and SIGTERM end it in order, with exit status 0. The log, on stderr, knows
    studies by number; --status prints their UIDs. Needs `pip install medood[net]`.
    """
    from medood.tasks.deployment.node_queue import retry as again
    from medood.tasks.deployment.node_queue import status as show

    if retry:
        typer.echo(f"{again(config)} studies are taken up again")
    if status and show(config):
        raise typer.Exit(SOME_FAILED)
    if retry or status:
        return
    from medood.core.running.fast_start import import_monai_alone

    import_monai_alone()

    from medood.tasks.deployment.node import serve

    serve(run, config, device=device)
