"""A map over its image as one file that 3D Slicer opens."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from medood.core.errors import MedoodError
from medood.core.files.atomic import atomic_file
from medood.core.geometry import Geometry, orientation_towards
from medood.core.map_scale import MapScale
from medood.export.colours import Window, grey_window, is_colour
from medood.export.maps import write_map, write_mask, write_nrrd
from medood.export.mrml import ANATOMICAL, Files, View, colour_file_text, hidden_colour_file_text, scene_text

_MARGIN = 1.05
_PARTS = ("medood.ctbl", "not_examined.ctbl", "image.nrrd", "map.nrrd", "not_examined.nrrd")


def write_bundle(
    path: Path,
    image: np.ndarray,
    array: np.ndarray,
    geometry: Geometry,
    scale: MapScale,
    name: str,
    window: Window | None = None,
    hidden: np.ndarray | None = None,
) -> None:
    """Write a scene bundle (`.mrb`): double click it, or drop it into 3D Slicer 5.2 or newer, and the map lies over the image.

    image    (channels, slices, rows, columns): RGB is shown in colour, of anything else the first channel in grey, in `window`
    array    the map (slices, rows, columns); its highest value is in the middle of every slice view
    hidden   bool as the map, True where nothing was examined: shown in a colour of its own, as a label map
    name     how Slicer lists the volumes; the caller answers for its naming no person

    The bundle is a zip with the scene, the volumes as NRRD and the palettes. The same input gives the same bytes. Raises MedoodError when
    the shapes differ.
    """
    if not image.shape[1:] == array.shape == geometry.shape:
        raise MedoodError(
            f"A bundle needs one grid: the image has (slices, rows, columns) {image.shape[1:]}, the map {array.shape}, "
            f"their geometry {geometry.shape}."
        )
    colour = is_colour(image)
    focus = geometry.world(hottest_voxel(array))
    single = geometry.shape[0] == 1
    planes = ANATOMICAL | ({"Red": _own_plane(geometry)} if single else {})
    heights = {screen: _height(geometry, focus, axes) for screen, axes in planes.items()}
    window = (0.0, 255.0) if colour else window or grey_window(image[0])
    view = View(name, focus, planes, heights, window, colour, single)
    with tempfile.TemporaryDirectory() as folder:
        content = Path(folder)
        write_nrrd(content / "image.nrrd", _pixels(image, colour), geometry)
        write_map(content / "map.nrrd", array, geometry)
        (content / "medood.ctbl").write_bytes(colour_file_text().encode())
        files = Files("Data/image.nrrd", "Data/map.nrrd", "Data/medood.ctbl")
        if hidden is not None and hidden.any():
            write_mask(content / "not_examined.nrrd", hidden, geometry)
            (content / "not_examined.ctbl").write_bytes(hidden_colour_file_text().encode())
            files = replace(files, hidden="Data/not_examined.nrrd", hidden_colours="Data/not_examined.ctbl")
        (content / "scene.mrml").write_bytes(scene_text(view, scale, files))
        with atomic_file(path) as part:
            _zip(content, part)


def hottest_voxel(array: np.ndarray) -> tuple[int, int, int]:
    """Index of the highest value (the first of several), or of the middle voxel when all values are equal."""
    if array.min() == array.max():
        k, j, i = (size // 2 for size in array.shape)
    else:
        k, j, i = (int(index) for index in np.unravel_index(np.argmax(array), array.shape))
    return k, j, i


def _pixels(image: np.ndarray, colour: bool) -> np.ndarray:
    """The image as Slicer shows it, in the smallest type that keeps its values: uint8 RGB, int16 or float32."""
    if colour:
        return np.moveaxis(image, 0, -1).astype(np.uint8)
    first, limits = image[0], np.iinfo(np.int16)
    whole = first.min() >= limits.min and first.max() <= limits.max and bool((first == np.rint(first)).all())
    return first.astype(np.int16 if whole else np.float32)


def _own_plane(geometry: Geometry) -> np.ndarray:
    """Axes of a slice view that shows the slices upright, as on a radiological display, without cutting through them."""
    axes = orientation_towards(geometry, "native").turn(geometry).affine[:3, :3]
    right, up = (axis / np.linalg.norm(axis) for axis in (axes[:, 0], -axes[:, 1]))
    return np.stack([right, up, np.cross(right, up)], axis=1)


def _height(geometry: Geometry, focus: np.ndarray, axes: np.ndarray) -> float:
    """Millimetres that a square slice view around `focus` needs to show the whole volume."""
    slices, rows, columns = geometry.shape
    ends = np.meshgrid((-0.5, columns - 0.5), (-0.5, rows - 0.5), (-0.5, slices - 0.5))
    corners = np.stack([end.ravel() for end in ends]).T @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]
    on_screen = (corners - focus) @ axes[:, :2]
    return float(2 * _MARGIN * np.abs(on_screen).max())


def _zip(content: Path, path: Path) -> None:
    """Slicer takes the scene nearest to the root, and its files from where the scene says; times and systems are fixed."""
    with zipfile.ZipFile(path, "w") as bundle:
        for name in ("scene.mrml", *(f"Data/{part}" for part in _PARTS)):
            file = content / Path(name).name
            if not file.exists():
                continue
            member = zipfile.ZipInfo(f"medood/{name}", date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system, member.external_attr = 3, 0o644 << 16
            packed = file.suffix == ".nrrd"  # gzipped already
            member.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
            with file.open("rb") as source, bundle.open(member, "w", force_zip64=file.stat().st_size > 2**31) as target:
                shutil.copyfileobj(source, target, 1 << 20)
