"""A folder for each class of images."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from medood.core.errors import MedoodError
from medood.core.volume import Entry, Index, Problem, Volume
from medood.sources.folder import Folder
from medood.sources.indexing import name_of
from medood.sources.roles import group_of

_PARTS = {"train": re.compile("train(ing)?", re.I), "val": re.compile("val(id(ation)?)?", re.I), "test": re.compile("test(ing)?", re.I)}
_NO_CLASS = "not_listed", "It lies in no folder of a class; it is left out."
_TWO_CLASSES = "ambiguous", "Its files lie in folders of several classes or parts; it is left out. Keep them in one."


class ClassFolders:
    """Images in a folder for each class, one of which is normal; folders called train, val and test may hold those.

    ```
    root/NORMAL/it.jpeg        or    root/train/NORMAL/it.jpeg
    root/PNEUMONIA/it.dcm            root/test/NORMAL/it.png
    root/OTHER/case/it.nii           root/test/PNEUMONIA/it.png
    ```
    DICOM, NIfTI and pictures, as `folder` reads them. A patient is a PatientID in DICOM, a folder below that of the class, or a file
    otherwise. Where the names of files say whose they are, a table with a column `group` keeps a patient's images together, and this
    cannot: use `folder` with `csv`.

    normal  name of the folder whose images are normal; those in all others are anomalous
    """

    def __init__(self, root: Path, *, normal: str) -> None:
        self.root = Path(root)
        self.normal = normal
        self._folder = Folder(self.root)

    def index(self) -> Index:
        """Raises MedoodError when no image lies in the folder of the normal class."""
        found = self._folder.index()
        entries, problems = [], list(found.problems)
        for entry in found.entries:
            places = {self._place(path) for path in entry.files}
            part, name = next(iter(places))
            if len(places) > 1 or name is None:
                problems.append(Problem(entry.id, *(_TWO_CLASSES if len(places) > 1 else _NO_CLASS)))
                continue
            group = self._group(entry, name)
            entries.append(replace(entry, group=group, label=int(name != self.normal), part=part, class_name=name))
        self._check({entry.class_name for entry in entries})
        return Index(self.root, tuple(entries), tuple(sorted(problems, key=lambda problem: problem.path)))

    def read(self, entry: Entry) -> Volume:
        return self._folder.read(entry)

    def _place(self, path: Path) -> tuple[str | None, str | None]:
        """Part and class, as the folders above a file say."""
        folders = name_of(path, self.root).split("/")[:-1]
        part = next((part for part, name in _PARTS.items() if folders and name.fullmatch(folders[0])), None)
        return part, next(iter(folders[part is not None :]), None)

    def _group(self, entry: Entry, name: str) -> str:
        """The patient. Files directly below the folders of two classes are of two, whatever they are called."""
        if entry.origin.series_uid:
            return entry.group
        below = name_of(entry.files[0], self.root).split(f"{name}/", 1)[1]
        group = group_of(below, "subject")
        return entry.id if group == below else group

    def _check(self, classes: set[str | None]) -> None:
        if self.normal not in classes:
            found = ", ".join(sorted(name for name in classes if name)[:8]) or "none"
            raise MedoodError(
                f"{self.root}: no image lies in a folder {self.normal} for the normal class; the folders with images are: {found}. "
                "Set `source.normal` to one of them."
            )
