"""What a run says of one image, and of a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medood.core.errors import MedoodError
from medood.core.files.table_file import read_cells, unguarded
from medood.core.geometry import Geometry
from medood.core.map_scale import MapScale
from medood.export.maps import is_sheared, nifti_image, write_map

if TYPE_CHECKING:
    import nibabel
    import pandas
    import SimpleITK

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_NUMBERS = ("score", "p_value")


@dataclass(frozen=True)
class SliceResult:
    """What a run says of one slice of a volume.

    number    of the slice along the axis that the volume was cut along; along the axis of acquisition, that of `Volume.image`
    score     higher is more anomalous; None for a slice that was not examined, and then `reason` says why
    p_value   share of normal slices with such a score or a higher one, between 0 and 1: small is anomalous
    decision  as in scores.csv: "normal", "anomalous" or "out_of_domain"; None without a score
    parts     components of the score by name
    """

    number: int
    score: float | None
    p_value: float | None
    decision: str | None
    parts: Mapping[str, float]
    reason: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """What a run says of one image or volume.

    score            higher is more anomalous; of a volume, from the scores of its slices; None when no slice could be examined
    p_value          share of normal images (or series) with such a score or a higher one, between 0 and 1; None when the run was
                     calibrated on too few, and then `reason` says so
    decision         as in scores.csv: "normal" or "anomalous" at the run's false-alarm rate, None without a p-value; "out_of_domain" when
                     neither can be said, see `domain_reason`
    parts            components of the score of a single image by name; those of a volume are with its slices
    slices           of a volume, in order; empty for a single image
    in_domain        whether this is the kind of image that the run was trained on; None for a run without a gate
    domain_p         how usual it is among images of that kind, between 0 and 1: small is another kind; None without a gate
    domain_reason    why it is of another kind, in words, each a reason by itself; the score means little unless it is empty
    issues           codes of what is odd about the file but not fatal, such as `gantry_tilt:15.0`
    examined_share   of the body (of the volume where the body is not known) that the run has seen, 0..1
    map              float32, higher is more anomalous, with the shape of the array, tensor or image that was given, without channels; of a
                     file, (slices, rows, columns), or (rows, columns) of a single slice. None for a method without maps. Its values are
                     not clamped; colour them by `map_scale`, as all pictures of medood are
    examined         bool, of the shape of the map: False where nothing was examined, so that the map says nothing there; None without one
    geometry         where (slices, rows, columns) lie in the patient
    rows             the rows that `medood score` writes about it
    """

    id: str
    score: float | None
    p_value: float | None
    decision: str | None
    reason: str
    parts: Mapping[str, float]
    slices: tuple[SliceResult, ...]
    in_domain: bool | None
    domain_p: float | None
    domain_reason: tuple[str, ...]
    issues: tuple[str, ...]
    examined_share: float
    map: np.ndarray | None
    examined: np.ndarray | None
    map_scale: MapScale | None
    geometry: Geometry
    rows: Sequence[Mapping[str, Any]]
    _grid: np.ndarray | None

    def __repr__(self) -> str:
        what = [f"{name}={getattr(self, name)!r}" for name in ("id", "score", "p_value", "decision")]
        what += [f"slices={len(self.slices)}"] if self.slices else []
        what += [f"{name}={value!r}" for name, value in (("domain_reason", self.domain_reason), ("issues", self.issues)) if value]
        return f"Result({', '.join(what)}, map={'None' if self.map is None else f'array of {self.map.shape}'})"

    def to_nibabel(self) -> nibabel.Nifti1Image:
        """The map as an image of nibabel with the affine of the input; its array is (columns, rows, slices).

        Raises MedoodError without a map.
        """
        return nifti_image(self._map_grid(), self.geometry)

    def to_simpleitk(self) -> SimpleITK.Image:
        """The map as an image of SimpleITK on the grid of the input: 2-D for a photograph, else 3-D.

        Raises MedoodError without a map, and for a sheared grid (gantry tilt), which SimpleITK cannot hold.
        """
        import SimpleITK as sitk

        grid, size = self._map_grid(), 3 if self.geometry.in_patient or self.geometry.shape[0] > 1 else 2
        if is_sheared(self.geometry):
            raise MedoodError(f"{self.id}: SimpleITK cannot hold this sheared grid (gantry tilt): use to_nibabel, or save_map with .nrrd.")
        affine = _LPS @ self.geometry.affine
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        image = sitk.GetImageFromArray(grid if size == 3 else grid[0])
        image.SetSpacing(spacing[:size].tolist())
        image.SetOrigin(affine[:size, 3].tolist())
        image.SetDirection((affine[:3, :3] / spacing)[:size, :size].ravel().tolist())
        return image

    def save_map(self, path: str | Path) -> Path:
        """Write the map in the geometry of the input: `.nrrd`, `.nii.gz` or `.nii`. Raises MedoodError without a map."""
        write_map(Path(path), self._map_grid(), self.geometry)
        return Path(path)

    def _map_grid(self) -> np.ndarray:
        """(slices, rows, columns)."""
        if self._grid is None:
            why = "no slice could be examined" if self.map_scale else "the method gives scores only"
            raise MedoodError(f"There is no map of {self.id}: {why}.")
        return self._grid


def numbers_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Score, p-value, decision, reason and parts of a row of scores.csv."""
    parts = {key.removeprefix("part_"): float(value) for key, value in row.items() if key.startswith("part_") and value not in ("", None)}
    numbers = {key: None if row.get(key) in ("", None) else float(row[key]) for key in _NUMBERS}
    return numbers | {"decision": row.get("decision") or None, "reason": row.get("reason", ""), "parts": parts}


@dataclass(frozen=True, repr=False)
class FolderResult:
    """What a run says of a folder: the rows of scores.csv, each a dict, with numbers as numbers and None where a cell is empty.

    Iterate over it, or take `rows`; `series` has one row for every series and single image, without those of slices and of files that
    could not be used, and `failed` the rows of files and series that could not be scored. `path` is the scores.csv, if one was asked for.
    """

    rows: tuple[dict[str, Any], ...]
    path: Path | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"FolderResult({len(self.rows)} rows: {len(self.series)} of series and images, {len(self.failed)} failed; path={self.path})"

    @property
    def series(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["level"] in ("image", "series")]

    @property
    def failed(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["status"] == "error"]

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a table of pandas, which medood does not install."""
        try:
            import pandas as pd
        except ImportError as error:
            raise MedoodError("pandas is not installed: `pip install pandas`, or use `rows`.") from error
        return pd.DataFrame(list(self.rows))


def read_rows(path: Path) -> tuple[dict[str, Any], ...]:
    """The rows of a scores.csv that medood has just written."""
    (_, columns), *lines = read_cells(path)
    return tuple({column: _value(column, text) for column, text in zip(columns, cells, strict=True)} for _, cells in lines)


def _value(column: str, text: str) -> Any:
    if text == "":
        return None if column not in ("reason", "domain_reason", "issues") else ""
    if column == "slice":
        return int(text)
    return float(text) if column in (*_NUMBERS, "domain_p") or column.startswith(("part_", "plain_")) else unguarded(text)
