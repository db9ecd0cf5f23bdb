"""Scenes as 3D Slicer itself reads them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from export_phantoms import GEOMETRIES, LESION, PICTURE, PICTURE_LESION, SCALE, blob, colour, grey

from medood.core.geometry import Geometry
from medood.export.scene import write_bundle

TESTS = Path(__file__).parents[1]
SLICER_PYTHON = os.environ.get("MEDOOD_SLICER_PYTHON")
needs_slicer = pytest.mark.skipif(
    not SLICER_PYTHON, reason="set MEDOOD_SLICER_PYTHON to a Python with slicer-core to open scenes with 3D Slicer's own library"
)
OBLIQUE_SLICE = Geometry(GEOMETRIES["oblique"].affine, (1, *GEOMETRIES["oblique"].shape[1:]))


def seen_by_slicer(
    folder: Path, geometry: Geometry, voxel: tuple[int, int, int], image: np.ndarray, hidden: np.ndarray | None = None
) -> dict:
    write_bundle(folder / "case.mrb", image, blob(geometry, voxel, 2.5), geometry, SCALE, "a <b> & ü", hidden=hidden)
    command = [SLICER_PYTHON, str(TESTS / "support" / "slicer_scene_check.py"), "case.mrb", "red.png"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@needs_slicer
@pytest.mark.slow
@pytest.mark.parametrize(
    ("geometry", "voxel", "image", "views"),
    [
        *((geometry, LESION, grey(geometry), ("Red", "Green", "Yellow")) for geometry in GEOMETRIES.values()),
        (OBLIQUE_SLICE, (0, 15, 5), grey(OBLIQUE_SLICE), ("Red",)),
        (PICTURE, PICTURE_LESION, grey(PICTURE), ("Red",)),
        (PICTURE, PICTURE_LESION, colour(PICTURE), ("Red",)),
    ],
    ids=[*GEOMETRIES, "one_oblique_slice", "grey_picture", "photograph"],
)
def test_slicer_shows_the_lesion_in_the_middle_of_every_view(
    geometry: Geometry, voxel: tuple[int, int, int], image: np.ndarray, views: tuple[str, ...], tmp_path: Path
) -> None:
    found = seen_by_slicer(tmp_path, geometry, voxel, image)
    assert found["complaints"] == ""
    background, heat = found["volumes"]
    assert (background["name"], heat["name"]) == ("a <b> & ü", "a <b> & ü anomaly map")
    np.testing.assert_allclose(heat["highest"], geometry.world(voxel), atol=1e-3)
    if len(image) == 1:
        np.testing.assert_allclose(background["highest"], geometry.world(tuple(size - 1 for size in geometry.shape)), atol=1e-3)
    for view in views:
        assert found["views"][view]["pixels"] > 40
        np.testing.assert_allclose(found["views"][view]["centre"], 0, atol=2)
    assert found["legend"] == ["anomaly score", "medood", SCALE.low, SCALE.high]
    assert found["layout"] == (3 if len(views) == 3 else 6)
    assert (background["class"] == "vtkMRMLVectorVolumeNode") == (len(image) == 3)


@needs_slicer
@pytest.mark.slow
@pytest.mark.parametrize("image", [grey(PICTURE), colour(PICTURE)], ids=["grey", "rgb"])
def test_slicer_shows_what_was_not_examined(image: np.ndarray, tmp_path: Path) -> None:
    hidden = np.zeros(PICTURE.shape, bool)
    hidden[0, :10, :15] = True  # the upper left corner
    found = seen_by_slicer(tmp_path, PICTURE, (0, 20, 30), image, hidden)
    assert found["complaints"] == ""
    assert (found["hidden"]["name"], found["hidden"]["label"]) == ("a <b> & ü not examined", "not examined")
    assert found["hidden"]["pixels"] > 1000
    right, up = found["hidden"]["centre"]
    assert right < -50
    assert up > 30
    assert seen_by_slicer(tmp_path, PICTURE, (0, 20, 30), image)["hidden"] is None


@needs_slicer
@pytest.mark.slow
def test_slicer_shows_a_picture_upright(tmp_path: Path) -> None:
    """Bright below and, less so, at the right: seen so, it is neither mirrored nor turned."""
    r, c = np.indices(PICTURE.shape)[1:]
    found = seen_by_slicer(tmp_path, PICTURE, (0, 20, 30), (10 * r + 2 * c).astype(np.float32)[np.newaxis])
    right, up = found["views"]["Red"]["brighter"]
    assert right > 0 > up
    assert abs(up) > abs(right)
