"""The chest radiographs of the RSNA Pneumonia Detection Challenge of 2018."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf, nan
from pathlib import Path
from typing import Literal

import numpy as np

from medood.core.errors import InputError, MedoodError
from medood.core.files.table_file import Mistakes, mistakes_of
from medood.core.volume import Entry, Index, Volume
from medood.sources.cohorts.publisher_table import below, check_present, listed, number_patients, read_rows
from medood.sources.dicom.dicom import Dicom
from medood.sources.dicom.entries import DicomEntry

Box = tuple[int, int, int, int]
"""Left, top, right and bottom edge in pixels; right and bottom lie outside."""

_IMAGES = "stage_2_train_images"
_BOXES = "stage_2_train_labels.csv"
_CLASSES = "stage_2_detailed_class_info.csv"
_PATIENTS = "pneumonia-challenge-dataset-mappings_2018.json"
_WORDS = {"Normal": "normal", "Lung Opacity": "opacity", "No Lung Opacity / Not Normal": "not_normal"}
_EDGES = ("x", "y", "width", "height")


@dataclass(frozen=True)
class RsnaEntry(DicomEntry):
    """A radiograph with the boxes around its opacities: none if it is normal, None if nobody marked what is wrong."""

    boxes: tuple[Box, ...] | None = None


class Rsna:
    """RSNA pneumonia radiographs, normal against lung opacity and other abnormal findings; stage 2, the training images.

    ```
    root/stage_2_train_images/PATIENTID.dcm
         stage_2_train_labels.csv               patientId,x,y,width,height,Target; a row for every box
         stage_2_detailed_class_info.csv        patientId,class
         pneumonia-challenge-dataset-mappings_2018.json     if there: which images of the NIH collection these are
    ```
    The boxes are the lesion mask; of radiographs that are "No Lung Opacity / Not Normal" it is unknown. A row is a box and not an image:
    9555 rows of lung opacity are 6012 images. Each image has a made-up patient of its own, although several are of one patient of the NIH
    collection: with RSNA's file of mappings such images keep together.

    anomalous  which abnormal images to take: "opacity", "not_normal" or "both"; the others are left out altogether, for they are not normal
    """

    def __init__(self, root: Path, *, anomalous: Literal["both", "opacity", "not_normal"] = "both") -> None:
        self.root = Path(root)
        self.anomalous = anomalous
        self._dicom = Dicom(self.root)

    def index(self) -> Index:
        """Raises MedoodError when the folder or a table is missing, or a table has a mistake, with its line."""
        check_present(self.root, (_IMAGES, _BOXES, _CLASSES), "the RSNA pneumonia challenge")
        boxes = _read_boxes(self.root / _BOXES)
        classes = _read_classes(self.root / _CLASSES, boxes)
        nih = _read_patients(self.root / _PATIENTS)
        patients = number_patients(nih.get(name, name) for name in boxes)
        found = below(_IMAGES, Dicom(self.root / _IMAGES).index(), self.root)
        chosen, problems = listed(found, _IMAGES, classes, _BOXES)
        entries = []
        for entry, word in chosen:
            if word == "normal" or self.anomalous in ("both", word):
                name = entry.files[0].stem
                entries.append(_entry(entry, patients[nih.get(name, name)], word, boxes[name]))
        return Index(self.root, tuple(entries), tuple(problems))

    def read(self, entry: Entry) -> Volume:
        """Raises InputError when the image cannot be decoded or a box lies outside of it."""
        volume = self._dicom.read(entry)
        if isinstance(entry, RsnaEntry) and entry.boxes is not None:
            volume.mask = _mask(entry.boxes, volume.geometry.shape, entry.id)
        return volume

    def draws_mask(self, entry: Entry) -> bool:
        return isinstance(entry, RsnaEntry) and bool(entry.boxes)


def _entry(entry: Entry, group: str, word: str, boxes: list[Box]) -> RsnaEntry:
    said = {"group": group, "label": int(word != "normal"), "boxes": None if word == "not_normal" else tuple(boxes)}
    return RsnaEntry(**vars(entry) | said)


def _read_boxes(table: Path) -> dict[str, list[Box]]:
    """The boxes of each image in the order of the table; none for Target 0."""
    boxes: dict[str, list[Box]] = {}
    with mistakes_of(table) as mistakes:
        for row in read_rows(table, ("patientId", *_EDGES, "Target"), mistakes):
            name, edges = row["patientId"], [row[edge] for edge in _EDGES]
            if row["Target"] not in ("0", "1") or any(edges) != (row["Target"] == "1"):
                mistakes.add(row.line, "expected Target 1 and a box, or Target 0 and x, y, width and height empty.")
                continue
            box = [_box(edges, mistakes, row.line)] if any(edges) else []
            if name in boxes and not (box and boxes[name]):
                mistakes.add(
                    row.line, "this image stands in an earlier row already; only images with boxes have several rows, one for each."
                )
            boxes.setdefault(name, []).extend(box)
    return boxes


def _box(cells: Iterable[str], mistakes: Mistakes, line: int) -> Box:
    try:
        x, y, width, height = map(float, cells)
    except ValueError:
        x = y = width = height = nan
    if not (0 <= x < inf and 0 <= y < inf and 1 <= width < inf and 1 <= height < inf):
        mistakes.add(line, "expected x, y, width and height of a box in pixels of the image.")
        return 0, 0, 1, 1
    return round(x), round(y), round(x + width), round(y + height)


def _read_classes(table: Path, boxes: dict[str, list[Box]]) -> dict[str, str]:
    """The class of each image, "normal", "opacity" or "not_normal"; the rows of an image must agree with each other and with its boxes."""
    classes: dict[str, str] = {}
    with mistakes_of(table) as mistakes:
        for row in read_rows(table, ("patientId", "class"), mistakes):
            name, word = row["patientId"], _WORDS.get(row["class"])
            if word is None:
                mistakes.add(row.line, f"class {row['class']!r}: expected one of {', '.join(_WORDS)}.")
            elif classes.setdefault(name, word) != word:
                mistakes.add(row.line, "an earlier row of this image names another class.")
            elif name not in boxes or (word == "opacity") != bool(boxes[name]):
                wanted = int(word == "opacity")
                mistakes.add(row.line, f"{row['class']}, but {_BOXES} has no row of this image with Target {wanted}.")
    if without := len(boxes.keys() - classes.keys()):
        raise MedoodError(f"{table}: {without} of the {len(boxes)} images in {_BOXES} have no row; download both tables again.")
    return classes


def _read_patients(file: Path) -> dict[str, str]:
    """Patient of the NIH collection by name of the image, empty without the file: `img_id` is the number of the patient, `_`, a number."""
    if not file.is_file():
        return {}
    try:
        return {image["subset_img_id"]: "NIH " + image["img_id"].partition("_")[0] for image in json.loads(file.read_bytes())}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise MedoodError(f"{file}: expected a list of objects with subset_img_id and img_id; download it again, or remove it.") from error


def _mask(boxes: Iterable[Box], shape: tuple[int, int, int], name: str) -> np.ndarray:
    """uint8 of `shape` (slices, rows, columns), 1 in the boxes; what reaches over the edge is cut."""
    mask = np.zeros(shape, np.uint8)
    for left, top, right, bottom in boxes:
        if top >= shape[1] or left >= shape[2]:
            raise InputError(f"{name}: a box of {_BOXES} lies outside of the image; use the images in their published size.", "mask_grid")
        mask[:, top:bottom, left:right] = 1
    return mask
