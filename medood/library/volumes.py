"""Files as volumes, without any detector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medood.core.errors import InputError
from medood.core.volume import Entry, Problem, Source, Volume
from medood.data.attempt import attempt
from medood.data.opening import open_source


class Volumes(list[Volume]):
    """The volumes of a folder, in the order of their ids; `problems` says what could not be used, and why."""

    problems: tuple[Problem, ...] = ()


def read(path: str | Path, *, source: str = "folder", **parameters: Any) -> Volumes:
    """Every volume below `path`, decoded into physical values: HU for CT, 0..255 for photographs, MONOCHROME1 already inverted.

    path        a file (picture, NIfTI, DICOM) or a folder with its sub-folders, told apart by content; DICOM files become series,
                sorted by position
    source      "folder", or a cohort whose own labels and masks are wanted; `medood sources` lists them
    parameters  of the source; `csv="labels.csv"` names a table below the folder

    A volume has `image` float32 (channels, slices, rows, columns), `geometry` (its affine maps (column, row, slice) to RAS millimetres),
    `labels`, `mask`, and `entry` with its id, files, patient group, modality and UIDs. What is odd about it but not fatal stands in
    `volume.entry.issues` (from the headers) and `volume.issues` (from the pixels). What cannot be used is in `problems` of the list: one
    damaged file never hides the others. Everything is held in memory; for more than that, use `medood.open_source`.

    Raises InputError when there is no such path, or when `path` is one file that cannot be used.

    >>> import medood, tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> medood.write_phantoms(folder / "images", subjects=1, size=32, slices=8)
    >>> [volume] = medood.read(folder / "images" / "dicom")
    >>> volume.image.shape, volume.geometry.spacing, volume.entry.origin.modality
    ((1, 8, 32, 32), (6.0, 6.0, 18.5), 'MR')
    """
    reader = open_source(source, _present(path), **parameters)
    index = reader.index()
    found, problems = Volumes(), list(index.problems)
    for entry in index.entries:
        volume = attempt(reader.read, entry)
        if isinstance(volume, Problem):
            problems.append(volume)
        else:
            found.append(volume)
    found.problems = tuple(sorted(problems, key=lambda problem: problem.path))
    if not found and Path(path).is_file():
        raise refusal(found.problems[0]) if found.problems else InputError(f"{path}: holds no image.", "no_image")
    return found


def the_one(path: str | Path, **parameters: Any) -> tuple[Source, Entry]:
    """The one image or series at `path`, not decoded yet, and the source to read it with. Raises InputError unless there is just one."""
    reader = open_source("folder", _present(path), **parameters)
    index = reader.index()
    if len(index.entries) == 1:
        return reader, index.entries[0]
    if index.entries:
        names = ", ".join(entry.id for entry in index.entries[:3]) + (", ..." if len(index.entries) > 3 else "")
        raise InputError(f"{path} holds {len(index.entries)} images or series ({names}): use score_folder, or name one of them.", "several")
    if index.problems:
        raise refusal(index.problems[0])
    raise InputError(f"{path}: found no file at all. Expected DICOM, NIfTI, PNG, JPEG or TIFF images.", "empty")


def refusal(problem: Problem) -> InputError:
    return InputError(f"{problem.path}: {problem.message}", problem.code)


def _present(path: str | Path) -> Path:
    if not Path(path).exists():
        raise InputError(f"{path}: there is no such file or folder; check the path.", "not_found")
    return Path(path)
