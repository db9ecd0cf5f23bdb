"""Reads the files of an entry into one volume, slice by slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from medood.core.errors import InputError
from medood.core.shield import kind_of, shield
from medood.core.volume import Entry, Voi, Volume
from medood.sources.annotation import slice_labels
from medood.sources.dicom.decoding.frames import Frames, MissingFrame, NoDecoder
from medood.sources.dicom.elements import MalformedHeader
from medood.sources.dicom.headers import open_file
from medood.sources.dicom.pixels import Slice, Unsupported, read_slice
from medood.sources.dicom.placement import geometry_of
from medood.sources.dicom.planes import Plane
from medood.sources.indexing import name_of

_AGAIN = "Copy or export it again."


def read_volume(entry: Entry, frames: Sequence[tuple[int, int]], root: Path) -> Volume:
    """Decodes the slices of an entry; `frames` gives for each the number of its file and of its frame in that file.

    The pixels of one file are held beside the volume at a time. Raises InputError.
    """
    image = padding = None
    planes: dict[int, Plane] = {}
    windows: dict[int, Voi] = {}
    issues: set[str] = set()
    for k, plane, decoded in _decoded(entry, frames, root):
        if image is None:
            channels, rows, columns = decoded.values.shape
            image = np.empty((channels, len(frames), rows, columns), np.float32)
        if decoded.values.shape != (image.shape[0], *image.shape[2:]):
            raise InputError(
                f"{entry.id}: {plane.file.name} differs in size or colour from the slices before it. {_AGAIN}", "mixed_geometry"
            )
        image[:, k] = decoded.values
        planes[k] = plane
        if decoded.voi is not None:
            windows[k] = decoded.voi
        issues.update(decoded.issues)
        if decoded.padding is not None:
            padding = np.zeros(image.shape[1:], bool) if padding is None else padding
            padding[k] = decoded.padding
    if image is None:
        raise InputError(f"{entry.id}: the entry names no file to read.", "unreadable")
    if padding is not None:
        _fill(image, padding)
        issues.add(f"padding_voxels:{np.count_nonzero(padding)}")
    return Volume(
        entry,
        image,
        geometry_of([planes[k] for k in range(len(frames))]),
        slice_labels(len(frames), entry.label),
        padding=padding,
        voi=tuple(windows[k] for k in range(len(frames))) if len(windows) == len(frames) else None,
        issues=tuple(sorted(issues.difference(entry.issues))),
    )


def _decoded(entry: Entry, frames: Sequence[tuple[int, int]], root: Path) -> Iterator[tuple[int, Plane, Slice]]:
    """Slice number, header and pixels of each slice, file by file."""
    wanted: dict[int, list[tuple[int, int]]] = {}
    for k, (file, frame) in enumerate(frames):
        wanted.setdefault(file, []).append((k, frame))
    for file, slices in wanted.items():
        path = entry.files[file]
        name = name_of(path, root) if path.is_relative_to(root) else path.name
        with shield(name, partial(_refusal, name)):
            dataset, layout, planes = open_file(path, name)
        pixels = Frames(dataset, layout)
        for k, frame in slices:
            with shield(name, partial(_refusal, name)):
                plane, decoded = planes[frame], read_slice(dataset, pixels, frame)
            yield k, plane, decoded


def _refusal(name: str, error: BaseException) -> InputError:
    """What a user reads about an error on the way. It quotes nothing from the file, and the error does not come along."""
    kind = kind_of(error)
    if isinstance(error, OSError):
        return InputError(f"{name}: the file cannot be opened ({kind}). Check that it is still there.", "unreadable")
    if isinstance(error, MalformedHeader):
        return InputError(f"{name}: the header's {error}. Correct it, or export the file again.", "unreadable")
    if isinstance(error, MissingFrame):
        return InputError(f"{name}: the file is cut off: it holds {error} frames. {_AGAIN}", "truncated")
    if isinstance(error, Unsupported):
        return InputError(
            f"{name}: the pixels are in {error}, which is not supported. Convert the file to RGB.", "pixel_decode:Unsupported"
        )
    tried, code = kind, kind
    if isinstance(error, NoDecoder):
        tried, code = str(error) or "no decoder for it", error.cause
    return InputError(
        f"{name}: the pixels cannot be decoded ({tried}); the file is damaged, cut off or of an unusual kind. {_AGAIN}",
        f"pixel_decode:{code}",
    )


def _fill(image: np.ndarray, padding: np.ndarray) -> None:
    """Gives padding the smallest value that was recorded, as if there were air."""
    lowest = np.min(image[0], where=~padding, initial=np.inf)
    image[0][padding] = lowest if np.isfinite(lowest) else 0.0
