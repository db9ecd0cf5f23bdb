"""What kind of images lie in a folder, from a handful of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

import numpy as np

from medood.core.errors import MedoodError
from medood.core.volume import Entry, Problem, Source, Volume
from medood.data.attempt import attempt
from medood.transforms.foreground import Foreground

_LOOKED_AT = 12
_OUTSIDE = 0.15  # share of a volume that is no body before it counts as surroundings
_NO_COLOUR = 0.01  # of the largest value: what JPEG leaves between the channels of a grey picture

Surroundings = Literal["none", "constant", "air"]
Value = TypeVar("Value", bool, Surroundings)


@dataclass(frozen=True)
class Survey:
    """What is alike in the images of a folder.

    colour        whether most are RGB pictures with colours in them
    volumes       whether they are volumes of neighbouring slices, and not single pictures
    surroundings  of the body: "none", "constant" (one value, as after skull-stripping), "air" (dark, but not constant)
    extent_mm     the longest side of a slice, the largest of those looked at; None where millimetres are unknown
    facts         sentences for the user
    """

    colour: bool
    volumes: bool
    surroundings: Surroundings
    extent_mm: float | None
    facts: tuple[str, ...]


def look(source: Source, entries: Sequence[Entry]) -> Survey:
    """Read a handful of evenly spaced entries. Raises MedoodError when none of them can be read."""
    step = max(1, len(entries) // _LOOKED_AT)
    found = [attempt(partial(_seen, source), entry) for entry in entries[::step][:_LOOKED_AT]]
    seen = [each for each in found if not isinstance(each, Problem)]
    if not seen:
        first = next(each for each in found if isinstance(each, Problem))
        raise MedoodError(f"None of the {len(found)} images that were looked at can be read; the first is {first.path}: {first.message}")
    volumes = _most([each.slices > 1 for each in seen])
    alike = [each for each in seen if (each.slices > 1) == volumes]
    colour = not volumes and _most([each.colour for each in alike])
    around = _most([each.surroundings for each in alike])
    spacings = [each.spacing for each in alike if each.spacing is not None]
    extents = [max(each.rows * dy, each.columns * dx) for each in alike if each.spacing for dx, dy, _ in [each.spacing]]
    known = len(spacings) == len(alike)
    facts = (_kind(alike, volumes, colour, around), *_sizes(alike), *_spacing(spacings, known, volumes), *_mixed(seen, alike, colour))
    return Survey(colour, volumes, around, max(extents) if known else None, facts)


@dataclass(frozen=True)
class _Seen:
    colour: bool
    slices: int
    rows: int
    columns: int
    spacing: tuple[float, float, float] | None
    surroundings: Surroundings


def _seen(source: Source, entry: Entry) -> _Seen:
    volume = source.read(entry)
    slices, rows, columns = volume.geometry.shape
    spacing = volume.geometry.spacing if volume.geometry.spacing_known else None
    return _Seen(_has_colour(volume), slices, rows, columns, spacing, _surroundings(volume))


def _has_colour(volume: Volume) -> bool:
    image = volume.image
    return len(image) == 3 and float(np.ptp(image, axis=0).max()) > _NO_COLOUR * float(np.abs(image).max())


def _surroundings(volume: Volume) -> Surroundings:
    """A frame of one value, or of dark air that touches most of the border; a radiograph or a photograph fills its border."""
    data = {"image": volume.image} | ({} if volume.padding is None else {"padding": volume.padding[None]})
    if (~Foreground(method="background")(data)["foreground"]).mean() >= _OUTSIDE:
        return "constant"
    body = Foreground(method="otsu")(data)["foreground"][0]
    middle = body[body.shape[0] // 2]
    border = np.concatenate([middle[0], middle[-1], middle[:, 0], middle[:, -1]])
    return "air" if (~body).mean() >= _OUTSIDE and border.mean() < 0.1 else "none"


def _most(values: Sequence[Value]) -> Value:
    return Counter(values).most_common(1)[0][0]


def _kind(seen: Sequence[_Seen], volumes: bool, colour: bool, around: str) -> str:
    what = "volumes" if volumes else "RGB pictures" if colour else "grey pictures"
    slices = sorted({each.slices for each in seen})
    many = f" of {slices[0]} slices" if len(slices) == 1 else f" of {slices[0]} to {slices[-1]} slices"
    body = {
        "none": "which fill the whole image",
        "constant": "with one constant value around the body",
        "air": "with dark air around the body",
    }[around]
    return f"Found {what}{many if volumes else ''}, {body}."


def _sizes(seen: Sequence[_Seen]) -> list[str]:
    sizes = Counter((each.rows, each.columns) for each in seen)
    if len(sizes) == 1:
        ((rows, columns),) = sizes
        return [f"Size: {rows} x {columns} pixels."]
    down, across = zip(*sizes, strict=True)
    return [
        f"Sizes differ: {min(down)} to {max(down)} rows, {min(across)} to {max(across)} columns. All are brought to one size, with "
        "their proportions."
    ]


def _spacing(spacings: Sequence[tuple[float, float, float]], known: bool, volumes: bool) -> list[str]:
    if not known:
        return ["The size of a pixel in mm is not known for all, so a pixel of the prepared images counts as one."] if volumes else []
    texts = []
    for axis, name in ((0, "columns"), (1, "rows"), (2, "slices"))[: 3 if volumes else 2]:
        values = [spacing[axis] for spacing in spacings]
        low, high = min(values), max(values)
        texts.append(f"{name} {low:.3g} mm" if high - low < 0.01 * high else f"{name} {low:.3g} to {high:.3g} mm")
    return [f"Spacing: {', '.join(texts)}."]


def _mixed(seen: Sequence[_Seen], alike: Sequence[_Seen], colour: bool) -> list[str]:
    """What is not like the rest."""
    found = []
    if len(alike) < len(seen):
        one, rest = ("volumes", "single pictures") if alike[0].slices > 1 else ("single pictures", "volumes")
        found.append(
            f"Of {len(seen)} looked at, {len(alike)} are {one} and {len(seen) - len(alike)} {rest}, which are left out here. Leave them "
            "out of training too: name the images in a table."
        )
    others = sum(each.colour != colour for each in alike)
    if others:
        treated = "repeated in three channels" if colour else "made grey"
        found.append(f"Of {len(alike)} looked at, {others} are {'grey' if colour else 'in colour'}: they are {treated}.")
    return found
