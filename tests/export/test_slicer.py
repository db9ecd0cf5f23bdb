"""Scenes as 3D Slicer itself reads them, and the script that runs inside it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from export_phantoms import GEOMETRIES, LESION, PICTURE, PICTURE_LESION, SCALE, blob, colour, grey
from PIL import Image

from medood.core.geometry import Geometry
from medood.export.maps import write_map, write_png16
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


class Recorder:
    """A node of Slicer that remembers what was set."""

    def __init__(self) -> None:
        self.calls: dict[str, tuple] = {}

    def __getattr__(self, name: str):
        return lambda *values: self.calls.__setitem__(name, values)


class Volume(Recorder):
    def __init__(self, path: str, affine: np.ndarray) -> None:
        super().__init__()
        self.path, self.affine, self.display = path, affine, Recorder()

    def GetDisplayNode(self) -> Recorder:
        return self.display

    def GetIJKToRASMatrix(self, matrix: SimpleNamespace) -> None:
        matrix.MultiplyPoint = lambda point: tuple(self.affine @ point)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):
    """The script with stand-ins for the two modules that only Slicer has, and a record of what it asked of them."""
    geometry, said = GEOMETRIES["oblique"], SimpleNamespace(loaded=[], layers={}, place=None, legend=Recorder())
    slicer, vtk = ModuleType("slicer"), ModuleType("vtk")

    def load(path: str, properties: dict | None = None) -> Volume:
        said.loaded.append((Path(path).name, properties))
        return Volume(path, geometry.affine)

    slicer.util = SimpleNamespace(
        loadVolume=load, setSliceViewerLayers=said.layers.update, arrayFromVolume=lambda volume: blob(geometry, LESION)
    )
    legends = SimpleNamespace(AddDefaultColorLegendDisplayNode=lambda volume: said.legend)
    slicer.modules = SimpleNamespace(colors=SimpleNamespace(logic=lambda: legends))
    slicer.mrmlScene = "scene"
    slicer.vtkMRMLSliceNode = SimpleNamespace(OffsetJumpSlice="offset", JumpAllSlices=lambda *values: setattr(said, "place", values))
    vtk.vtkMatrix4x4 = SimpleNamespace
    monkeypatch.setitem(sys.modules, "slicer", slicer)
    monkeypatch.setitem(sys.modules, "vtk", vtk)
    spec = importlib.util.spec_from_file_location("slicer_overlay", TESTS.parent / "examples" / "slicer_overlay.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, said


def test_the_script_shows_the_map_on_the_scale_of_the_run(script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, said = script
    write_map(tmp_path / "000001.nrrd", blob(GEOMETRIES["oblique"], LESION), GEOMETRIES["oblique"])
    (tmp_path / "maps.json").write_text(json.dumps({"version": 2, "scale": {"low": 0.2, "high": 0.9, "threshold": 0.4}}))
    monkeypatch.setattr(sys, "argv", ["slicer_overlay.py", str(tmp_path / "ct.nrrd"), str(tmp_path / "000001.nrrd")])
    module.main()
    assert said.loaded == [("000001.nrrd", {"show": False}), ("ct.nrrd", None)]
    heat = said.layers["foreground"]
    assert [Path(said.layers[key].path).name for key in ("background", "foreground")] == ["ct.nrrd", "000001.nrrd"]
    assert heat.display.calls["SetWindowLevelMinMax"] == (0.2, 0.9)
    assert heat.display.calls["SetThreshold"][0] == 0.4
    assert {"AutoWindowLevelOff", "AutoThresholdOff", "ApplyThresholdOn"} <= set(heat.display.calls)
    assert said.legend.calls["SetTitleText"] == ("anomaly score",)
    np.testing.assert_allclose(said.place[1:4], GEOMETRIES["oblique"].world(LESION), atol=1e-9)


def test_the_script_reads_what_the_numbers_of_a_png_mean(script, tmp_path: Path) -> None:
    module, _ = script
    array = blob(PICTURE, PICTURE_LESION) * 3
    write_png16(tmp_path / "b_map.png", array, -1.0, 4.0)
    lines = [{"map": "a_map.png", "ranges": {"map": [0, 1]}}, {"map": "b_map.png", "ranges": {"map": [-1.0, 4.0]}}]
    (tmp_path / "maps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    stored = np.asarray(Image.open(tmp_path / "b_map.png"))
    np.testing.assert_allclose(module.values(stored, tmp_path / "b_map.png"), array[0], atol=1e-4)
