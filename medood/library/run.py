"""A trained detector from Python: load one or train one, then score."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch

from medood.core.device import pick_device
from medood.core.errors import InputError, RecipeError
from medood.core.geometry import Plane
from medood.core.map_scale import MapScale
from medood.core.volume import Problem, Volume
from medood.data.training_images import reading
from medood.export.map_files import MapFormat
from medood.library.in_memory import Given, from_memory, from_volume
from medood.library.result import FolderResult, Result, SliceResult, numbers_of, read_rows
from medood.library.volumes import refusal, the_one
from medood.recipe import run as core
from medood.recipe.changes import apply_changes
from medood.recipe.literals import Places
from medood.recipe.loading import known_keys, load_recipe, resolve
from medood.recipe.recipe import Recipe
from medood.scoring.inference import Scored
from medood.scoring.map_folder import native_map, outside
from medood.scoring.rows import Scorer, entry_rows
from medood.scoring.stream import read_item, score_group
from medood.tasks.scoring.score import score_folder
from medood.tasks.training.train import train_recipe
from medood.transforms.pipeline import Prepared

Cut = Literal["axial", "coronal", "sagittal", "native"]


@dataclass(frozen=True, eq=False)
class Run(core.Run):
    """A trained and calibrated detector, ready to score; `medood.load` and `medood.train` make one.

    folder       where it lies;  name  of that folder
    recipe       resolved: every default and the content of its transforms file
    detector     in eval mode, on `device`
    calibration  what the held-out normal images said: thresholds, the map's colour scale
    provenance   versions, seed, time, fingerprint of the training images
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def score(self, image: Any, *, spacing: Sequence[float] | None = None, affine: Any = None, plane: Cut | None = None) -> Result:
        """Score one image or volume; the same numbers as `medood score` gives for the same file.

        image    one of
                 - the path of a picture, NIfTI or DICOM file, or of a folder that holds one DICOM series
                 - a numpy array: grey (rows, columns), colour (rows, columns, 3), or a volume (slices, rows, columns)
                 - a torch tensor: grey (rows, columns) or (1, rows, columns), colour (3, rows, columns), or a volume
                 - an image of nibabel or SimpleITK, a MONAI MetaTensor (1, i, j, k), or a `medood.Volume`
                 in the values that a file would have (HU for CT, 0..255 for photographs): the run's own transforms scale them
        spacing  of an array in mm, in the order of its axes; needed where the run's transforms show a field of view in mm
        affine   of a grey array, 4 x 4, from its own index (i, j, k, 1) to RAS mm: `run.score(x.get_fdata(), affine=x.affine)` is
                 `run.score(x)` for an image of nibabel. Without one an array is taken to lie as the training images do: rows down
        plane    cut volumes in another plane than the recipe says: "axial", "coronal", "sagittal" or "native"

        Raises InputError, whose `code` is a short stable word, when the image cannot be read or is of a kind that the run cannot take:
        several images at once, other channels than the run's, values that are not finite.

        >>> import medood, pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> medood.write_phantoms(folder / "images", subjects=10, size=32, slices=16)
        >>> small = {"training.epochs": 1, "transforms.size": [32, 32], "split.held_out": 0.4}
        >>> run = medood.train("brats_ae", data=folder / "images" / "nifti", out=folder / "run", changes=small)
        >>> result = run.score(folder / "images" / "dicom")
        >>> result.map.shape, len(result.slices), 0 < result.slices[8].p_value <= 1
        ((16, 32, 32), 16, True)
        """
        scorer = self._scorer if plane is None else Scorer(self, self.device, plane)
        if isinstance(image, (str, os.PathLike)):
            source, entry = the_one(Path(image), **reading(self.recipe, "folder"))
            item, given = read_item(source, scorer.pipeline, entry), None
        else:
            given = from_volume(image) if isinstance(image, Volume) else self._from_memory(image, spacing, affine)
            item = read_item(given, scorer.pipeline, given.volume.entry)
        score_group(scorer, [item])
        if isinstance(item.state, Problem):
            raise refusal(item.state)
        volume, prepared, scored = item.state.volume, item.state.prepared, item.state.scored
        rows = entry_rows(item.entry, item.state, scorer)
        return self._result(given or from_volume(volume), prepared, rows, scored)

    def score_folder(
        self,
        folder: str | Path,
        out: str | Path | None = None,
        maps: str | Path | None = None,
        *,
        map_format: MapFormat = "auto",
        maps_with: Collection[str] = (),
        source: str = "folder",
        table: str | None = None,
        part: str | None = None,
        plane: Cut | None = None,
        resume: bool = False,
        overwrite: bool = False,
    ) -> FolderResult:
        """Score everything below `folder`, as `medood score` does, and return the rows of its scores.csv.

        out     a CSV file to write them into, with a .json of what made them beside it; None: no file is written
        maps    a folder for the maps, one per image or series;  map_format  "auto" (pictures as PNG, all else as NRRD), "nrrd" or "nii.gz";
                maps_with  what is written beside them: "plain", "patches", "picture"
        source  how to read: "folder" looks into each file; or a cohort
        table   a CSV below the folder that names its images;  part  only this part of the table or cohort
        resume, overwrite  go on with what is in `out` and `maps`, or replace it

        A file that cannot be scored is a row with the reason, never an exception. Raises MedoodError when there is nothing to score, or
        when `out` or `maps` are there already.
        """
        with TemporaryDirectory(prefix="medood-") as temporary:
            path = Path(temporary) / "scores.csv" if out is None else Path(out)
            score_folder(
                self.folder,
                Path(folder),
                path,
                source=source,
                maps=None if maps is None else Path(maps),
                map_format=map_format,
                maps_with=maps_with,
                device=str(self.device),
                table=table,
                part=part,
                plane=plane,
                resume=resume,
                overwrite=overwrite,
            )
            return FolderResult(read_rows(path), None if out is None else path)

    @cached_property
    def _scorer(self) -> Scorer:
        return Scorer(self, self.device, None)

    def _from_memory(self, image: Any, spacing: Sequence[float] | None, affine: Any) -> Given:
        given = from_memory(image, spacing, affine, self._plane())
        view = self.recipe.transforms.field_of_view
        if view is not None and isinstance(image, (np.ndarray, torch.Tensor)) and not given.volume.geometry.spacing_known:
            raise InputError(
                f"{self.name} sees {view[0]:g} x {view[1]:g} mm of an image, so it must know the size of a pixel: "
                "give spacing=(...) in mm, or an affine.",
                "spacing",
            )
        return given

    def _plane(self) -> Plane | None:
        """The plane of the images that the run was trained on; None for pictures."""
        chosen = self.recipe.transforms.plane
        if chosen != "native":
            return chosen
        gate = self._scorer.gate
        known: list[Plane] = gate.tags.get("plane", []) if gate else []
        return known[0] if known else None

    def _result(self, given: Given, prepared: Prepared, rows: Sequence[Mapping[str, Any]], scored: Scored | None) -> Result:
        volume, last = given.volume, rows[-1]
        scale = MapScale(**values) if (values := self.calibration["image"]["map_scale"]) else None
        grid, seen = (None, None) if scored is None or scored.map is None else native_map(scored, prepared, outside(scale))
        return Result(
            id=volume.entry.id,
            **numbers_of(last),
            slices=tuple(SliceResult(number=int(row["slice"]), **numbers_of(row)) for row in rows if row["level"] == "slice"),
            in_domain={"yes": True, "no": False}.get(last.get("in_domain", "")),
            domain_p=last.get("domain_p"),
            domain_reason=tuple(filter(None, last.get("domain_reason", "").split("; "))),
            issues=tuple(dict.fromkeys((*volume.entry.issues, *volume.issues))),
            examined_share=prepared.examined,
            map=None if grid is None else given.like(grid),
            examined=None if seen is None else given.like(seen),
            map_scale=scale,
            geometry=volume.geometry,
            rows=rows,
            _grid=grid,
        )


def load(run: str | Path, *, device: str = "auto") -> Run:
    """A run folder that `medood train` or `medood.train` made, checked and ready to score.

    device  "auto" takes a CUDA GPU, then Apple's, then the CPU; or "cpu", "cuda", "cuda:1", "mps"

    Raises RunError naming the file that is missing or was altered, MedoodError when the device is not there.
    """
    target = pick_device(device)
    found = core.load_run(Path(run))
    found.detector.to(target)
    return Run(**vars(found), device=target)


def train(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    data: str | Path | None = None,
    out: str | Path,
    changes: Mapping[str, Any] | None = None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    cache: str | Path | None = None,
) -> Run:
    """Train a detector on normal images, calibrate it on held-out normal images, save it as a run folder and return it.

    recipe   the name of one that comes with medood, the path of a .yaml file, or its content as a dict
    data     folder of the images; replaces `source.root` of the recipe
    out      run folder to make
    changes  values to set, by their dotted keys: {"training.epochs": 5, "detector.latent": 32}
    device   as for `load`;  resume, overwrite  go on with an interrupted training in `out`, or replace what is there
    cache    folder for prepared images, instead of MEDOOD_CACHE or the user's cache

    Raises RecipeError with every mistake of the recipe, MedoodError when `out` is taken, TrainingError when training cannot go on.
    """
    folder = train_recipe(
        _resolved(recipe, changes or {}),
        Path(out),
        data=None if data is None else Path(data),
        device=device,
        resume=resume,
        overwrite=overwrite,
        cache=None if cache is None else Path(cache),
    )
    return load(folder, device=device)


def _resolved(recipe: str | Path | Mapping[str, Any] | Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The checked recipe. Raises RecipeError; the mistakes of a dict have no lines."""
    settings = [f"{key}={json.dumps(value, default=str)}" for key, value in changes.items()]
    places: Places = {}
    try:
        if isinstance(recipe, (str, os.PathLike)):
            return load_recipe(recipe, settings)
        values = recipe.model_dump(mode="json") if isinstance(recipe, Recipe) else deepcopy(dict(recipe))
        problems = apply_changes(values, places, settings, known_keys)
        return resolve(values, places, "recipe", problems)
    except RecipeError as error:
        raise RecipeError([problem.replace("--set", "changes", 1) for problem in error.problems]) from None
