"""How masks drawn from contours compare, convention by convention, with those that came with four lung CT series.

    python measurements/contour_conventions.py DATA

DATA is a folder of patients, each with `ct` (a DICOM series), a structure set RTSTRUCT*.dcm of one region, and `masks` (a PNG per slice,
named after the file of the slice): the radiomics phantom of CancerData (doi:10.17195/candat.2016.08.1).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from measuring import table
from PIL import Image, ImageDraw
from skimage.measure import grid_points_in_poly

from medood.core.geometry import Geometry
from medood.data.opening import open_source
from medood.sources.dicom.structures import read_structures

FINER = 8
Contour = np.ndarray
"""(row, column) of its points, in pixels; whole numbers are centres."""


def half_covered(contour: Contour, shape: tuple[int, int]) -> np.ndarray:
    """Pixels of which the contour encloses half or more, by 8 x 8 points in each."""
    fine = grid_points_in_poly((shape[0] * FINER, shape[1] * FINER), (contour + 0.5) * FINER - 0.5)
    return fine.reshape(shape[0], FINER, shape[1], FINER).mean((1, 3)) >= 0.5


def touched(contour: Contour, shape: tuple[int, int]) -> np.ndarray:
    """Pixels that the contour encloses or whose square its line passes through."""
    fine = grid_points_in_poly((shape[0] * FINER, shape[1] * FINER), (contour + 0.5) * FINER - 0.5)
    return fine.reshape(shape[0], FINER, shape[1], FINER).any((1, 3))


def cut_off_and_drawn(contour: Contour, shape: tuple[int, int]) -> np.ndarray:
    """Points cut off to whole pixels, and the line drawn too: what ImageDraw.polygon makes of contours that are given to it as they are."""
    picture = Image.new("1", (shape[1], shape[0]))
    ImageDraw.Draw(picture).polygon([(int(column), int(row)) for row, column in contour], outline=1, fill=1)
    return np.array(picture)


CONVENTIONS: dict[str, Callable[[Contour, tuple[int, int]], np.ndarray]] = {
    "half or more of the pixel within": half_covered,
    "pixel touched": touched,
    "points cut off to whole pixels, line drawn too": cut_off_and_drawn,
}


def contours_of(path: Path, geometry: Geometry) -> list[tuple[int, Contour]]:
    to_index = np.linalg.inv(geometry.affine)
    found = []
    for contour in pydicom.dcmread(path).ROIContourSequence[0].ContourSequence:
        points = np.array(contour.ContourData, float).reshape(-1, 3) * (-1, -1, 1)
        index = np.column_stack([points, np.ones(len(points))]) @ to_index.T
        found.append((round(index[:, 2].mean()), index[:, [1, 0]]))
    return found


def area(contour: Contour) -> float:
    rows, columns = contour.T
    return 0.5 * abs(np.dot(columns, np.roll(rows, 1)) - np.dot(rows, np.roll(columns, 1)))


def drawn(contours: list[tuple[int, Contour]], geometry: Geometry, convention: Callable) -> np.ndarray:
    mask = np.zeros(geometry.shape, bool)
    for number, contour in contours:
        mask[number] ^= convention(contour, geometry.shape[1:])
    return mask


def compare(patient: Path) -> list[dict[str, str]]:
    source = open_source("dicom", patient / "ct")
    entry = max(source.index().entries, key=lambda entry: entry.slices)
    geometry = source.read(entry).geometry
    files, given = [file.stem for file in entry.files], np.zeros(geometry.shape, bool)
    for picture in (patient / "masks").iterdir():
        given[files.index(picture.stem)] = np.asarray(Image.open(picture).convert("L")) > 0
    structures = next(patient.glob("RTSTRUCT*.dcm"))
    contours = contours_of(structures, geometry)
    masks = {"centre of the pixel within (medood)": read_structures(structures, geometry, "ct") > 0}
    masks |= {name: drawn(contours, geometry, convention) for name, convention in CONVENTIONS.items()}
    whole = sum(area(contour) for _, contour in contours)
    return [
        {"case": patient.name, "convention": name, **_agreement(mask, given), "area over that of the contours": f"{mask.sum() / whole:.3f}"}
        for name, mask in {**masks, "the masks that came with them": given}.items()
    ]


def _agreement(mask: np.ndarray, given: np.ndarray) -> dict[str, str]:
    away = np.argwhere(given).mean(0) - np.argwhere(mask).mean(0)
    return {
        "Dice": f"{2 * (mask & given).sum() / (mask.sum() + given.sum()):.4f}",
        "given masks lie beside it, rows and columns": f"{away[1]:+.2f}, {away[2]:+.2f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    print(table([row for patient in sorted(parser.parse_args().data.iterdir()) if patient.is_dir() for row in compare(patient)]))


if __name__ == "__main__":
    main()
