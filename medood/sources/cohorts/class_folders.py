"""A folder for each class of images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unicodedata import normalize

from medood.core.errors import MedoodError
from medood.core.volume import Entry, Index, Problem, Volume
from medood.sources.folder import Folder
from medood.sources.indexing import name_of
from medood.sources.roles import group_of

_PARTS = {"train": re.compile("train(ing)?", re.I), "val": re.compile("val(id(ation)?)?", re.I), "test": re.compile("test(ing)?", re.I)}
_NORMAL = ("normal", "normals", "good", "healthy", "control", "controls", "negative", "inlier", "inliers")
_NO_CLASS = "not_listed", "It lies in no folder of a class; it is left out."
_TWO_CLASSES = "ambiguous", "Its files lie in folders of several classes or parts; it is left out. Keep them in one."
_NO_IMAGES = "incomplete", "Nothing in it counts as an image of a class; folders called masks, labels or the like are taken for masks."


@dataclass(frozen=True)
class _Place:
    """What the folders above a file say: the part and the class, if any, and the path below the folder of the class."""

    part: str | None
    name: str
    below: str

    @property
    def key(self) -> str:
        return _key(self.name)


class ClassFolders:
    """Images in a folder for each class, one of which is normal; folders called train, val and test may hold those.

    ```
    root/NORMAL/it.jpeg        or    root/train/NORMAL/it.jpeg
    root/PNEUMONIA/it.dcm            root/test/NORMAL/it.png
    root/OTHER/case/it.nii           root/test/PNEUMONIA/it.png
    ```
    DICOM, NIfTI and pictures, as `folder` reads them. Capital letters do not matter in names of classes. A patient is a PatientID in
    DICOM, a folder below that of the class, or a file otherwise. Where the names of files say whose they are, a table with a column `group`
    keeps a patient's images together, and this cannot: use `folder` with `csv`.

    normal  name of the folder whose images are normal; those in all others are anomalous. null: the one that is called normal, good,
            healthy, control, negative or inlier
    """

    def __init__(self, root: Path, *, normal: str | None = None) -> None:
        self.root = Path(root)
        self.normal = normal
        self._folder = Folder(self.root)

    def index(self) -> Index:
        """Raises MedoodError when it cannot be told which class is normal, or a patient has images in two parts."""
        found = self._folder.index()
        placed: list[tuple[Entry, _Place]] = []
        problems = list(found.problems)
        for entry in found.entries:
            places = {(place.part, place.key): place for place in map(self._place, entry.files)}
            place = next(iter(places.values()))
            if len(places) > 1 or not place.name:
                problems.append(Problem(entry.id, *(_TWO_CLASSES if len(places) > 1 else _NO_CLASS)))
            else:
                placed.append((entry, place))
        normal = self._normal([place for _, place in placed])
        names = {place.key: place.name for _, place in reversed(placed)}  # one class, one spelling
        entries = [self._entry(entry, place, names[place.key], normal) for entry, place in placed]
        _check_parts(self.root, entries)
        problems += [Problem(name, *_NO_IMAGES) for name in self._unused({place.key for _, place in placed})]
        return Index(self.root, tuple(entries), tuple(sorted(problems, key=lambda problem: problem.path)))

    def read(self, entry: Entry) -> Volume:
        return self._folder.read(entry)

    def _place(self, path: Path) -> _Place:
        folders = name_of(path, self.root).split("/")
        part = next((part for part, name in _PARTS.items() if len(folders) > 1 and name.fullmatch(folders[0])), None)
        below = folders[part is not None :]
        return _Place(part, below[0] if len(below) > 1 else "", "/".join(below[1:]))

    def _entry(self, entry: Entry, place: _Place, name: str, normal: str) -> Entry:
        """Files directly below the folders of two classes are of two patients, whatever they are called."""
        group = entry.group
        if not entry.origin.series_uid:
            folder = group_of(place.below, "subject")
            group = entry.id if folder == place.below else folder
        return replace(entry, group=group, label=int(place.key != normal), part=place.part, class_name=name)

    def _normal(self, places: Sequence[_Place]) -> str:
        """The key of the normal class."""
        found = {place.key: place.name for place in places}
        wanted = [_key(self.normal)] if self.normal is not None else [name for name in _NORMAL if name in found]
        named = ", ".join(sorted(found.values())[:8]) or "none"
        if len(wanted) != 1 or wanted[0] not in found:
            which = f"no image lies in a folder {self.normal}" if self.normal is not None else "which folder is normal cannot be told"
            raise MedoodError(f"{self.root}: {which}; folders with images: {named}. Set `source.normal` in the recipe to one of them.")
        inner = next((p for p in places if p.key != wanted[0] and wanted[0] in map(_key, p.below.split("/")[:-1])), None)
        if inner is not None:
            raise MedoodError(
                f"{self.root}: {inner.name}/{inner.below} lies in a folder of the normal class within a folder {inner.name}, which would "
                "be its class. Only folders called train, val or test may hold those of the classes."
            )
        return wanted[0]

    def _unused(self, classes: set[str]) -> Iterable[str]:
        """Folders where classes lie that gave no image."""
        parts = [self.root, *(path for path in _folders(self.root) if _part_of(path))]
        for path in (each for part in parts for each in _folders(part)):
            if not _part_of(path) and _key(path.name) not in classes:
                yield name_of(path, self.root)


def _key(name: str) -> str:
    """Equal for names that differ in capital letters, or in how accents are written."""
    return normalize("NFC", name).casefold()


def _part_of(folder: Path) -> bool:
    return any(name.fullmatch(folder.name) for name in _PARTS.values())


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    except OSError:  # which the walk through the files has said
        return []


def _check_parts(root: Path, entries: Sequence[Entry]) -> None:
    first: dict[str, Entry] = {}
    for entry in entries:
        before = first.setdefault(entry.group, entry)
        if before.part != entry.part:
            raise MedoodError(
                f"{root}: images of one patient are in two parts, {before.id} and {entry.id}: keep a patient's images in one, or name the "
                "patients in a table (source `folder` with `csv`)."
            )
