from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dicom_writer import SECRET, write_series
from export_phantoms import GEOMETRIES, LESION, SCALE, blob, grey
from PIL import Image

from medood.core.errors import MedoodError
from medood.core.geometry import Geometry, photograph_geometry
from medood.data.opening import open_source
from medood.export.colours import colour_table
from medood.export.maps import read_map, write_map
from medood.export.names import FileNames
from medood.tasks.looking.overlay import overlay

HEADER = {"version": 2, "run": "demo", "scale": {"low": 0.0, "high": 1.0, "threshold": 0.3}}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """An oblique series whose files are full of identifiers, and a photograph."""
    root = tmp_path / "images"
    window = {"WindowCenter": 60.5, "WindowWidth": 401}
    write_series(root / "series a", grey(GEOMETRIES["oblique"])[0].astype(np.int16), GEOMETRIES["oblique"], extra=window)
    pixels = np.full((40, 60, 3), (200, 150, 120), np.uint8)
    Image.fromarray(pixels).save(root / "skin.png")
    return root


def make_maps(folder: Path, root: Path, **changes: object) -> Path:
    """What `medood score --maps` leaves: a blob for every entry, at the voxel LESION or at row 8, column 45 of a photograph."""
    folder.mkdir()
    place = {"name": "folder", "root": str(root), "parameters": {}}
    (folder / "maps.json").write_text(json.dumps(HEADER | {"source": place} | changes))
    source, lines, names = open_source("folder", root), [], FileNames()
    for number, entry in enumerate(source.index().entries, 1):
        geometry = source.read(entry).geometry
        voxel = LESION if geometry.shape[0] > 1 else (0, 8, 45)
        write_map(folder / f"{number:06d}.nrrd", blob(geometry, voxel), geometry)
        count = geometry.shape[0]
        line = {
            "id": entry.id,
            "name": names.give(entry.id),
            "mark": entry.mark,
            "map": f"{number:06d}.nrrd",
            "axis": 0,
            "slices": list(range(count)),
        }
        verdict = {"score": 0.25, "p_value": 0.01, "decision": "anomalous", "examined": 1.0}
        line |= {"scores": [0.25] * count, "p_values": [0.01] * count, "verdict": verdict}
        lines.append(line | {"box": [[0, size] for size in geometry.shape]})
    (folder / "maps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def maps(images: Path, tmp_path: Path) -> Path:
    return make_maps(tmp_path / "maps", images)


def scene(path: Path) -> str:
    with zipfile.ZipFile(path) as bundle:
        return bundle.read("medood/scene.mrml").decode()


def test_a_scene_and_a_picture_for_every_map(images: Path, maps: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = overlay(maps, out)
    assert sorted(written) == sorted(out.iterdir())
    assert [path.name for path in written] == ["series_a.mrb", "series_a_overlay.png", "skin.mrb", "skin_overlay.png"]
    place = " ".join(text for text in scene(written[0]).split('sliceToRAS="')[1].split('"')[0].split()[3:12:4])
    np.testing.assert_allclose(np.array(place.split(), float), GEOMETRIES["oblique"].world(LESION), atol=1e-3)
    assert 'name="series a"' in scene(written[0])
    assert 'currentViewArrangement="6"' in scene(written[2])


def test_the_picture_of_a_photograph_is_the_photograph_with_the_lesion(maps: Path, tmp_path: Path) -> None:
    overlay(maps, tmp_path / "out", only=["skin.png"])
    with Image.open(tmp_path / "out/skin_overlay.png") as picture:
        shown = np.asarray(picture)[: 40 * 8 : 8, : 60 * 8 : 8]  # enlarged eight times, with words below and a colour bar beside it
    assert shown[30, 10].tolist() == [200, 150, 120]
    np.testing.assert_allclose(shown[8, 45], 0.6 * colour_table()[255, :3] + 0.4 * np.array([200, 150, 120]), atol=0.51)


def test_ct_is_shown_in_the_window_of_its_header(maps: Path, tmp_path: Path) -> None:
    written = overlay(maps, tmp_path / "out", only=["series a"])
    assert 'window="400.0" level="60.0"' in scene(written[0])


def test_no_identifier_gets_out(maps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in overlay(maps, tmp_path / "out"):
        content = path.read_bytes()
        if path.suffix == ".mrb":
            with zipfile.ZipFile(path) as bundle:
                content = b"".join(bundle.read(name) for name in bundle.namelist())
        for secret in (SECRET, "Secret", "19700131", str(tmp_path)):
            assert secret.encode() not in content
    assert "Secret" not in "".join(capsys.readouterr())


def test_text_in_the_pixels_is_warned_about(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(
        images / "labelled", np.zeros((1, 40, 60), np.int16), photograph_geometry((1, 40, 60)), extra={"BurnedInAnnotation": "YES"}
    )
    overlay(make_maps(tmp_path / "maps", images), tmp_path / "out")
    assert "1 of the images may have text in their pixels" in capsys.readouterr().err


def test_names_of_files_do_not_collide(images: Path, tmp_path: Path) -> None:
    """Neither after their special characters are gone, nor where capitals do not count."""
    (images / "x").mkdir()
    for name in ("x/a_b.png", "x_A b.png", "x_a_b.png"):
        Image.new("RGB", (60, 40)).save(images / name)
    maps = make_maps(tmp_path / "maps", images)
    written = [path.name for path in overlay(maps, tmp_path / "out") if path.suffix == ".mrb"]
    assert written == ["series_a.mrb", "skin.mrb", "x_a_b.mrb", "x_A_b-2.mrb", "x_a_b-3.mrb"]
    assert [path.name for path in overlay(maps, tmp_path / "again", only=["x_a_b.png"])] == ["x_a_b-3.mrb", "x_a_b-3_overlay.png"]


def test_images_that_moved_are_found_where_they_are_now(images: Path, maps: Path, tmp_path: Path) -> None:
    images.rename(tmp_path / "elsewhere")
    with pytest.raises(MedoodError, match="--images FOLDER"):
        overlay(maps, tmp_path / "out")
    assert len(overlay(maps, tmp_path / "out", images=tmp_path / "elsewhere")) == 4
    with pytest.raises(MedoodError, match="name the right one"):
        overlay(maps, tmp_path / "out", images=tmp_path / "nowhere")


def test_what_is_missing_is_said_before_anything_is_written(images: Path, maps: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(MedoodError, match=r"'skin\.jpg'; did you mean 'skin\.png'"):
        overlay(maps, out, only=["skin.jpg"])
    (maps / "000002.nrrd").rename(maps / "gone")
    with pytest.raises(MedoodError, match=r"1 of 2 maps are missing.*000002\.nrrd"):
        overlay(maps, out)
    (maps / "gone").rename(maps / "000002.nrrd")
    (images / "skin.png").unlink()
    shutil.move(images / "series a", tmp_path / "series a")
    with pytest.raises(MedoodError, match=r"None of the 2 images with maps are in .* say where they are with --images"):
        overlay(maps, out)
    assert not out.exists()


def test_an_image_that_is_gone_is_named_and_left_out(images: Path, maps: Path, tmp_path: Path, capsys) -> None:
    (images / "skin.png").unlink()
    assert [path.name for path in overlay(maps, tmp_path / "out")] == ["series_a.mrb", "series_a_overlay.png"]
    assert re.search("Left out: skin.png: .*it is not in", capsys.readouterr().err.replace("\n", " "))


def test_another_image_in_the_place_of_the_one_that_was_scored_gets_no_map(tmp_path: Path, capsys) -> None:
    """Series of one folder are numbered by their UIDs: when one comes, others move."""
    root, geometry = tmp_path / "in", GEOMETRIES["oblique"]
    for uid in ("1.2.5", "1.2.7"):
        write_series(
            root, grey(geometry)[0].astype(np.int16), geometry, series=uid, names=[f"{uid}_{k}.dcm" for k in range(geometry.shape[0])]
        )
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(root / "skin.png")
    maps = make_maps(tmp_path / "maps", root)
    assert len(overlay(maps, tmp_path / "whole")) == 6
    write_series(root, grey(geometry)[0].astype(np.int16), geometry, series="1.2.3", names=[f"0_{k}.dcm" for k in range(geometry.shape[0])])
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)).save(root / "skin.png")
    with pytest.raises(MedoodError, match="not one of the 3 images"):
        overlay(maps, tmp_path / "out")
    assert capsys.readouterr().err.replace("\n", " ").count("another image is there now than the one that was scored") == 3


@pytest.mark.parametrize(
    "geometry", [photograph_geometry((1, 40, 61)), Geometry(np.diag([-1.0, -1.001, 1, 1]), (1, 40, 60))], ids=["shape", "spacing"]
)
def test_an_image_that_changed_since_is_named_and_left_out(geometry: Geometry, maps: Path, tmp_path: Path, capsys) -> None:
    write_map(maps / "000002.nrrd", blob(geometry, (0, 8, 45)), geometry)
    with pytest.raises(MedoodError, match="not one of the 1 images"):
        overlay(maps, tmp_path / "out", only=["skin.png"])
    assert not (tmp_path / "out").exists()
    assert "skin.png: the image of (slices, rows, columns) (1, 40, 60) is not on the grid of its map" in capsys.readouterr().err
    assert [path.name for path in overlay(maps, tmp_path / "out")] == ["series_a.mrb", "series_a_overlay.png"]


@pytest.mark.parametrize("content", [b"NRRD0004\n", b""])
def test_a_damaged_map_is_named_and_left_out(content: bytes, maps: Path, tmp_path: Path, capsys) -> None:
    (maps / "000002.nrrd").write_bytes(content)
    assert len(overlay(maps, tmp_path / "out")) == 2
    assert "000002.nrrd" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"series_a.mrb", "series_a_overlay.png"}


def test_folders_that_are_no_folders_of_maps(images: Path, maps: Path, tmp_path: Path) -> None:
    with pytest.raises(MedoodError, match=r"no maps\.json"):
        overlay(images, tmp_path / "out")
    for text, said in (
        ("{", "damaged"),
        (json.dumps(HEADER | {"version": 1}), "version 1"),
        (json.dumps(HEADER | {"scale": None}), "no maps"),
    ):
        (maps / "maps.json").write_text(text)
        with pytest.raises(MedoodError, match=said):
            overlay(maps, tmp_path / "out")


def test_a_line_cut_off_by_a_crash_is_left_out(maps: Path, tmp_path: Path) -> None:
    whole = (maps / "maps.jsonl").read_text()
    (maps / "maps.jsonl").write_text(whole + '{"id": "half')
    assert len(overlay(maps, tmp_path / "out")) == 4
    (maps / "maps.jsonl").write_text("half\n" + whole)
    with pytest.raises(MedoodError, match="damaged"):
        overlay(maps, tmp_path / "out")


def test_the_scale_is_the_runs_and_not_the_images(maps: Path, images: Path, tmp_path: Path) -> None:
    written = overlay(maps, tmp_path / "out")
    for path in (written[0], written[2]):
        assert f'window="{SCALE.high}" level="0.5" autoWindowLevel="0" interpolate="1" lowerThreshold="0.3"' in scene(path)


def test_slices_that_were_not_examined_are_marked_in_scene_and_picture(images: Path, maps: Path, tmp_path: Path) -> None:
    overlay(maps, tmp_path / "all", only=["series a"])
    lines = [json.loads(line) for line in (maps / "maps.jsonl").read_text().splitlines()]
    line = next(line for line in lines if line["id"] == "series a")
    line |= {"slices": list(range(3, 12)), "scores": [0.1] * 9, "p_values": [None] * 9}
    line["verdict"] |= {"examined": 0.75, "decision": "out_of_domain", "domain_reason": "modality CT, trained on MR"}
    (maps / "maps.jsonl").write_text(json.dumps(line) + "\n")
    overlay(maps, tmp_path / "some")
    assert "not examined" not in scene(tmp_path / "all/series_a.mrb")
    assert 'name="OUT OF DOMAIN: series a not examined"' in scene(tmp_path / "some/series_a.mrb")
    with zipfile.ZipFile(tmp_path / "some/series_a.mrb") as bundle:
        (tmp_path / "hidden.nrrd").write_bytes(bundle.read("medood/Data/not_examined.nrrd"))
    hidden, _ = read_map(tmp_path / "hidden.nrrd")
    assert hidden.any(axis=(1, 2)).tolist() == hidden.all(axis=(1, 2)).tolist() == [True] * 3 + [False] * 9
    sizes = [Image.open(tmp_path / folder / "series_a_overlay.png").size for folder in ("all", "some")]
    assert sizes[0] != sizes[1]  # one more slice, that stands for what was not examined


def test_damaged_or_foreign_lines_never_lead_out_of_the_folder(maps: Path, tmp_path: Path) -> None:
    line = json.loads((maps / "maps.jsonl").read_text().splitlines()[0])
    for change in ({"map": "../secret"}, {"plain": "/etc/passwd"}, {"picture": "a/b.png"}, {"name": "../../out"}, {"id": 3}):
        (maps / "maps.jsonl").write_text(json.dumps(line | change) + "\n")
        with pytest.raises(MedoodError, match="damaged"):
            overlay(maps, tmp_path / "out")
