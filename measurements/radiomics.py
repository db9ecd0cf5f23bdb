"""A table of region properties, as radiomics has them, of the FLAIR slices: one row a slice, for the source `numbers`.

    python measurements/radiomics.py DATA --out TABLES
    medood benchmark flows_radiomics --data TABLES

Of every slice of DATA/splits/lgg_flair.csv, prepared as `head_picture` does: the region inside the head, its rim of 20 pixels left out,
that is brighter than the head's median by 1.5 interquartile ranges, and of that the largest connected part. No mask of a tumour is looked
at, so that slices with and without one are treated alike. TABLES/radiomics.csv has columns group, label and part as in the split, and
numbers that have no unit but pixels and interquartile ranges. Prints how well each of them alone tells the test slices apart.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion
from skimage.measure import label, regionprops

from medood.data.opening import open_source
from medood.metrics.ranking import auroc, curve
from medood.recipe.loading import load_preparation
from medood.transforms.pipeline import Pipeline

RIM, RING = 20, 5  # pixels
BRIGHT = 0.05 + 0.095 * (4 + 1.5)
"""1.5 interquartile ranges above the head's median, in the range of `head_picture`."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/radiomics"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = list(table(options.data))
    with (options.out / "radiomics.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} slices of {len({row['group'] for row in rows})} patients, {len(rows[0]) - 3} numbers each")
    test = [row for row in rows if row["part"] == "test"]
    labels = np.array([row["label"] for row in test])
    for name in list(rows[0])[3:]:
        print(f"{name}, higher: {auroc(curve(np.array([row[name] for row in test]), labels)):.3f}")


def table(data: Path) -> Iterator[dict[str, Any]]:
    source, pipeline = open_source("folder", data, csv="splits/lgg_flair.csv"), Pipeline(load_preparation("head_picture"))
    for entry in source.index().entries:
        (image,) = pipeline.prepare(source.read(entry)).images[:, 0]
        found = {name: round(float(value), 5) for name, value in numbers(image).items()}
        yield {"group": entry.group, "label": entry.label, "part": entry.part} | found


def numbers(image: np.ndarray) -> dict[str, float]:
    """Of a prepared slice (height, width), 0 outside the head."""
    head = image > 0
    inside = binary_erosion(head, iterations=RIM)
    inside = inside if inside.any() else head
    bright = inside & (image > BRIGHT)
    parts = label(bright)
    (whole,) = regionprops(head.astype(int))
    found = {
        "head_area": whole.area,
        "head_eccentricity": whole.eccentricity,
        "bright_share": bright.sum() / inside.sum(),
        "bright_parts": parts.max(),
        "inside_p90": np.quantile(image[inside], 0.9),
        "inside_p99": np.quantile(image[inside], 0.99),
        "inside_deviation": image[inside].std(),
    }
    return found | _of_largest(image, head, whole, parts)


def _of_largest(image: np.ndarray, head: np.ndarray, whole: Any, parts: np.ndarray) -> dict[str, float]:
    """Shape and grey values of the largest part; all zero where nothing is bright."""
    names = ("area", "eccentricity", "solidity", "extent", "roughness", "mean", "deviation", "contrast", "off_centre", "mirror_gap")
    if not parts.max():
        return dict.fromkeys(names, 0.0)
    largest = max(regionprops(parts), key=lambda part: part.area)
    mask = parts == largest.label
    ring = binary_dilation(mask, iterations=RING) & ~mask & head
    away = np.subtract(largest.centroid, whole.centroid)
    column = 2 * round(whole.centroid[1]) - np.arange(image.shape[1])
    mirrored = np.where((column >= 0) & (column < image.shape[1]), image[:, column.clip(0, image.shape[1] - 1)], 0)
    values = (
        largest.area,
        largest.eccentricity,
        largest.solidity,
        largest.extent,
        largest.perimeter / np.sqrt(largest.area),
        image[mask].mean(),
        image[mask].std(),
        image[mask].mean() - (image[ring].mean() if ring.any() else 0.0),
        np.hypot(*away) / np.sqrt(whole.area),
        image[mask].mean() - mirrored[mask].mean(),
    )
    return dict(zip(names, map(float, values), strict=True))


if __name__ == "__main__":
    main()
