"""Arguments and options that several commands have in common, and what is made of their texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Recipe = Annotated[str, typer.Argument(help="A recipe file, or the name of one that comes with medood.", show_default=False)]
Run = Annotated[Path, typer.Argument(help="Run folder that `medood train` made.", show_default=False)]
Scores = Annotated[Path, typer.Argument(help="scores.csv that `medood score` wrote.", show_default=False)]
Maps = Annotated[Path, typer.Argument(help="Folder that `medood score --maps` filled.", show_default=False)]

Source = Annotated[str, typer.Option(help="How to read the folder: `folder` looks into each file; or a cohort (see `medood sources`).")]
Table = Annotated[str | None, typer.Option(help="CSV below the folder that names its images: path, group, label, part.")]
Part = Annotated[str | None, typer.Option(help="Only this part of the table or cohort: test, say.")]
Plane = Annotated[
    Literal["axial", "coronal", "sagittal", "native"] | None,
    typer.Option(help="Cut volumes in this plane: axial, coronal or sagittal.", show_default="as the recipe says"),
]
IndexFile = Annotated[
    str | None,
    typer.Option("--index", metavar="FILE", help="Know the folder by this index of `medood index`; auto: the one in the user's cache."),
]

MovedImages = Annotated[Path | None, typer.Option(help="Folder of the images, if it moved since they were scored.")]
OnlyIds = Annotated[list[str] | None, typer.Option(help="Only these ids of scores.csv; may be repeated.")]

Changes = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a value: --set training.epochs=5.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Cache = Annotated[Path | None, typer.Option(help="Folder for prepared images.", show_default="MEDOOD_CACHE or the user's cache")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where an interrupted command stopped.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Seed = Annotated[int, typer.Option(min=0)]
Bootstraps = Annotated[int, typer.Option(min=1, help="Resamples of patients for the intervals.")]


def words(text: str) -> list[str]:
    """What an option names with commas between."""
    return [word.strip() for word in text.split(",") if word.strip()]
