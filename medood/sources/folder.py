"""Whatever lies in a folder, and the table that says what it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from medood.core.errors import InputError, MedoodError
from medood.core.volume import Entry, Index, Problem, Source, Volume
from medood.sources.annotation import slice_labels
from medood.sources.content import Kind, kind_of, kind_of_name
from medood.sources.indexing import files_below, index_files, name_of
from medood.sources.mask_file import read_mask
from medood.sources.table import Row, read_table


class Folder:
    """DICOM series, NIfTI volumes and pictures in a folder, told apart by their content; a table may say which, and what they show.

    ```
    root/anything/below/it.png
    root/labels.csv                path,group,label,part,mask
                                   normal/001.png,patient1,0,train,
                                   scans/series3,patient2,1,test,masks/series3.nii.gz
    ```
    csv  a table below the root with the columns path, group, label (0 normal, 1 anomalous), part (train, val, test) and, if wanted, mask.
         Only its rows are taken. A path is a file, or the folder or the id of a DICOM series; a group is a patient.
    """

    def __init__(self, root: Path, *, csv: str | None = None) -> None:
        self.root = Path(root)
        self.csv = csv

    def index(self) -> Index:
        """Raises MedoodError when the table has mistakes or names what is not there."""
        return self._everything() if self.csv is None else self._listed(read_table(self.root / self.csv))

    def read(self, entry: Entry) -> Volume:
        try:
            kind = kind_of(entry.files[0])
        except OSError as error:
            raise InputError(f"{entry.id}: the file is gone or cannot be opened; index the folder again.", "unreadable") from error
        volume = self._reader(kind).read(entry)
        if entry.mask is not None:
            volume.mask = read_mask(entry.mask, volume.geometry, entry.id)
        if entry.label is not None or entry.mask is not None:
            volume.labels = slice_labels(volume.image.shape[1], entry.label, volume.mask)
        return volume

    def _reader(self, kind: Kind | None) -> Source:
        """The source of one kind of files; DICOM is imported only where there is some."""
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

    def _listed(self, rows: list[Row]) -> Index:
        """The entries that the rows name, each with what its row says."""
        paths = [self.root / row.path for row in rows]
        series = any(not path.is_file() and kind_of_name(path.name) in (None, "dicom") for path in paths)
        entries, problems = self._found([path for path in paths if path.is_file()], series)
        by_name = _by_name(entries, self.root)
        self._check_present([row for row, path in zip(rows, paths, strict=True) if not path.exists() and row.path not in by_name], "path")
        self._check_present([row for row in rows if row.mask and not (self.root / row.mask).is_file()], "mask")
        chosen: dict[str, Entry] = {}
        for row in rows:
            for entry in by_name.get(row.path, ()):
                if entry.id in chosen:
                    raise MedoodError(f"{self.csv}:{row.line}: {entry.id} is meant by an earlier row too; keep one of the two rows.")
                mask = self.root / row.mask if row.mask else None
                chosen[entry.id] = replace(entry, group=row.group, label=row.label, part=row.part, mask=mask)
        meant = tuple(row.path for row in rows)
        return _sorted_index(self.root, chosen.values(), [p for p in problems if p.path in meant or p.path.startswith(_folders(meant))])

    def _found(self, files: list[Path], series: bool = False) -> tuple[list[Entry], list[Problem]]:
        """Entries and problems of `files`, and of all DICOM below the root if one of them is DICOM or `series` says so."""
        kinds, problems = _kinds(files, self.root)
        entries: list[Entry] = []
        for kind in ("nifti", "image"):
            index = index_files(self.root, [path for path in files if kinds.get(path) == kind], self._reader(kind).entry)
            entries += index.entries
            problems += index.problems
        if series or "dicom" in kinds.values():
            index, named = self._reader("dicom").index(), {p.path for p in problems}
            found = [p for p in index.problems if kinds.get(self.root / p.path, "none" if p.code == "not_dicom" else "dicom") == "dicom"]
            entries += index.entries
            problems += [p for p in found if p.path not in named]
        return entries, problems

    def _check_present(self, missing: list[Row], column: str) -> None:
        if missing:
            shown = ", ".join(f"{getattr(row, column)} (line {row.line})" for row in missing[:3])
            more = " ..." if len(missing) > 3 else ""
            raise MedoodError(
                f"{self.csv}: {len(missing)} of the files named in the column {column} are not below {self.root}: {shown}{more}; "
                "check the root and the paths."
            )


def _kinds(files: Iterable[Path], root: Path) -> tuple[dict[Path, Kind], list[Problem]]:
    """The kind of every file that is one, and a problem for every other."""
    kinds: dict[Path, Kind] = {}
    problems = []
    for path in files:
        name = name_of(path, root)
        try:
            kind = kind_of(path)
        except OSError as error:
            problems.append(Problem(name, "unreadable", f"It cannot be opened ({type(error).__name__}); check its permissions."))
            continue
        if kind:
            kinds[path] = kind
        else:
            problems.append(Problem(name, "not_an_image", "This is not DICOM, NIfTI, PNG, JPEG, TIFF or BMP; it is left out."))
    return kinds, problems


def _by_name(entries: Iterable[Entry], root: Path) -> dict[str, list[Entry]]:
    """Entries by every name that a table may use: the id, a file, or a folder above the files of a DICOM series."""
    names: dict[str, list[Entry]] = {}
    for entry in entries:
        meant = {entry.id, *(name_of(path, root) for path in entry.files)}
        if entry.origin.series_uid:
            meant |= {name_of(folder, root) for path in entry.files for folder in path.parents if root in folder.parents}
        for name in meant:
            names.setdefault(name, []).append(entry)
    return names


def _folders(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{name}/" for name in names)


def _sorted_index(root: Path, entries: Iterable[Entry], problems: Iterable[Problem]) -> Index:
    return Index(root, tuple(sorted(entries, key=lambda e: e.id)), tuple(sorted(problems, key=lambda p: p.path)))
