"""Radiographs of inferior vena cava filters of 14 types."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medood.core.errors import InputError, MedoodError
from medood.core.types import NonNegativeInt
from medood.core.volume import Entry, Index, Problem, Volume
from medood.sources.content import kind_of_name
from medood.sources.image import Image
from medood.sources.indexing import files_below, index_files, name_of

_TYPES = tuple(str(number) for number in range(14))


class Ivc:
    """Cropped radiographs of inferior vena cava filters: one type is normal, the thirteen others are anomalous.

    ```
    root/0/anything.png ... root/13/anything.jpg      a folder for each type
    ```
    No patients are named, so every image is its own group.

    normal  number of the type to learn
    """

    def __init__(self, root: Path, *, normal: NonNegativeInt = 11) -> None:
        self.root = Path(root)
        self.normal = normal
        self._image = Image(self.root)

    def index(self) -> Index:
        """Raises MedoodError when the folder of the normal type is missing; other missing types are one problem."""
        self._check_normal()
        pictures: list[Path] = []
        problems: list[Problem] = []
        for path in files_below(self.root):
            if self._type(path) in _TYPES:
                pictures.append(path)
            elif kind_of_name(path.name) == "image":
                problems.append(Problem(name_of(path, self.root), "not_listed", "It lies in no folder 0 to 13; it is left out."))
        index = index_files(self.root, pictures, self._image.entry)
        if missing := [name for name in _TYPES if not any(e.id.startswith(f"{name}/") for e in index.entries)]:
            message = f"There are no images of the types {', '.join(missing)}; for the published task all 14 are needed."
            problems.append(Problem(missing[0], "incomplete", message))
        entries = tuple(replace(e, label=int(self._type(e.files[0]) != str(self.normal))) for e in index.entries)
        return Index(self.root, entries, tuple(sorted((*index.problems, *problems), key=lambda problem: problem.path)))

    def read(self, entry: Entry) -> Volume:
        return self._image.read(entry)

    def _type(self, path: Path) -> str:
        return name_of(path, self.root).partition("/")[0]

    def _check_normal(self) -> None:
        if not self.root.is_dir():
            raise InputError(f"{self.root}: there is no such folder; check the path.", "not_found")
        if str(self.normal) not in _TYPES or not (self.root / str(self.normal)).is_dir():
            found = ", ".join(sorted(path.name for path in self.root.iterdir())[:4]) or "nothing"
            raise MedoodError(f"{self.root}: the folder {self.normal} of the normal type is missing: expected 0 to 13, found {found}.")
