"""The dermoscopy images of the ISIC challenges of 2016 and 2017."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from medood.core.errors import InputError, MedoodError
from medood.core.files.table_file import mistakes_of, read_cells
from medood.core.volume import Entry, Index, Problem, Volume
from medood.sources.cohorts.publisher_table import listed
from medood.sources.image import Image
from medood.sources.indexing import files_below, index_files

_LABELS = {"benign": 0, "0": 0, "0.0": 0, "malignant": 1, "1": 1, "1.0": 1}


class _Part(NamedTuple):
    """A folder of images and the tables, of which one is needed, that hold its labels."""

    folder: str
    tables: tuple[str, ...]
    part: str | None


_PARTS = {
    2016: (
        _Part("ISBI2016_ISIC_Part3_Training_Data", ("ISBI2016_ISIC_Part3_Training_GroundTruth.csv",), None),
        _Part("ISBI2016_ISIC_Part3_Test_Data", ("ISBI2016_ISIC_Part3_Test_GroundTruth.csv",), "test"),
        _Part("ISBI2016_ISIC_Part3B_Training_Data", ("ISBI2016_ISIC_Part3B_Training_GroundTruth.csv",), None),
        _Part("ISBI2016_ISIC_Part3B_Test_Data", ("ISBI2016_ISIC_Part3B_Test_GroundTruth.csv",), "test"),
    ),
    2017: tuple(
        _Part(f"ISIC-2017_{name}_Data", (f"ISIC-2017_{name}_Part3_GroundTruth.csv", f"ISIC-2017_{name}_Classes.csv"), part)
        for name, part in (("Training", None), ("Validation", "test"), ("Test_v2", "test"))
    ),
}


class Isic:
    """ISIC challenge images, benign against malignant (2016) or all else against melanoma (2017).

    ```
    root/ISBI2016_ISIC_Part3_Training_Data/ISIC_0000000.jpg     2016; or Part3B; and the same with Test
         ISBI2016_ISIC_Part3_Training_GroundTruth.csv           ISIC_0000000,benign
    root/ISIC-2017_Training_Data/ISIC_0000000.jpg               2017; and the same with Validation and Test_v2
         ISIC-2017_Training_Part3_GroundTruth.csv               image_id,melanoma,seborrheic_keratosis (or ISIC-2017_Training_Classes.csv)
    ```
    Whatever parts are there are taken. The publisher's validation and test parts are our "test"; the training part is to be split.
    These years name no patients, so every image is its own group.
    """

    def __init__(self, root: Path, *, year: Literal[2016, 2017] = 2017) -> None:
        self.root = Path(root)
        self.year = year
        self._image = Image(self.root)

    def index(self) -> Index:
        """Raises MedoodError when a folder or its table is missing; images that the table names in vain are one problem."""
        entries: list[Entry] = []
        problems: list[Problem] = []
        here = [part for part in _PARTS[self.year] if (self.root / part.folder).is_dir() or _table(self.root, part)]
        if not here:
            raise MedoodError(self._nothing_found())
        for part in here:
            found = self._part(part)
            entries += found.entries
            problems += found.problems
        return Index(self.root, tuple(sorted(entries, key=lambda e: e.id)), tuple(problems))

    def read(self, entry: Entry) -> Volume:
        return self._image.read(entry)

    def _part(self, part: _Part) -> Index:
        table = self._complete(part)
        pictures = [path for path in files_below(self.root / part.folder) if path.suffix.lower() in (".jpg", ".jpeg")]
        chosen, problems = listed(index_files(self.root, pictures, self._image.entry), part.folder, _read_labels(table), table.name)
        entries = [replace(entry, group=entry.files[0].stem, label=label, part=part.part) for entry, label in chosen]
        return Index(self.root, tuple(entries), tuple(problems))

    def _complete(self, part: _Part) -> Path:
        """The table of a part of which folder and table are there."""
        table = _table(self.root, part)
        if table is None:
            raise MedoodError(f"{self.root}: {part.folder} is there but {part.tables[0]} is not; put it beside the folder.")
        if not (self.root / part.folder).is_dir():
            raise MedoodError(f"{self.root}: {table.name} is there but {part.folder} is not; unpack the images beside the table.")
        return table

    def _nothing_found(self) -> str:
        if not self.root.is_dir():
            raise InputError(f"{self.root}: there is no such folder; check the path.", "not_found")
        found = ", ".join(sorted(path.name for path in self.root.iterdir())[:4]) or "nothing"
        first = _PARTS[self.year][0]
        return f"{self.root}: no ISIC {self.year} images: expected {first.folder} and {first.tables[0]}, found {found}."


def _table(root: Path, part: _Part) -> Path | None:
    return next((root / name for name in part.tables if (root / name).is_file()), None)


def _read_labels(table: Path) -> dict[str, int]:
    """Label by image name: from the column `melanoma` in 2017; the tables of 2016 have no header and two columns."""
    rows = read_cells(table)
    column = _melanoma(rows[0][1], table) if rows and "image_id" in map(str.lower, rows[0][1]) else None
    labels: dict[str, int] = {}
    with mistakes_of(table) as mistakes:
        for line, cells in rows if column is None else rows[1:]:
            name, label = (cells[0], cells[column or 1].lower()) if len(cells) > (column or 1) else ("", "")
            if not name or label not in _LABELS:
                mistakes.add(line, "expected an image name and benign, malignant, 0 or 1.")
            elif name in labels:
                mistakes.add(line, f"{name} stands in an earlier row already; keep one of the two rows.")
            else:
                labels[name] = _LABELS[label]
    return labels


def _melanoma(header: list[str], table: Path) -> int:
    """The number of the column with the labels."""
    names = [name.lower() for name in header]
    if names[0] != "image_id" or "melanoma" not in names:
        raise MedoodError(f"{table}: expected the columns image_id, melanoma, found {', '.join(header)}; download it again.")
    return names.index("melanoma")
