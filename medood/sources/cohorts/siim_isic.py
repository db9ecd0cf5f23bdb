"""The dermoscopy images of the SIIM-ISIC melanoma challenge of 2020."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from medood.core.errors import MedoodError
from medood.core.files.table_file import mistakes_of
from medood.core.volume import Entry, Index, Problem, Volume
from medood.sources.cohorts.publisher_table import below, check_present, listed, number_patients, read_rows
from medood.sources.dicom.dicom import Dicom
from medood.sources.dicom.entries import DicomEntry
from medood.sources.image import Image
from medood.sources.indexing import files_below, index_files

_TABLES = ("train.csv", "ISIC_2020_Training_GroundTruth_v2.csv", "ISIC_2020_Training_GroundTruth.csv")
_DUPLICATES = "ISIC_2020_Training_Duplicates.csv"
_FOLDERS = {"dicom": ("train",), "jpeg": ("jpeg/train", "train")}
_ENDINGS = {"dicom": (".dcm",), "jpeg": (".jpg", ".jpeg")}
_LABELS = {("benign", "0"): 0, ("malignant", "1"): 1}


class SiimIsic:
    """SIIM-ISIC 2020 images, benign against malignant; the training images, for the others have no published labels.

    ```
    root/train/ISIC_0015719.dcm            DICOM
    root/jpeg/train/ISIC_0015719.jpg       JPEG; root/train/ISIC_0015719.jpg from the ISIC archive
    root/train.csv                         image_name,patient_id,...,benign_malignant,target; ISIC_2020_Training_GroundTruth_v2.csv will do
         ISIC_2020_Training_Duplicates.csv if there: image_name_1,image_name_2
    ```
    About 2000 patients have 33126 images: those of a patient keep together. Of images that the publisher's list of duplicates calls the
    same, the first one named is taken and the others are left out.

    format  "dicom" or "jpeg"; "auto" takes DICOM if it is there
    """

    def __init__(self, root: Path, *, format: Literal["auto", "dicom", "jpeg"] = "auto") -> None:
        self.root = Path(root)
        self.format = format
        self._dicom = Dicom(self.root)
        self._image = Image(self.root)

    def index(self) -> Index:
        """Raises MedoodError when the images or the table are missing, or the table has a mistake, with its line."""
        table = next((name for name in _TABLES if (self.root / name).is_file()), _TABLES[0])
        check_present(self.root, (table,), "SIIM-ISIC 2020")
        labels, groups = _read_table(self.root / table)
        folder, kind = self._images()
        found = self._dicom_index(folder) if kind == "dicom" else self._jpeg_index(folder)
        chosen, problems = listed(found, folder, labels, table)
        copies = _read_duplicates(self.root / _DUPLICATES)
        entries = []
        for entry, label in chosen:
            name = entry.files[0].stem
            if name in copies:
                message = f"{_DUPLICATES} says that it is the same image as {copies[name]}; it is left out."
                problems.append(Problem(entry.id, "duplicate", message))
            else:
                entries.append(replace(entry, group=groups[name], label=label))
        return Index(self.root, tuple(entries), tuple(sorted(problems, key=lambda problem: problem.path)))

    def read(self, entry: Entry) -> Volume:
        source = self._dicom if isinstance(entry, DicomEntry) else self._image
        return source.read(entry)

    def _images(self) -> tuple[str, str]:
        """Folder and format of the images. Raises MedoodError when there are none."""
        kinds = ("dicom", "jpeg") if self.format == "auto" else (self.format,)
        places = [(folder, kind) for kind in kinds for folder in _FOLDERS[kind]]
        for folder, kind in places:
            if (self.root / folder).is_dir() and any(_is(path, kind) for path in (self.root / folder).iterdir()):
                return folder, kind
        wanted = " or ".join(f"{folder}/*{_ENDINGS[kind][0]}" for folder, kind in places)
        raise MedoodError(f"{self.root}: the table is there but the images are not: expected {wanted}. Unpack them beside the table.")

    def _dicom_index(self, folder: str) -> Index:
        return below(folder, Dicom(self.root / folder).index(), self.root)

    def _jpeg_index(self, folder: str) -> Index:
        return index_files(self.root, [path for path in files_below(self.root / folder) if _is(path, "jpeg")], self._image.entry)


def _is(path: Path, kind: str) -> bool:
    return path.suffix.lower() in _ENDINGS[kind]


def _read_table(table: Path) -> tuple[dict[str, int], dict[str, str]]:
    """Label and group of each image. The patient's own number is a key here and goes no further."""
    labels: dict[str, int] = {}
    patients: dict[str, str] = {}
    with mistakes_of(table) as mistakes:
        for row in read_rows(table, ("image_name", "patient_id", "benign_malignant", "target"), mistakes):
            name, said = row["image_name"], (row["benign_malignant"], row["target"])
            if said not in _LABELS:
                mistakes.add(row.line, f"{said[0]!r} with target {said[1]!r}: expected benign with 0 or malignant with 1.")
            if not row["patient_id"]:
                mistakes.add(row.line, "patient_id is empty; without it a patient could be in training and among the held-out.")
            if name in labels:
                mistakes.add(row.line, f"{name} stands in an earlier row already; keep one of the two rows.")
            labels[name], patients[name] = _LABELS.get(said, 0), row["patient_id"]
    numbers = number_patients(patients.values())
    return labels, {name: numbers[patient] for name, patient in patients.items()}


def _read_duplicates(file: Path) -> dict[str, str]:
    """The image that is taken instead, by the name of each that is left out; empty without the file."""
    first: dict[str, str] = {}  # of every image that is named: the one that is taken
    if not file.is_file():
        return {}
    with mistakes_of(file) as mistakes:
        for row in read_rows(file, ("image_name_1", "image_name_2"), mistakes):
            one, other = row["image_name_1"], row["image_name_2"]
            if not other:
                mistakes.add(row.line, "image_name_2 is empty; download the list again.")
            kept, left = first.setdefault(one, one), first.setdefault(other, other)
            first = {name: kept if same == left else same for name, same in first.items()}
    return {name: kept for name, kept in first.items() if name != kept}
