"""The module for 3D Slicer: what it reads of a scoring, and, with Slicer's own library, what it shows."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from export_phantoms import GEOMETRIES, LESION, PICTURE, PICTURE_LESION, SCALE, blob, grey
from PIL import Image
from toy_run import toy_run_on_disk

from medood.core.geometry import Geometry
from medood.export.colours import colour_table
from medood.export.maps import write_map, write_mask, write_nrrd, write_png16
from medood.tasks.scoring.score import score_folder

TESTS = Path(__file__).parents[1]
MODULE = TESTS.parent / "examples" / "slicer" / "MedoodOverlay.py"
SLICER_PYTHON = os.environ.get("MEDOOD_SLICER_PYTHON")
needs_slicer = pytest.mark.skipif(
    not SLICER_PYTHON, reason="set MEDOOD_SLICER_PYTHON to a Python with slicer-core to run the module with 3D Slicer's own library"
)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module with stand-ins for what only Slicer has."""
    scripted = ModuleType("slicer.ScriptedLoadableModule")
    for part in ("", "Widget", "Logic", "Test"):
        setattr(scripted, f"ScriptedLoadableModule{part}", type("Parent", (), {}))
    for stand_in in (ModuleType("slicer"), ModuleType("vtk"), scripted):
        monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    spec = importlib.util.spec_from_file_location("MedoodOverlay", MODULE)
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "MedoodOverlay", loaded)
    spec.loader.exec_module(loaded)
    return loaded


def maps_folder(folder: Path, geometry: Geometry, voxel: tuple[int, int, int], hidden: np.ndarray | None = None, root: str = "") -> Path:
    """An image, its map and the list, as medood writes them."""
    maps = folder / "maps"
    maps.mkdir(parents=True)
    line: dict[str, object] = {"id": "image.nrrd", "name": "image", "map": "image_map.nrrd", "not_examined": None}
    write_nrrd(folder / "image.nrrd", grey(geometry)[0], geometry)
    write_map(maps / "image_map.nrrd", blob(geometry, voxel, 2.5), geometry)
    if hidden is not None:
        write_mask(maps / "hidden.nrrd", hidden, geometry)
        line["not_examined"] = "hidden.nrrd"
    line["verdict"] = {"score": 2.0, "p_value": 0.01, "decision": "anomalous", "domain_reason": "", "issues": ""}
    (maps / "maps.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    header = {"version": 2, "run": "run", "scale": {"low": SCALE.low, "high": SCALE.high, "threshold": SCALE.threshold}}
    header["source"] = {"name": "folder", "root": root or str(folder), "parameters": {}}
    (maps / "maps.json").write_text(json.dumps(header), encoding="utf-8")
    return maps


def test_it_lists_the_cases_of_a_scoring_by_score(module: ModuleType, tmp_path: Path) -> None:
    """Of scores.csv and of maps.json, as a run really writes them; both agree with the table."""
    images, table, maps = tmp_path / "images", tmp_path / "scores.csv", tmp_path / "maps"
    images.mkdir()
    rng = np.random.default_rng(3)
    for number in range(4):
        Image.fromarray(rng.integers(0, 60 * (number + 1), (32, 32)).astype(np.uint8)).save(images / f"={number}.png")
    (images / "broken.png").write_bytes(b"no picture")
    score_folder(toy_run_on_disk(tmp_path / "run"), images, table, maps=maps)
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["level"] != "slice"]
    for source in (table, maps, maps / "maps.json"):
        results = module.read_results(source)
        scored = [case for case in results.cases if case.score is not None]
        assert [case.score for case in scored] == sorted((float(row["score"]) for row in rows if row["score"]), reverse=True)
        assert [case.id for case in scored] == [
            name for _, name in sorted((-float(r["score"]), r["id"].lstrip("'")) for r in rows if r["score"])
        ]
        assert {case.id: case.decision for case in scored} == {r["id"].lstrip("'"): r["decision"] for r in rows if r["score"]}
        assert {case.id: case.p_value for case in scored} == {r["id"].lstrip("'"): float(r["p_value"]) for r in rows if r["score"]}
        assert all((results.maps / case.line["map"]).is_file() for case in scored)
        assert all(module.image_place(case.id, results.images) == images / case.id for case in scored)
        assert results.scale["low"] < results.scale["high"]
    unscored = module.read_results(table).cases[4:]
    assert [(case.id, case.decision, case.line) for case in unscored] == [("broken.png", "error", {})]
    assert unscored[0].note


def test_folders_that_were_moved_together_are_found(module: ModuleType, tmp_path: Path) -> None:
    maps_folder(tmp_path / "there", GEOMETRIES["axial"], LESION)
    table = tmp_path / "there" / "scores.csv"
    table.write_text("level,id,slice,score,status\nslice,image.nrrd,3,9,ok\nseries,image.nrrd,,2,ok\n", encoding="utf-8")
    table.with_suffix(".json").write_text(json.dumps({"maps": "/gone/maps", "folder": "/gone"}), encoding="utf-8")
    results = module.read_results(table)
    assert results.maps == tmp_path / "there" / "maps"
    assert [(case.score, case.p_value, case.line["map"]) for case in results.cases] == [(2.0, None, "image_map.nrrd")]


def test_scores_alone_are_a_list(module: ModuleType, tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    table.write_text("level,id,slice,score,status\nimage,a,,,error\nimage,b,,1,ok\nimage,c,,nan,ok\nimage,d,,-2,ok\n", encoding="utf-8")
    results = module.read_results(table)
    assert (results.maps, [case.id for case in results.cases]) == (None, ["b", "d", "a", "c"])
    with pytest.raises(ValueError, match="no map of b"):
        module.MedoodOverlayLogic().show(results, results.cases[0])


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("maps.json", "{", "damaged"),
        ("maps.json", '{"scale": null}', "gives scores only"),
        ("other.json", "{}", "no folder of maps"),
        ("table.csv", "a,b\n1,2\n", "no table of `medood score`"),
    ],
)
def test_what_is_no_scoring_is_said_to_be_none(module: ModuleType, tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        module.read_results(tmp_path / name)


def test_a_list_that_broke_off_or_points_elsewhere_is_read_as_far_as_it_is_sound(module: ModuleType, tmp_path: Path) -> None:
    maps = maps_folder(tmp_path, GEOMETRIES["axial"], LESION)
    with (maps / "maps.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"id": "b", "map": "../../secret.nrrd"}\n[1]\nnull\n{"id": "c", "ma')
    assert [case.id for case in module.read_results(maps).cases] == ["image.nrrd"]


def test_images_are_looked_for_below_their_folder_alone(module: ModuleType, tmp_path: Path) -> None:
    root = tmp_path / "study"
    (root / "series").mkdir(parents=True)
    (root / "odd#2").mkdir()
    (tmp_path / "outside").mkdir()
    assert module.image_place("series", root) == root / "series"
    assert module.image_place("series#2", root) == root / "series"
    assert module.image_place("odd#2", root) == root / "odd#2"
    assert module.image_place("study", root) == module.image_place("study#1", root) == root
    assert module.image_place("../outside", root) is None
    assert module.image_place(str(tmp_path / "outside"), root) is None
    assert module.image_place("gone", root) is module.image_place("series", None) is None


def test_its_colours_are_medoods_own(module: ModuleType) -> None:
    np.testing.assert_allclose(module.palette() * 255, colour_table(), atol=4)


def seen(folder: Path, *arguments: str) -> dict:
    command = [str(SLICER_PYTHON), str(TESTS / "support" / "slicer_module_check.py"), str(MODULE), *arguments, "red.png"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@needs_slicer
@pytest.mark.slow
@pytest.mark.parametrize("name", GEOMETRIES)
def test_slicer_shows_a_case_where_it_is_hot(name: str, tmp_path: Path) -> None:
    geometry, hidden = GEOMETRIES[name], np.zeros(GEOMETRIES[name].shape, bool)
    hidden[:, :, -3:] = True
    maps_folder(tmp_path, geometry, LESION, hidden)
    found = seen(tmp_path, "maps", "image.nrrd")
    assert found["complaints"] == ""
    assert found["said"] == "image.nrrd: anomalous. For research only."
    np.testing.assert_allclose(found["crosshair"], geometry.world(LESION), atol=1e-3)
    assert all(view["pixels"] > 40 for view in found["views"].values())
    assert found["colours"] == ["medood", 256]
    assert found["scale"] == [SCALE.low, SCALE.high, SCALE.threshold]
    assert found["hidden"]["pixels"] > 100
    assert found["nodes"] == 3, "those of the case before are removed"


@needs_slicer
@pytest.mark.slow
def test_slicer_shows_the_map_of_a_picture(tmp_path: Path) -> None:
    """16-bit PNG: its numbers get back what they mean, and the image its place."""
    maps = maps_folder(tmp_path, PICTURE, PICTURE_LESION)
    array = blob(PICTURE, PICTURE_LESION)
    write_png16(maps / "image_map.png", array, -1.0, 2.0)
    line = json.loads((maps / "maps.jsonl").read_text()) | {"map": "image_map.png", "ranges": {"map": [-1.0, 2.0]}}
    (maps / "maps.jsonl").write_text(json.dumps(line))
    found = seen(tmp_path, "maps", "image.nrrd")
    assert found["complaints"] == ""
    np.testing.assert_allclose(found["crosshair"], PICTURE.world(PICTURE_LESION), atol=1e-3)
    assert 40 < found["views"]["Red"]["pixels"] < 20_000, "below the threshold nothing is drawn"


@needs_slicer
@pytest.mark.slow
def test_without_its_image_the_map_is_shown_alone(tmp_path: Path) -> None:
    maps_folder(tmp_path, GEOMETRIES["axial"], LESION, root="/gone")
    found = seen(tmp_path, "maps", "image.nrrd")
    assert "not where it was scored" in found["said"]
    assert found["nodes"] == 1
