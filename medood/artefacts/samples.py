"""Images that medood and an exported file are both asked about: single slices, as read and as the transforms prepare them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medood.core.console import Console
from medood.core.errors import MedoodError
from medood.core.geometry import Geometry, Raster, display_geometry, photograph_geometry
from medood.core.volume import Entry, Problem, Source, Volume
from medood.data.attempt import attempt
from medood.data.found import check_found
from medood.data.opening import open_source
from medood.data.split import split
from medood.data.training_images import reading
from medood.recipe.run import Run
from medood.transforms.pipeline import Pipeline

WANTED = 32
"""How many images say that two programs agree."""


@dataclass(frozen=True)
class Grid:
    """Rows and columns of the pixels of an image that lies as on a display, and how far apart in mm they are, as far as that is known."""

    rows: int
    columns: int
    pixel_mm: tuple[float, float] | None
    in_patient: bool

    def geometry(self) -> Geometry:
        shape = 1, self.rows, self.columns
        down, across = self.pixel_mm or (1.0, 1.0)
        if self.in_patient:
            return replace(display_geometry(shape, "axial", (1.0, down, across)), spacing_known=self.pixel_mm is not None)
        flat = photograph_geometry(shape)
        return Geometry(flat.affine @ np.diag([across, down, 1.0, 1.0]), shape, spacing_known=self.pixel_mm is not None, in_patient=False)


@dataclass(frozen=True, eq=False)
class Sample:
    """One slice.

    pixels  float32 (C, rows, columns), turned as on a display, of `grid`;  image  float32 (channels, height, width), of `raster`
    slices  of the volume that it is from;  windowed  whether its file says how it is to be displayed
    """

    pixels: np.ndarray
    grid: Grid
    image: np.ndarray
    raster: Raster
    slices: int
    windowed: bool


def read_samples(run: Run, folder: Path | None, console: Console) -> list[Sample]:
    """WANTED of the run's own held-out images, or of those in a folder. Raises MedoodError when there are not so many."""
    source, entries = _held_out(run) if folder is None else _in_folder(run, folder)
    pipeline = Pipeline(run.recipe.transforms)
    found: list[Sample] = []
    per_entry = math.ceil(WANTED / len(entries))
    for entry in console.track(_evenly(entries), "Reading images", len(entries)):
        if len(found) >= WANTED:
            continue
        made = attempt(lambda entry: list(_slices(source.read(entry), pipeline, per_entry)), entry)
        if isinstance(made, Problem):
            console.warn(f"Left out: {made.path}: {made.message}")
        else:
            found += made
    if len(found) < WANTED:
        where = "among the held-out images of the run" if folder is None else f"in {folder}"
        raise MedoodError(f"Found {len(found)} images {where} to compare answers on, {WANTED} are needed: name a folder with --images.")
    return found[:WANTED]


def commonest_grid(samples: Sequence[Sample]) -> Grid:
    return Counter(sample.grid for sample in samples).most_common(1)[0][0]


def commonest_raster(samples: Sequence[Sample]) -> Raster:
    return Counter(sample.raster for sample in samples).most_common(1)[0][0]


def on_grid(pixels: np.ndarray, grid: Grid) -> np.ndarray:
    """(C, rows, columns): cut, or filled with the lowest value, around the middle."""
    made = np.full((len(pixels), grid.rows, grid.columns), pixels.min(), np.float32)
    there, here = [], []
    for wanted, found in zip((grid.rows, grid.columns), pixels.shape[1:], strict=True):
        length = min(wanted, found)
        there.append(slice((wanted - length) // 2, (wanted - length) // 2 + length))
        here.append(slice((found - length) // 2, (found - length) // 2 + length))
    made[:, there[0], there[1]] = pixels[:, here[0], here[1]]
    return made


def _held_out(run: Run) -> tuple[Source, list[Entry]]:
    name, parameters = run.recipe.choice("source")
    root = parameters.pop("root", None)
    if name != "phantom" and (root is None or not Path(root).exists()):
        raise MedoodError(
            f"The images that {run.name} was made from are no longer where they were: name a folder of {WANTED} such images with --images."
        )
    source = open_source(name, root, **parameters)
    index = source.index()
    check_found(index)
    return source, split(index, run.recipe).held_out


def _in_folder(run: Run, folder: Path) -> tuple[Source, list[Entry]]:
    source = open_source("folder", folder, **reading(run.recipe, "folder"))
    index = source.index()
    check_found(index)
    if not index.entries:
        raise MedoodError(f"{folder} holds no image that can be read.")
    return source, list(index.entries)


def _evenly(entries: Sequence[Entry]) -> list[Entry]:
    """All of them, those first that are spread over the list."""
    step = max(1, len(entries) // WANTED)
    return [entry for start in range(step) for entry in entries[start::step]]


def _slices(volume: Volume, pipeline: Pipeline, most: int) -> Iterator[Sample]:
    """At most so many of the slices that are fit to be scored, spread over the volume."""
    prepared = pipeline.prepare(volume)
    way, count = prepared.way, volume.geometry.shape[prepared.way.orientation.axes[0]]
    turned, geometry = way.orientation.apply(volume.image), way.orientation.turn(volume.geometry)
    across, down, _ = geometry.spacing
    spacing = (round(down, 4), round(across, 4)) if geometry.spacing_known else None
    grid = Grid(*geometry.shape[1:], spacing, geometry.in_patient)
    for place in np.unique(np.linspace(0, len(prepared.slices) - 1, min(most, len(prepared.slices))).round().astype(int)):
        number = int(prepared.slices[place])
        pixels = np.array(turned[:, count - 1 - number if way.orientation.flips[0] else number], np.float32)
        windowed = way.orientation.axes[0] == 0 and volume.voi is not None and volume.voi[number] is not None
        yield Sample(pixels, grid, prepared.images[place], prepared.raster, volume.geometry.shape[0], windowed)
