"""The maps of a scoring beside the lesion masks of the labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from medood.core.errors import InputError, MedoodError
from medood.core.geometry import Geometry
from medood.core.table_file import plain_path
from medood.evaluation.labelled_scores import Labels, ScoredRow, patient_of
from medood.export.map_list import Line, read_array, read_lines
from medood.export.maps import read_map
from medood.metrics.pixel import LabelledPixels, Localisation, lesion_regions, localise
from medood.sources.mask_file import read_mask

_VOLUMES = (".nii", ".nii.gz", ".nrrd")


@dataclass(frozen=True)
class _Mapped:
    """One line of maps.jsonl, of a `folder` of maps.

    axis      the native axis along which slices are numbered; not 0 when volumes were cut another way than they were acquired
    slices    those that count: scored, labelled 0 or 1, and with a mask if 1
    volumes   masks of the whole entry;  pictures  masks of one slice each
    """

    id: str
    group: str
    folder: Path
    line: Line
    axis: int
    slices: Sequence[int]
    volumes: Sequence[Path]
    pictures: Mapping[int, Path]


def judge_maps(
    folder: Path, labels: Labels, scored: Sequence[ScoredRow], *, resamples: int, seed: int
) -> tuple[dict[str, Localisation], list[str]]:
    """Pixel numbers of the maps ("map") and of the prepared intensity taken as a map ("plain"), and sentences on what does not count.

    Every pixel of the slices that count, those outside the body included. Raises InputError when a file cannot be read or a mask lies on
    another grid, MedoodError when there is no lesion or no normal pixel.
    """
    entries, notes = _entries(folder, labels, scored)
    results = {}
    for kind in ("map", "plain"):
        usable = [entry for entry in entries if entry.line.get(kind)]
        if len(usable) < len(entries):
            how = "; `medood score --maps-with plain` writes it" if kind == "plain" else ""
            notes.append(f"{len(entries) - len(usable)} of {len(entries)} labelled entries have no {kind} on disk{how}.")
        if usable:
            results[kind] = localise(partial(_pixels, usable, kind), resamples=resamples, seed=seed)
    return results, notes


def _pixels(entries: Sequence[_Mapped], kind: str) -> Iterator[LabelledPixels]:
    for entry in entries:
        value, geometry = read_array(entry.folder, entry.line, kind)
        lesion = _lesions(entry, geometry)
        regions = lesion_regions(lesion)  # before slices are left out, so that no lesion is cut in two
        value, regions = (np.moveaxis(array, entry.axis, 0)[list(entry.slices)] for array in (value, regions))
        yield LabelledPixels(value.ravel(), regions.ravel(), entry.group)


def _lesions(entry: _Mapped, geometry: Geometry) -> np.ndarray:
    """Bool (slices, rows, columns) on the grid of the map."""
    lesion = np.zeros(geometry.shape, dtype=bool)
    for path in entry.volumes:
        lesion |= _volume_mask(path, geometry, entry.id)
    for number, path in entry.pictures.items():
        slices = np.moveaxis(lesion, entry.axis, 0)
        slices[number] |= read_mask(path, replace(geometry, shape=(1, *slices.shape[1:])), entry.id)[0] > 0
    return lesion


def _volume_mask(path: Path, geometry: Geometry, name: str) -> np.ndarray:
    if not path.name.lower().endswith(".nrrd"):
        return read_mask(path, geometry, name) > 0
    mask, grid = read_map(path)
    if grid.shape != geometry.shape or not np.allclose(grid.affine, geometry.affine, atol=0.01):
        raise InputError(f"{name} (its mask {path.name}): the mask lies on another grid than the image; resample it.", "mask_grid")
    return mask > 0


def _entries(folder: Path, labels: Labels, scored: Sequence[ScoredRow]) -> tuple[list[_Mapped], list[str]]:
    """The entries with slices that count, and how many slices had to be left out for want of a mask."""
    patients = {row.key.id: patient_of(row, labels) for row in scored}
    entries, without_mask = [], 0
    for line in read_lines(folder):
        name = line["id"]
        known = {number: labels.of_slice(name, number) for number in line["slices"]}
        masks = {number: labels.mask_of_slice(name, number) for number in known}
        slices = [number for number, label in known.items() if label == 0 or (label == 1 and masks[number])]
        without_mask += sum(label == 1 for label in known.values()) - sum(known[number] == 1 for number in slices)
        if slices:
            patient = patients.get(plain_path(name), name)
            entries.append(_Mapped(name, patient, folder, line, line.get("axis", 0), slices, *_masks(name, masks, labels)))
    if not entries:
        raise MedoodError(f"{folder}: none of its slices has a label of 0, or of 1 with a mask; the labels need a column `mask`.")
    return entries, [f"{without_mask} anomalous slices have no mask and do not count for the maps."] if without_mask else []


def _masks(name: str, masks: Mapping[int, Path | None], labels: Labels) -> tuple[list[Path], dict[int, Path]]:
    """Masks of the whole entry, and pictures that stand in the row of one slice and are its mask alone."""
    whole = labels.mask_of_whole(name)
    files = {number: path for number, path in masks.items() if path}
    pictures = {number: path for number, path in files.items() if path != whole and not path.name.lower().endswith(_VOLUMES)}
    return sorted(set(files.values()) - set(pictures.values())), pictures
