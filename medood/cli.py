"""The command line. A command's body imports its task, calls it and prints; nothing heavy is imported before that."""

from __future__ import annotations

import shutil
import sys
from contextlib import nullcontext
from errno import ENOSPC
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from medood import __version__
from medood.core.errors import MedoodError
from medood.core.memory import keep_freed_memory
from medood.core.termination import Terminated, unwind_when_terminated
from medood.core.torchrun import check_alone, is_first, speaks_first, started

SOME_FAILED = 3
"""Exit status of a command that finished, but met files that could not be scored or read."""

INTERRUPTED, TERMINATED = 130, 143
"""Exit statuses after Ctrl-C and SIGTERM: 128 and the number of the signal, as shells and schedulers expect."""

Recipe = Annotated[str, typer.Argument(help="A recipe file, or the name of one that comes with medood.", show_default=False)]
Run = Annotated[Path, typer.Argument(help="Run folder that `medood train` made.", show_default=False)]
Folder = Annotated[
    Path,
    typer.Argument(
        help="Folder of DICOM, NIfTI or picture files, searched with its sub-folders; or s3://BUCKET/FOLDER, zip:///FILE.zip and what else "
        "fsspec knows; or a study of an archive, fetched for this command: dicomweb://HOST/ROOT#study=UID.",
        show_default=False,
    ),
]
Scores = Annotated[Path, typer.Argument(help="The scores.csv that `medood score` wrote.", show_default=False)]
Labels = Annotated[Path, typer.Option(help="CSV of id, slice, label (0 normal, 1 anomalous, empty: leave out), mask.", show_default=False)]
Source = Annotated[str, typer.Option(help="How to read the folder: `folder` looks into each file; or a cohort (see `medood sources`).")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where an interrupted command stopped.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Changes = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a value: --set training.epochs=5.")]
Cache = Annotated[Path | None, typer.Option(help="Folder for prepared images.", show_default="MEDOOD_CACHE or the user's cache")]
Table = Annotated[str | None, typer.Option(help="CSV below the folder that names its images: path, group, label, part.")]
Plane = Annotated[
    Literal["axial", "coronal", "sagittal", "native"] | None,
    typer.Option(help="Cut volumes in this plane: axial, coronal or sagittal.", show_default="as the recipe says"),
]
IndexFile = Annotated[
    str | None,
    typer.Option("--index", metavar="FILE", help="Know the folder by this index of `medood index`; auto: the one in the user's cache."),
]
Identifiers = Annotated[
    Path | None, typer.Option(help="Also write a CSV of patient names, ids, birth dates and accession numbers by series.")
]


_RESUMES = " The same command with --resume goes on from there."
_GOES_ON = {
    "index": " The same command goes on from there.",
    "train": _RESUMES,
    "score": _RESUMES,
    "benchmark": " The same command goes on from there.",
}


class _Commands(TyperGroup):
    """Turns what the user can mend into one sentence, and Ctrl-C and SIGTERM into a quiet end."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except MedoodError as error:
            _say(f"Error: {error}", "red")
            raise typer.Exit(2) from None
        except OSError as error:
            if error.filename is None and error.errno != ENOSPC:
                raise
            _say(f"Error: {error.filename or 'The disk'}: {error.strerror}.", "red")
            raise typer.Exit(2) from None
        except KeyboardInterrupt as stop:
            again = _GOES_ON.get(ctx.invoked_subcommand, "")
            _say(f"Stopped. What was finished is on disk.{again}", "yellow")
            raise typer.Exit(TERMINATED if isinstance(stop, Terminated) else INTERRUPTED) from None


def _say(sentence: str, colour: str) -> None:
    """Why the command ends, once, however many processes end."""
    if speaks_first():
        typer.secho(sentence, fg=colour, err=True)


app = typer.Typer(
    cls=_Commands,
    help="Find what is abnormal in medical images with detectors that have seen normal images only.\n\n"
    "Exit status: 0 done, 2 refused with a sentence, 3 done but for some files or runs, 130 stopped with Ctrl-C, 143 by SIGTERM. "
    "However it is stopped, what was finished is on disk, and nothing half-written is left.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
recipes = typer.Typer(help="Look at recipes and check them.", no_args_is_help=True)
app.add_typer(recipes, name="recipe")
caches = typer.Typer(help="Look at the cache of prepared images and features, and keep it small.", no_args_is_help=True)
app.add_typer(caches, name="cache")


@app.callback(invoke_without_command=True)
def _first(ctx: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    if version:
        typer.echo(f"medood {__version__}")
        raise typer.Exit
    check_alone(ctx.invoked_subcommand)


@app.command()
def train(
    recipe: Recipe,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the images, or s3://BUCKET/FOLDER; replaces `source.root` of the recipe.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder to make.", show_default="runs/NAME OF THE RECIPE")] = None,
    device: Device = "auto",
    changes: Changes = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on after the last whole epoch, or train for longer: --resume --set training.epochs=200.")
    ] = False,
    overwrite: Overwrite = False,
    cache: Cache = None,
    no_checkpoint: Annotated[
        bool, typer.Option("--no-checkpoint", help="Keep no checkpoint of the finished run: smaller, but never to be trained for longer.")
    ] = False,
    index: IndexFile = None,
) -> None:
    """Train a detector on normal images and calibrate it on held-out normal images.

    Stopped by Ctrl-C (exit status 130) or SIGTERM (143), it goes on after its last whole epoch with --resume.

    On several GPUs: torchrun --nproc-per-node 4 -m medood train RECIPE. The processes share every batch, of `training.batch_size` images
    over all of them, so that the detector is that of one process. It goes on with as many processes as it was begun with.

    A finished run is trained for longer with --resume and more `training.epochs`; nothing else may change. Where a detector trains in
    phases, the first one that gets more epochs goes on from its end, and the later ones, which build on it, are trained anew. The result
    is that of one go, to the last bit on the same machine with as many threads, unless `training.schedule` follows the number of epochs:
    then the rate goes on where the longer schedule has it. This needs RUN/checkpoint, three to six times the size of the weights.
    """
    from medood.recipe.recipe import load_recipe

    resolved = load_recipe(recipe, changes or ())
    from medood.sources.fetching import is_remote
    from medood.tasks.from_archive import local_folder
    from medood.tasks.train import train_recipe

    folder = out or Path("runs") / Path(recipe).stem
    kept = {"resume": resume, "overwrite": overwrite, "keep_checkpoint": not no_checkpoint}
    if data and is_remote(str(data)) and started() > 1:
        raise MedoodError("Several processes cannot share what is fetched from an address: copy the images here to train with torchrun.")
    with local_folder(data, index) if data else nullcontext() as images:
        train_recipe(resolved, folder, data=images, device=device, cache=cache, index=index, **kept)
    if is_first():
        typer.echo(folder)


@app.command()
def pretrain(
    recipe: Recipe,
    data: Annotated[Path | None, typer.Option(help="Folder of the images; replaces `source.root` of the recipe.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to make.", show_default="runs/NAME OF THE RECIPE-weights")] = None,
    device: Device = "auto",
    changes: Changes = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last whole epoch.")] = False,
    overwrite: Overwrite = False,
    cache: Cache = None,
) -> None:
    """Teach the network of a recipe's features (resnet18, resnet50) on its training images, without labels, by SimSiam.

    Prints the weights file; `medood train RECIPE --set features.weights=FILE` takes it. It begins with `features.weights`: random, or those
    of a file, which are then trained further, on small images too if `transforms.size` is small and `features.size` is not. Whether it was
    worth it tells a training with each of two controls: `features.weights=random` and `features.weights=imagenet`.
    """
    from medood.recipe.recipe import load_recipe

    resolved = load_recipe(recipe, changes or ())
    from medood.tasks.pretrain import pretrain_recipe

    folder = out or Path("runs") / f"{Path(recipe).stem}-weights"
    typer.echo(pretrain_recipe(resolved, folder, data=data, device=device, cache=cache, resume=resume, overwrite=overwrite))


@app.command()
def score(
    run: Run,
    folder: Folder,
    out: Annotated[Path, typer.Option(help="Table to write: CSV, or Parquet when its name ends in .parquet.")] = Path("scores.csv"),
    maps: Annotated[Path | None, typer.Option(help="Folder for the maps: one file per series or image, named after it.")] = None,
    map_format: Annotated[
        Literal["auto", "nrrd", "nii.gz"],
        typer.Option(help="auto: pictures as 16-bit PNG, whose scale maps.json says, all else as NRRD. nrrd, nii.gz: every map so."),
    ] = "auto",
    maps_with: Annotated[
        str,
        typer.Option(
            metavar="KINDS",
            help="Also write beside each map, with commas between: picture (the map in colours over the image, PNG), plain (the prepared "
            "intensity, which `evaluate` compares maps with), patches (patch scores).",
        ),
    ] = "",
    dicom: Annotated[
        Path | None, typer.Option(help="Folder for DICOM objects of what is found in DICOM series, as `medood dicom` makes them.")
    ] = None,
    source: Source = "folder",
    table: Table = None,
    part: Annotated[str | None, typer.Option(help="Score only this part of the table or cohort: test, say.")] = None,
    plane: Plane = None,
    device: Device = "auto",
    identifiers: Identifiers = None,
    engine: Annotated[
        str,
        typer.Option(
            help="Who scores: local, this process; dask, several processes on this machine, one for each GPU if there are any; "
            "dask://HOST:PORT, the workers of this Dask scheduler, which see the same run, images and --out.",
        ),
    ] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes of --engine dask.", show_default="one for each GPU or core")] = None,
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
    from medood.core.fast_start import import_monai_alone
    from medood.engines.engine import engine_of

    chosen = engine_of(engine, workers)
    import_monai_alone()

    from medood.sources.fetching import is_remote
    from medood.tasks.from_archive import images_of, is_archive
    from medood.tasks.score import score_folder

    if is_remote(str(folder)) and (identifiers or chosen.kind != "local"):
        raise MedoodError("--identifiers and --engine read files themselves, which they cannot from an address: copy the images here.")
    if is_archive(folder) and chosen.kind != "local":
        raise MedoodError("--engine reads files itself, which it cannot from an archive: copy the images here.")
    with images_of(folder, index) as images:
        outcome = score_folder(
            run,
            images,
            out,
            source=source,
            maps=maps,
            map_format=map_format,
            maps_with=[kind.strip() for kind in maps_with.split(",") if kind.strip()],
            objects=dicom,
            device=device,
            table=table,
            part=part,
            identifiers=identifiers,
            plane=plane,
            resume=resume,
            overwrite=overwrite,
            index=index,
            engine=chosen,
        )
    times = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in outcome.seconds.items())
    typer.echo(f"{out}: {outcome.rows} rows ({times})", err=True)
    if outcome.failed:
        typer.secho(f"{outcome.failed} files or series could not be scored; {out} says why.", fg="yellow", err=True)
        raise typer.Exit(SOME_FAILED)


@app.command()
def gate(
    run: Run,
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of DICOM, NIfTI or picture files, searched with its sub-folders.", show_default=False)
    ] = None,
    fit: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Give the run a gate, fitted on this folder of normal images.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="CSV file to write.")] = Path("gate.csv"),
    source: Source = "folder",
    table: Table = None,
    part: Annotated[str | None, typer.Option(help="Only this part of the table or cohort: test, say.")] = None,
    overwrite: Overwrite = False,
    cache: Cache = None,
) -> None:
    """Say which images are of the kind that a run was made for, without scoring them.

    A run made by an earlier medood has no gate: --fit FOLDER adds one, from normal images of the kind that it was trained on. Then
    --source, --table and --part are about that folder. Exit status 3 says that some files could not be read.
    """
    from medood.tasks.gate import fit_run_gate, gate_folder

    if (fit is None) == (folder is None):
        raise MedoodError("`medood gate RUN FOLDER` asks about a folder, `medood gate RUN --fit FOLDER` fits a gate: name one of the two.")
    if fit is not None:
        for sentence in fit_run_gate(run, fit, source=source, table=table, part=part, cache=cache):
            typer.echo(sentence, err=True)
        typer.echo(run)
        return
    assert folder is not None
    answer = gate_folder(run, folder, out, source=source, table=table, part=part, overwrite=overwrite)
    typer.echo(
        f"{out}: {answer.inside} series or images are of the kind that {run.name} was made for, {answer.outside} are not "
        f"({answer.seconds:.1f} s)",
        err=True,
    )
    if answer.failed:
        typer.secho(f"{answer.failed} files or series could not be read; {out} says why.", fg="yellow", err=True)
        raise typer.Exit(SOME_FAILED)


@app.command()
def overlay(
    maps: Annotated[Path, typer.Argument(help="Folder that `medood score --maps` filled.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the scenes and pictures.")] = Path("overlay"),
    images: Annotated[Path | None, typer.Option(help="Folder of the images, if it moved since they were scored.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only these ids of scores.csv; may be repeated.")] = None,
) -> None:
    """Make one 3D Slicer scene and one picture per series or image: a double click shows the map over it, and what was not examined.

    Pictures carry score, p-value, decision and warnings, and the colour bar of the run.
    """
    from medood.tasks.overlay import overlay as make

    for path in make(maps, out, images=images, only=only or ()):
        typer.echo(path)


@app.command()
def dicom(
    maps: Annotated[Path, typer.Argument(help="Folder that `medood score --maps` filled.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the objects: one folder per series or image, and objects.jsonl, which lists them.")],
    images: Annotated[Path | None, typer.Option(help="Folder of the images, if it moved since they were scored.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only these ids of scores.csv; may be repeated.")] = None,
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
    from medood.tasks.dicom import dicom as make

    written = make(maps, out, images=images, only=only or (), kinds=[kind.strip() for kind in kinds.split(",") if kind.strip()])
    typer.echo(out)
    if written.failed:
        raise typer.Exit(SOME_FAILED)


@app.command()
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
    from medood.tasks.export import check_export, export_run

    if check is not None:
        if run is not None or out is not None:
            raise MedoodError("--check takes the export alone: leave out the run and --out.")
        check_export(check)
        typer.echo(check)
        return
    if run is None:
        raise MedoodError("Name the run folder to export, or an export to check: medood export --check FILE.")
    typer.echo(export_run(run, out, kind=form, wanted=takes, images=images, no_images=no_images, overwrite=overwrite))


@app.command()
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
    from medood.tasks.node_queue import retry as again
    from medood.tasks.node_queue import status as show

    if retry:
        typer.echo(f"{again(config)} studies are taken up again")
    if status and show(config):
        raise typer.Exit(SOME_FAILED)
    if retry or status:
        return
    from medood.core.fast_start import import_monai_alone

    import_monai_alone()

    from medood.tasks.node import serve

    serve(run, config, device=device)


@app.command()
def evaluate(
    scores: Annotated[Path, typer.Argument(help="scores.csv that `medood score` wrote.", show_default=False)],
    labels: Annotated[
        Path, typer.Option(help="CSV of id, slice, label (0 normal, 1 anomalous, empty: leave out), mask.", show_default=False)
    ],
    maps: Annotated[Path | None, typer.Option(help="Folder of the maps, to measure localisation where labels name masks.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for evaluation.json and the figures.")] = Path("evaluation"),
    form: Annotated[
        Literal["text", "markdown", "latex"], typer.Option("--format", help="How the tables are printed; LaTeX needs booktabs.")
    ] = "text",
    bootstraps: Annotated[int, typer.Option(min=1, help="Resamples of patients for the intervals.")] = 1000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Compare scores with labels: AUROC, average precision, error rates and localisation, with intervals by patient.

    Also draws ROC, precision-recall and, where there are lesion masks, FROC curves, and the scores of both classes.
    """
    from medood.evaluation.report_tables import document
    from medood.tasks.evaluate import evaluate as measure

    report = measure(scores, labels, maps=maps, out=out, seed=seed, bootstraps=bootstraps)
    typer.echo(document(report, form, shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else 80))


@app.command()
def report(
    scores: Annotated[Path, typer.Argument(help="scores.csv that `medood score` wrote.", show_default=False)],
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    maps: Annotated[Path | None, typer.Option(help="Folder of the maps, to look at the hottest cases slice by slice.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of the images, if it moved since they were scored.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="CSV of id, slice, label, mask: adds the evaluation, and outlines of lesions.")
    ] = None,
    with_images: Annotated[bool, typer.Option("--with-images", help="Put the images of patients in; otherwise the maps alone.")] = False,
    cases: Annotated[int, typer.Option(min=1, max=200, help="Cases to put in with --maps, those with the highest scores.")] = 6,
    title: Annotated[str, typer.Option(help="Heading of the page.", show_default="the folder of the scores")] = "",
    bootstraps: Annotated[int, typer.Option(min=1, help="Resamples of patients for the intervals.")] = 1000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Make one HTML file of a scoring: a table to sort and filter, scores against those of held-out normals, the hottest cases.

    It needs no network and no server, and loads nothing from elsewhere. Ids stand in it as they do in scores.csv; images of patients only
    with --with-images.
    """
    from medood.tasks.report import report as make

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


@app.command()
def benchmark(
    file: Annotated[str, typer.Argument(help="A benchmark file, or the name of one that comes with medood.", show_default=False)],
    data: Annotated[Path | None, typer.Option(help="Folder below which the file's relative folders of images lie.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for runs, scores and tables.", show_default="runs/NAME OF THE FILE")] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Runs to work on at the same time.", show_default="one per GPU, else one per core, 4 at most"),
    ] = None,
    device: Device = "auto",
    changes: Changes = None,
    retrain: Annotated[bool, typer.Option("--retrain", help="Train runs again that another recipe has made.")] = False,
    only_tables: Annotated[bool, typer.Option("--only-tables", help="Only make the tables, of what is finished.")] = False,
    cache: Cache = None,
    engine: Annotated[
        str, typer.Option(help="Who works: local or dask, processes on this machine; dask://HOST:PORT, the workers of this Dask scheduler.")
    ] = "local",
) -> None:
    """Train and compare detectors on cohorts, and print the tables of a paper; the same command goes on after an interruption.

    Exit status 3 says that some runs failed; the others are in the tables. 130 and 143: stopped by Ctrl-C or SIGTERM. Each run computes
    with as many threads as OMP_NUM_THREADS says, otherwise the runs share the cores.
    """
    from medood.engines.engine import engine_of
    from medood.recipe.grid import load_grid

    chosen = engine_of(engine, None if engine == "local" else workers)
    grid = load_grid(file, data, changes or ())
    from medood.export.tables import as_text
    from medood.tasks.benchmark import benchmark as carry_out

    folder = out or Path("runs") / Path(file).stem
    kept = {"retrain": retrain, "only_tables": only_tables}
    outcome = carry_out(grid, folder, workers=workers, device=device, cache=cache, engine=chosen, **kept)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 140
    for table in outcome.tables:
        typer.echo(as_text(table, width) + "\n")
    typer.echo(f"{outcome.folder} has them as Markdown, LaTeX and CSV too", err=True)
    if outcome.failed:
        typer.secho(f"{len(outcome.failed)} runs failed; their log.txt says more.", fg="yellow", err=True)
        raise typer.Exit(SOME_FAILED)


@app.command("blind-spot")
def blind_spot(
    run: Run,
    folder: Annotated[Path, typer.Argument(help="Folder of images of the run's kind that it was not made from.", show_default=False)],
    shift: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FOLDER",
            help="Also show it these images of another kind; may be repeated. Or 'T1={name: brats, root: FOLDER, modality: t1}'.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the tables and cases.csv.")] = Path("blind_spot"),
    source: Source = "folder",
    table: Table = None,
    part: Annotated[str | None, typer.Option(help="Only this part of the table or cohort: test, say.")] = None,
    most: Annotated[int | None, typer.Option(min=1, help="Files or series to take at most, evenly spaced.", show_default="all")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the generated lesions and shifts.")] = 0,
    device: Device = "auto",
) -> None:
    """Ask whether a run knows when not to score: show it normal images, lesions, and images of another kind.

    Lesions (bright blobs) and shifts (turned, mirrored, upside down, inverted, noise, bias field, motion, ghosting, another organ, a
    photograph) are made from the normal images; images that are labelled anomalous are lesions too. Prints how often each is called in
    domain and normal, in domain and abnormal, or out of domain, the AUROC of every score, and which score fails on which shift.
    """
    from medood.export.tables import as_text
    from medood.tasks.blind_spot import blind_spot as carry_out

    made = carry_out(run, folder, out, source=source, table=table, part=part, shifts=shift or (), most=most, seed=seed, device=device)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 140
    for each in made.tables:
        typer.echo(as_text(each, width) + "\n")
    typer.echo(f"{made.folder} has them as Markdown, LaTeX and CSV too, and cases.csv every image", err=True)


@app.command()
def advise(
    folder: Annotated[
        Path, typer.Argument(help="Folder of normal images; those that a table calls anomalous are left out.", show_default=False)
    ],
    source: Source = "folder",
    table: Table = None,
    out: Annotated[Path, typer.Option(help="Recipe file to write: the first of the order, for `medood train`.")] = Path("recipe.yaml"),
    images: Annotated[int, typer.Option(min=24, help="Normal images to use at most, a third of them held out.")] = 300,
    budget: Annotated[
        float | None, typer.Option(min=0.1, metavar="MINUTES", help="Leave out candidates that do not fit into so many minutes.")
    ] = None,
    anomalies: Annotated[
        str,
        typer.Option(
            metavar="KINDS",
            help="Paste only these, with commas between, if you know what you look for: bright, dark, veil (an opacity), rough, blur, "
            "foreign, seamless (parts of other images), moved, swollen.",
            show_default="all",
        ),
    ] = "",
    detectors: Annotated[
        str, typer.Option(metavar="NAMES", help="Try only these, with commas between.", show_default="all that fit the images")
    ] = "",
    dinov2: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Weights of DINOv2 ViT-S/14, to try it too.", show_default="if MEDOOD_WEIGHTS has them"),
    ] = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the split, the pasted anomalies and the training.")] = 0,
    overwrite: Overwrite = False,
    cache: Cache = None,
) -> None:
    """Say which detector and preparation suit your normal images, and write the recipe. No anomalous image is needed.

    Anomalies of several kinds and sizes are pasted into held-out normal images. Candidates that fit the images are trained on the others,
    once it is said what each takes, and ranked by how well they tell the two apart; trivial features stand beside them. Pasted anomalies
    are not real ones: the order is a first guess.
    """
    from medood.tasks.advise import advise as carry_out

    kinds, names = ([word.strip() for word in text.split(",") if word.strip()] for text in (anomalies, detectors))
    advice = carry_out(
        folder,
        out,
        source=source,
        table=table,
        images=images,
        budget=budget,
        anomalies=kinds,
        detectors=names,
        dinov2=dinov2,
        device=device,
        seed=seed,
        overwrite=overwrite,
        cache=cache,
    )
    from medood.export.tables import as_text

    typer.echo(as_text(advice.table, shutil.get_terminal_size().columns if sys.stdout.isatty() else 140))
    typer.echo(f"medood train {advice.recipe}")


@app.command()
def plot(
    run: Run,
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="FOLDER", help="Folders of images; without one: training curves only.")
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
) -> None:
    """Draw training curves, images with their scores by class, histograms, and what the detector makes of images, as PNG and SVG.

    --labels, --table, --part and --source are about the first folder, whose classes are then normal and anomalous. Every further folder is
    a class of its own, such as images of another kind.
    """
    from medood.tasks.plot import plot as draw

    written = draw(
        run,
        folders or (),
        out,
        source=source,
        table=table,
        part=part,
        labels=labels,
        plane=plane,
        rows=rows,
        limit=limit,
        device=device,
    )
    for path in written:
        typer.echo(path)


@app.command()
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
    from medood.tasks.from_archive import images_of
    from medood.tasks.inspect import inspect_images

    with images_of(folder, index) as images:
        inspect_images(images, source, table, json, index)


@app.command("index")
def make_index(
    folder: Annotated[Path, typer.Argument(help="Folder of DICOM, NIfTI or picture files, or s3://BUCKET/FOLDER.", show_default=False)],
    to: Annotated[Path | None, typer.Option(help="File to make or bring up to date.", show_default="in the user's cache")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that read headers.", show_default="one per core, 8 at most")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew, whatever is in the file.")] = False,
) -> None:
    """Read the headers of an archive once: the same command later reads only what is new or changed, and forgets what has gone.

    Other commands take what it holds with --index and find the same as without. Stopped or killed, the same command goes on. The index is
    readable by you alone; it holds paths, UIDs and times of acquisition, and tokens instead of patients. Needs `pip install medood[index]`.
    """
    from medood.tasks.index import index_folder

    report = index_folder(folder, to, workers=workers, overwrite=overwrite)
    typer.echo(report.file)
    typer.echo(
        f"{report.files} files, {report.read} of them read now and {report.gone} gone since the last time: {report.entries} series or "
        f"single images, {report.problems} that cannot be used ({report.seconds:.1f} s)",
        err=True,
    )


@app.command()
def labels(
    source: Annotated[str, typer.Argument(help="A cohort, such as brats or isic; or `folder`, with a table.", show_default=False)],
    folder: Annotated[Path, typer.Argument(help="Folder of the cohort.", show_default=False)],
    out: Annotated[Path, typer.Option(help="CSV file to write.")] = Path("labels.csv"),
    table: Table = None,
    changes: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the cohort: year=2016.")] = None,
    index: IndexFile = None,
) -> None:
    """Write a cohort's own labels as the CSV that `medood evaluate` reads.

    Lesion masks that are boxes in a table (rsna) are written as images into the folder masks/ beside it. Exit status 3 says that some
    images have no row because they, or their masks, could not be read; they are named.
    """
    from medood.tasks.labels import labels_of

    left_out = labels_of(source, folder, out, table=table, changes=changes or (), index=index)
    typer.echo(out)
    for problem in left_out:
        typer.secho(f"Left out: {problem.path}: {problem.message}", fg="yellow", err=True)
    if left_out:
        raise typer.Exit(SOME_FAILED)


@app.command()
def phantoms(
    out: Annotated[Path, typer.Argument(help="Folder to make.", show_default=False)],
    subjects: Annotated[int, typer.Option(min=1, help="How many subjects.")] = 24,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Make brain-like FLAIR volumes with and without lesions, as NIfTI and as a DICOM series, to try medood on."""
    from medood.tasks.phantoms import write_phantoms

    write_phantoms(out, subjects=subjects, seed=seed)
    typer.echo(out)


@app.command()
def doctor() -> None:
    """List the devices and, for every DICOM transfer syntax, the decoders that are installed."""
    from medood.tasks.doctor import print_report

    print_report()


@app.command()
def detectors(name: Annotated[str | None, typer.Argument(help="One detector, with its parameters.", show_default=False)] = None) -> None:
    """List the detectors, or explain one."""
    from medood.tasks.listing import print_cards

    print_cards("detectors", name)


@app.command()
def features(
    name: Annotated[str | None, typer.Argument(help="One of them, with its parameters.", show_default=False)] = None,
) -> None:
    """List the networks and hand-made features that detectors can work on, or explain one."""
    from medood.tasks.listing import print_cards

    print_cards("features", name)


@app.command()
def sources(name: Annotated[str | None, typer.Argument(help="One source, with its parameters.", show_default=False)] = None) -> None:
    """List the sources, that is the kinds of folders and cohorts that can be read, or explain one."""
    from medood.tasks.listing import print_cards

    print_cards("sources", name)


@app.command()
def steps(name: Annotated[str | None, typer.Argument(help="One step, with its parameters.", show_default=False)] = None) -> None:
    """List the steps that transforms files and `augment` are made of, or explain one."""
    from medood.tasks.listing import print_cards

    print_cards("steps", name)


@recipes.command("keys")
def recipe_keys() -> None:
    """Explain every key of a recipe, a transforms file and a benchmark."""
    from medood.tasks.listing import print_keys

    print_keys()


@recipes.command("check")
def check_recipe(recipe: Recipe, changes: Changes = None) -> None:
    """Report every mistake of a recipe, benchmark or transforms file at once.

    Of a recipe of your own, or one with --set, also what its detector says of the size of the images and the phases' epochs; and the
    mistakes of its table, if that is where the recipe says.
    """
    from medood.tasks.check import check

    typer.echo(f"{check(recipe, changes or ())}: no mistakes found")


@recipes.command("list")
def list_recipes() -> None:
    """List the recipes and benchmarks that come with medood."""
    from medood.tasks.listing import print_recipes

    print_recipes()


@recipes.command("show")
def show_recipe(recipe: Recipe, changes: Changes = None) -> None:
    """Print a recipe with every default filled in."""
    from medood.recipe.recipe import load_recipe
    from medood.tasks.listing import print_resolved

    print_resolved(load_recipe(recipe, changes or ()))


@caches.command("list")
def list_cache(cache: Cache = None) -> None:
    """Print what the cache holds: source and transforms, how many series or images, their size, and when they were last used."""
    from medood.tasks.cache import list_cache as show

    show(cache)


@caches.command("clear")
def clear_cache(
    older: Annotated[str | None, typer.Option(metavar="TIME", help="Only what was not used for so long: 12h, 30d, 8w.")] = None,
    cache: Cache = None,
) -> None:
    """Remove prepared images and features; what a running medood uses stays. They are made again when they are needed."""
    from medood.tasks.cache import clear_cache as remove
    from medood.tasks.cache import spoken

    gone, kept = remove(cache, older)
    typer.echo(f"Removed {spoken(sum(shelf.bytes for shelf in gone))}." + (f" {len(kept)} folders are in use and stay." if kept else ""))


@caches.command("limit")
def limit_cache(
    size: Annotated[
        str | None, typer.Argument(help="20GB, say, or none. Without it, only what is beyond the limit goes.", show_default=False)
    ] = None,
    cache: Cache = None,
) -> None:
    """Set how large the cache may become, and remove what was used longest ago until it is no larger.

    The limit is remembered for this user, and kept to before every training. What is in use stays, so that one training may go beyond it.
    """
    from medood.tasks.cache import limit_cache as limit
    from medood.tasks.cache import spoken

    typer.echo(f"Removed {spoken(sum(shelf.bytes for shelf in limit(cache, size)))}.")


def main() -> None:
    keep_freed_memory()
    unwind_when_terminated()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a Windows console may not know every character of a path
            stream.reconfigure(errors="replace")
    app()
