"""The maps of a scoring beside the lesion masks of the labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage

from medood.core.errors import InputError, MedoodError
from medood.core.files.table_file import plain_path
from medood.core.geometry import Geometry
from medood.evaluation.labelled_scores import Labels, ScoredRow, patient_of
from medood.export.map_files import PNG_LEVELS
from medood.export.map_list import HEADER, Line, read_array, read_header, read_lines
from medood.export.maps import read_map
from medood.metrics.lesions import LesionDetection, LesionMap, detect
from medood.metrics.pixel import LabelledPixels, Localisation, lesion_regions, localise_within
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


@dataclass(frozen=True)
class JudgedMaps:
    """What masks say of maps: the detector's "map", and the prepared intensity taken as a map ("plain").

    pixels   of all pixels, those outside the body included, by kind;  inside  of those inside it, where the maps tell it
    lesions  counted one by one, where there are some
    """

    pixels: Mapping[str, Localisation]
    inside: Mapping[str, Localisation]
    lesions: Mapping[str, LesionDetection]
    notes: Sequence[str]


NO_MAPS = JudgedMaps({}, {}, {}, ())


def judge_maps(folder: Path, labels: Labels, scored: Sequence[ScoredRow], *, resamples: int, seed: int) -> JudgedMaps:
    """Judge the maps of a scoring on the slices that are labelled. `notes` say what does not count.

    Raises InputError when a file cannot be read or a mask lies on another grid, MedoodError when there is no lesion or no normal pixel.
    """
    entries, notes = _entries(folder, labels, scored)
    header = read_header(folder) if (folder / HEADER).is_file() else {}
    pixels: dict[str, Localisation] = {}
    inside: dict[str, Localisation] = {}
    lesions: dict[str, LesionDetection] = {}
    for kind in ("map", "plain"):
        usable = [entry for entry in entries if entry.line.get(kind)]
        if len(usable) < len(entries):
            how = "; `medood score --maps-with plain` writes it" if kind == "plain" else ""
            notes.append(f"{len(entries) - len(usable)} of {len(entries)} labelled entries have no {kind} on disk{how}.")
        if usable:
            every, within = localise_within(partial(_pixels, usable, kind, header.get("outside")), resamples=resamples, seed=seed)
            threshold = header["scale"]["threshold"] if header and kind == "map" else None
            detected = detect(_scans(usable, kind), threshold=threshold, resamples=resamples, seed=seed)
            pixels[kind] = every
            inside |= {kind: within} if within else {}
            lesions |= {kind: detected} if detected else {}
    return JudgedMaps(pixels, inside, lesions, notes)


def _pixels(entries: Sequence[_Mapped], kind: str, outside: float | None) -> Iterator[LabelledPixels]:
    for entry in entries:
        value, regions = _value_and_regions(entry, kind)
        inside = None if outside is None else _inside(entry, outside)
        counted = [np.moveaxis(array, entry.axis, 0)[list(entry.slices)].ravel() for array in (value, regions)]
        if inside is not None:
            inside = np.moveaxis(inside, entry.axis, 0)[list(entry.slices)].ravel()
        yield LabelledPixels(counted[0], counted[1], entry.group, inside)


def _scans(entries: Sequence[_Mapped], kind: str) -> Iterator[LesionMap]:
    for entry in entries:
        value, regions = _value_and_regions(entry, kind)
        counted = np.zeros(value.shape, dtype=bool)
        np.moveaxis(counted, entry.axis, 0)[list(entry.slices)] = True
        if len(value) == 1:  # a picture: nothing lies above or below it
            value, regions, counted = value[0], regions[0], counted[0]
        yield LesionMap(value, regions, counted, entry.group)


def _value_and_regions(entry: _Mapped, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The map and the numbers of its lesions, before slices are left out, so that no lesion is cut in two."""
    value, geometry = read_array(entry.folder, entry.line, kind)
    return value, lesion_regions(_lesions(entry, geometry))


def _inside(entry: _Mapped, outside: float) -> np.ndarray:
    """Bool (slices, rows, columns), True in the body and where it was examined: where the map has another value than `outside`.

    Pixels inside that have this very value are holes, and filled slice by slice. A picture holds a value as the nearest of its levels.
    """
    value, _ = read_array(entry.folder, entry.line, "map")
    nearest = value.flat[np.abs(value - outside).argmin()]
    low, high = entry.line.get("ranges", {}).get("map", (0.0, 0.0))
    stored = nearest if abs(nearest - outside) <= (high - low) / PNG_LEVELS else outside
    slices = np.moveaxis(value != stored, entry.axis, 0)
    filled = np.stack([ndimage.binary_fill_holes(each) for each in slices])
    return np.moveaxis(filled, 0, entry.axis)


def _lesions(entry: _Mapped, geometry: Geometry) -> np.ndarray:
    """Bool (slices, rows, columns) on the grid of the map."""
    lesion = np.zeros(geometry.shape, dtype=bool)
    for path in entry.volumes:
        lesion |= volume_mask(path, geometry, entry.id)
    for number, path in entry.pictures.items():
        slices = np.moveaxis(lesion, entry.axis, 0)
        slices[number] |= read_mask(path, replace(geometry, shape=(1, *slices.shape[1:])), entry.id)[0] > 0
    return lesion


def volume_mask(path: Path, geometry: Geometry, name: str) -> np.ndarray:
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
    if not any(labels.of_slice(line["id"], number) is not None for line in read_lines(folder) for number in line["slices"]):
        raise MedoodError(f"{folder}: no map is of an image that the labels name: are these the maps of these images?")
    if not entries:
        raise MedoodError(f"{folder}: none of its slices has a label of 0, or of 1 with a mask; the labels need a column `mask`.")
    return entries, [f"{without_mask} anomalous slices have no mask and do not count for the maps."] if without_mask else []


def _masks(name: str, masks: Mapping[int, Path | None], labels: Labels) -> tuple[list[Path], dict[int, Path]]:
    """Masks of the whole entry, and pictures that stand in the row of one slice and are its mask alone."""
    whole = labels.mask_of_whole(name)
    files = {number: path for number, path in masks.items() if path}
    pictures = {number: path for number, path in files.items() if path != whole and not path.name.lower().endswith(_VOLUMES)}
    return sorted(set(files.values()) - set(pictures.values())), pictures
