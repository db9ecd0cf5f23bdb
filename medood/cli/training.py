"""`train`, `pretrain` and `advise`: from normal images to a run, or to what one is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medood.cli.options import Cache, Changes, Device, IndexFile, Overwrite, Recipe, Source, Table, words
from medood.cli.printing import width
from medood.core.errors import MedoodError
from medood.core.running.torchrun import is_first, started


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
    from medood.recipe.loading import load_recipe

    resolved = load_recipe(recipe, changes or ())
    from medood.tasks.images.from_archive import is_address, training_folder
    from medood.tasks.training.train import train_recipe

    folder = out or Path("runs") / Path(recipe).stem
    kept = {"resume": resume, "overwrite": overwrite, "keep_checkpoint": not no_checkpoint}
    if started() > 1 and is_address(data or Path(resolved.source.get("root") or "")):
        raise MedoodError("Several processes cannot share what is fetched from an address: copy the images here to train with torchrun.")
    with training_folder(resolved, data, index) as images:
        train_recipe(resolved, folder, data=images, device=device, cache=cache, index=index, **kept)
    if is_first():
        typer.echo(folder)


def pretrain(
    recipe: Recipe,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the images, or s3://BUCKET/FOLDER; replaces `source.root` of the recipe.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to make.", show_default="runs/NAME OF THE RECIPE-weights")] = None,
    device: Device = "auto",
    changes: Changes = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last whole epoch.")] = False,
    overwrite: Overwrite = False,
    cache: Cache = None,
    index: IndexFile = None,
) -> None:
    """Teach the network of a recipe's features (efficientnet_lite0, resnet18, resnet50) on its training images, without labels, by SimSiam.

    Prints the weights file; `medood train RECIPE --set features.weights=FILE` takes it. It begins with `features.weights`: random, or those
    of a file, which are then trained further, on small images too if `transforms.size` is small and `features.size` is not, or with
    `pretraining.shrink_to`. Whether it was worth it tells a training with each of two controls: `features.weights=random` and
    `features.weights=imagenet`.
    """
    from medood.recipe.loading import load_recipe

    resolved = load_recipe(recipe, changes or ())
    from medood.tasks.images.from_archive import training_folder
    from medood.tasks.training.pretrain import pretrain_recipe

    folder = out or Path("runs") / f"{Path(recipe).stem}-weights"
    kept: dict[str, Any] = {"resume": resume, "overwrite": overwrite, "cache": cache, "index": index}
    with training_folder(resolved, data, index) as images:
        typer.echo(pretrain_recipe(resolved, folder, data=images, device=device, **kept))


def advise(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of normal images, or s3://BUCKET/FOLDER; those that a table calls anomalous are left out.", show_default=False
        ),
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
    index: IndexFile = None,
) -> None:
    """Say which detector and preparation suit your normal images, and write the recipe. No anomalous image is needed.

    Anomalies of several kinds and sizes are pasted into held-out normal images. Candidates that fit the images are trained on the others,
    once it is said what each takes, and ranked by how well they tell the two apart; trivial features stand beside them. Pasted anomalies
    are not real ones: the order is a first guess.
    """
    from medood.tasks.images.from_archive import local_folder
    from medood.tasks.training.advise import advise as carry_out

    with local_folder(folder, index) as here:
        advice = carry_out(
            here,
            out,
            source=source,
            table=table,
            images=images,
            budget=budget,
            anomalies=words(anomalies),
            detectors=words(detectors),
            dinov2=dinov2,
            device=device,
            seed=seed,
            overwrite=overwrite,
            cache=cache,
            index=index,
        )
    from medood.export.tables import as_text

    typer.echo(as_text(advice.table, width()))
    typer.echo(f"medood train {advice.recipe}")
