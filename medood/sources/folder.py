"""Whatever lies in a folder, and the table that says what it is."""

from __future__ import annotations

import errno
import stat
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

from medood.core.errors import InputError
from medood.core.files.table_file import mistakes_of, plain_path
from medood.core.volume import Entry, Index, Problem, Source, Volume
from medood.sources.annotation import slice_labels
from medood.sources.content import Kind, Packing, kind_of, kind_of_name, packing_of
from medood.sources.fetching import bring
from medood.sources.indexing import CLOSED_FOLDER, files_below, is_directory, name_of
from medood.sources.mask_file import add_mask
from medood.sources.recall import recall
from medood.sources.table import read_table, table_below

_NOT_AN_IMAGE = "not_an_image", "This is not DICOM, NIfTI, PNG, JPEG, TIFF or BMP; it is left out."
_DEAD_LINK = "dead_link", "A link to a file that is not there; it is left out."
_CLOSED = "It cannot be opened ({}); check its permissions."
_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_PACKED: dict[Packing, tuple[str, str]] = {
    "archive": ("archive", "An archive of files; nobody looks into it. Unpack it."),
    "compressed": ("compressed", "A compressed file; unpack it first. Only NIfTI is read compressed, as .nii.gz."),
}


class Folder:
    """DICOM series, NIfTI volumes and pictures in a folder, told apart by their content; a table may say which, and what they show.

    ```
    root/anything/below/it.png
    root/labels.csv                path,group,label,part,mask
                                   normal/001.png,patient1,0,train,
                                   scans/series3,patient2,1,test,masks/series3.nii.gz
    ```
    csv  a table below the root with the columns path, group, label (0 normal, 1 anomalous), part (train, val, test) and, if wanted, mask
         and class (what an image shows, in a word). Only its rows are taken. A path is a file, or the folder or the id of a DICOM series; a
         group is a patient.
    """

    def __init__(self, root: Path, *, csv: str | None = None) -> None:
        self.root = Path(root)
        self.csv = csv

    def index(self) -> Index:
        """Raises TableError when the table has mistakes or names what is not there."""
        return self._everything() if self.csv is None else self._listed(table_below(self.root, self.csv))

    def read(self, entry: Entry) -> Volume:
        bring(entry.files)
        try:
            kind = kind_of(entry.files[0])
        except OSError as error:
            raise InputError(f"{entry.id}: the file is gone or cannot be opened; index the folder again.", "unreadable") from error
        volume = self._reader(kind).read(entry)
        if entry.mask is not None:
            add_mask(volume, entry.mask, label=entry.label)
        elif entry.label is not None:
            volume.labels = slice_labels(volume.image.shape[1], entry.label)
        return volume

    def _reader(self, kind: Kind | None) -> Source:
        """The source of one kind of files, imported only where there is some."""
        if kind == "dicom":
            from medood.sources.dicom.dicom import Dicom

            return Dicom(self.root)
        if kind == "nifti":
            from medood.sources.nifti import Nifti

            return Nifti(self.root)
        from medood.sources.image import Image

        return Image(self.root)

    def _everything(self) -> Index:
        return _sorted_index(self.root, *self._found(files_below(self.root)))

    def _listed(self, table: Path) -> Index:
        """The entries that the rows of a table name, each with what its row says."""
        rows, place = read_table(table), _Places(self.root)
        paths = {row.path: place.of(row.path) for row in rows}
        files = {name: path for name, path in paths.items() if path is not None and _may_be_file(path)}
        series = any(kind_of_name(name) in (None, "dicom") for name in paths.keys() - files.keys())
        entries, problems = self._found(list(files.values()), series)
        by_name = _by_name(entries, self.root)
        unusable = {name for problem in problems for name in _names(problem)}
        chosen: dict[str, Entry] = {}
        with mistakes_of(table) as mistakes:
            for row in rows:
                mask = place.of(row.mask) if row.mask else None
                if row.mask and not (mask and _may_be_file(mask)):
                    mistakes.add(row.line, f"the mask {row.mask} is not below {self.root}; check the root and the path.")
                meant = by_name.get(row.path, ())
                if not meant and row.path not in unusable:
                    mistakes.add(row.line, _meaningless(row.path, paths[row.path], self.root))
                for entry in meant:
                    if entry.id in chosen:
                        mistakes.add(row.line, f"{entry.id} is meant by an earlier row too; keep one of the two rows.")
                    chosen[entry.id] = replace(entry, group=row.group, label=row.label, part=row.part, mask=mask, class_name=row.class_name)
        return _sorted_index(self.root, chosen.values(), [p for p in problems if not paths.keys().isdisjoint(_names(p))])

    def _found(self, files: list[Path], series: bool = False) -> tuple[list[Entry], list[Problem]]:
        """Entries and problems of `files`, and of all DICOM below the root if one of them is DICOM or `series` says so."""
        kinds, entries, problems = self.by_file(files)
        if series or "dicom" in kinds.values():
            index, named = self._reader("dicom").index(), {p.path for p in problems}
            entries += index.entries
            problems += [p for p in index.problems if is_of_dicom(p, kinds.get(self.root / p.path)) and p.path not in named]
        return entries, problems

    def by_file(
        self, files: Iterable[Path], pictures: Collection[str] | None = None, volumes: Mapping[str, str] | None = None
    ) -> tuple[dict[Path, Kind], list[Entry], list[Problem]]:
        """The kind of each file that is an image, and entries and problems of all that are not DICOM.

        `pictures` and `volumes` name those that are masks, if others than `files` decide that.
        """
        kinds, problems = _kinds(files, self.root)
        of_kind = {kind: [path for path in kinds if kinds[path] == kind] for kind in ("nifti", "image")}
        entries: list[Entry] = []
        if of_kind["nifti"]:
            from medood.sources.nifti import Nifti

            index = Nifti(self.root).index_of(of_kind["nifti"], volumes)
            entries += index.entries
            problems += index.problems
        if of_kind["image"]:
            from medood.sources.image import Image

            index = Image(self.root).index_of(of_kind["image"], pictures)
            entries += index.entries
            problems += index.problems
        return kinds, entries, problems


class _Places:
    """Finds files by the names that a table gives them, whatever way its system writes slashes and accents."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def of(self, name: str) -> Path | None:
        """The file or folder that is meant, None if there is none; also one that may not be asked for, as whoever opens it reports it."""
        path = self.root / name
        try:
            path.stat()
        except PermissionError:
            return path
        except (OSError, ValueError):  # also of a name that is too long
            return self._by_plain_name.get(name)
        return path

    @cached_property
    def _by_plain_name(self) -> dict[str, Path]:
        files = files_below(self.root, hidden=True)
        places = dict.fromkeys(place for file in files for place in (file, *file.parents) if self.root in place.parents)
        return {plain_path(name_of(place, self.root)): place for place in places}


def _may_be_file(path: Path) -> bool:
    """Whether it is a file, as far as that may be asked: what is closed counts as one, so that whoever opens it reports it."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        return error.errno not in _NOWHERE


def _meaningless(name: str, path: Path | None, root: Path) -> str:
    """Why a row's path leads to nothing that can be read."""
    if path is None:
        return f"{name} is not below {root}; check the root and the path."
    return f"{name} is a folder without a DICOM series; name each of its files in a row." if path.is_dir() else f"{name} is no image."


def is_of_dicom(problem: Problem, kind: Kind | None) -> bool:
    """Whether a problem that DICOM's source has with a file of some kind, or with a whole series, is one: its hidden files are read too."""
    return kind == "dicom" or (kind is None and problem.code != "not_dicom")


def _kinds(files: Iterable[Path], root: Path) -> tuple[dict[Path, Kind], list[Problem]]:
    """The kind of every file that is one, and a problem for every other."""
    kinds: dict[Path, Kind] = {}
    problems = []
    for path in files:
        name = name_of(path, root)
        try:
            kind, packed = recall("kind", path, name, partial(_kind_and_packing, path))
        except OSError as error:
            problems.append(Problem(name, *_not_opened(path, error)))
            continue
        if kind:
            kinds[path] = kind
        else:
            problems.append(Problem(name, *(_PACKED[packed] if packed else _NOT_AN_IMAGE)))
    return kinds, problems


def _not_opened(path: Path, error: OSError) -> tuple[str, str]:
    """Code and sentence of what cannot be opened."""
    if error.errno in _NOWHERE and path.is_symlink():
        return _DEAD_LINK
    return "unreadable", CLOSED_FOLDER if is_directory(path) else _CLOSED.format(type(error).__name__)


def _kind_and_packing(path: Path) -> tuple[Kind | None, Packing | None]:
    kind = kind_of(path)
    return kind, None if kind else packing_of(path)


def _by_name(entries: Iterable[Entry], root: Path) -> dict[str, list[Entry]]:
    """Entries by every name that a table may use: the id, a file, or a folder above the files of a DICOM series."""
    names: dict[str, list[Entry]] = {}
    for entry in entries:
        meant = {entry.id, *(name_of(path, root) for path in entry.files)}
        if entry.origin.series_uid:
            meant |= {name_of(folder, root) for path in entry.files for folder in path.parents if root in folder.parents}
        for name in {plain_path(name) for name in meant}:
            names.setdefault(name, []).append(entry)
    return names


def _names(problem: Problem) -> set[str]:
    """Every name by which a table may mean what has the problem: its path, its files, and the folders above them."""
    return {name for path in (problem.path, *problem.files) for name in _above(path)}


def _above(name: str) -> list[str]:
    """A path and the folders above it, plainly spelled."""
    path = plain_path(name)
    return [path, *(path[:end] for end, letter in enumerate(path) if letter == "/")]


def _sorted_index(root: Path, entries: Iterable[Entry], problems: Iterable[Problem]) -> Index:
    return Index(root, tuple(sorted(entries, key=lambda e: e.id)), tuple(sorted(problems, key=lambda p: p.path)))
