"""`medood.load`, `medood.train`, `run.score` and `run.score_folder`."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from library_runs import recipe, train, write_pictures
from monai.data import MetaTensor
from PIL import Image

import medood
from medood.export.map_list import read_lines
from medood.tasks.scoring.score import score_folder

BRAIN = {"name": "brats_flair", "field_of_view": None, "plane": "axial"}
GREY = {"summary": "", "steps": [{"scale_range": {"low": 0, "high": 255}}]}


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("brains") / "images"
    medood.write_phantoms(folder, subjects=10, size=32, slices=16)
    return folder


@pytest.fixture(scope="module")
def brain_run(brains: Path, tmp_path_factory: pytest.TempPathFactory) -> medood.Run:
    return train(tmp_path_factory.mktemp("brain_run"), brains / "nifti", recipe("brats", BRAIN))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures") / "grey", 60, colour=False)


@pytest.fixture(scope="module")
def picture_run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> medood.Run:
    return train(tmp_path_factory.mktemp("picture_run"), pictures, recipe("image", GREY))


@pytest.fixture(scope="module")
def volume(brains: Path) -> Path:
    return sorted((brains / "nifti").rglob("*_flair.nii.gz"))[3]


def rows_by_command(run: medood.Run, folder: Path, out: Path, maps: Path) -> list[dict[str, str]]:
    score_folder(run.folder, folder, out, maps=maps, device="cpu")
    with out.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_series_gets_the_numbers_and_the_map_that_the_command_writes(brain_run: medood.Run, brains: Path, tmp_path: Path) -> None:
    rows = rows_by_command(brain_run, brains / "dicom", tmp_path / "scores.csv", tmp_path / "maps")
    result = brain_run.score(brains / "dicom")
    assert repr(result.score) == rows[-1]["score"]
    assert len(result.slices) == len(rows) - 1 == 16
    for row, one in zip(rows[:-1], result.slices, strict=True):
        assert str(one.number) == row["slice"]
        assert ("" if one.score is None else repr(one.score)) == row["score"]
        assert ("" if one.p_value is None else repr(one.p_value)) == row["p_value"]
        assert (one.decision or "") == row["decision"]
        assert one.parts == {name: float(row[f"part_{name}"]) for name in ("mse", "l1") if row[f"part_{name}"]}
    (line,) = read_lines(tmp_path / "maps")
    written = sitk.ReadImage(str(tmp_path / "maps" / line["map"]))
    assert result.examined is not None
    assert np.array_equal(result.examined, sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "maps" / line["not_examined"]))) == 0)
    assert 0 < result.examined.mean() < 1
    assert repr(round(result.examined_share, 4)) == rows[-1]["examined"]
    ours = result.to_simpleitk()
    assert np.array_equal(sitk.GetArrayFromImage(written), sitk.GetArrayFromImage(ours))
    assert np.array_equal(result.map, sitk.GetArrayFromImage(ours))
    assert ours.GetOrigin() == pytest.approx(written.GetOrigin(), abs=1e-6)
    assert ours.GetDirection() == pytest.approx(written.GetDirection(), abs=1e-6)
    assert ours.GetSpacing() == pytest.approx(written.GetSpacing(), abs=1e-6)


def test_a_picture_gets_the_numbers_that_the_command_writes(picture_run: medood.Run, pictures: Path, tmp_path: Path) -> None:
    rows = rows_by_command(picture_run, pictures, tmp_path / "scores.csv", tmp_path / "maps")
    for row in rows[:3]:
        result = picture_run.score(str(pictures / row["id"]))
        assert result.score == pytest.approx(float(row["score"]), rel=1e-5)  # alone, and in a batch with others
        assert (result.id, result.decision, result.slices) == (row["id"], row["decision"], ())
        assert result.map is not None
        assert result.map.shape == (40, 50)
        assert set(result.parts) == {"mse", "l1"}


def test_every_kind_of_volume_in_memory_equals_its_file(brain_run: medood.Run, volume: Path) -> None:
    truth = brain_run.score(volume)
    image = nib.load(volume)
    values, affine = image.get_fdata(), image.affine
    read = sitk.ReadImage(str(volume))
    (decoded,) = medood.read(volume)
    assert truth.map is not None
    assert truth.map.any()
    for given, reversed_axes in (
        (brain_run.score(image), True),
        (brain_run.score(values, affine=affine), True),
        (brain_run.score(torch.tensor(values), affine=affine), True),
        (brain_run.score(MetaTensor(values[None], affine=torch.tensor(affine))), True),
        (brain_run.score(read), False),
        (brain_run.score(decoded), False),
    ):
        assert (given.score, given.domain_reason) == (truth.score, truth.domain_reason)
        assert [s.p_value for s in given.slices] == [s.p_value for s in truth.slices]
        assert given.map is not None
        assert np.array_equal(given.map.T if reversed_axes else given.map, truth.map)
        assert given.to_nibabel().affine == pytest.approx(affine, abs=1e-4)
        assert given.to_nibabel().shape == image.shape
        assert np.array_equal(np.asarray(given.to_nibabel().dataobj).T, truth.map)


def test_a_bare_array_is_taken_to_lie_as_the_training_images(brain_run: medood.Run, volume: Path) -> None:
    (decoded,) = medood.read(volume)  # a phantom whose slices lie as on a display
    truth, found = brain_run.score(volume), brain_run.score(decoded.image[0])
    assert found.score == truth.score
    assert found.map is not None
    assert np.array_equal(found.map, truth.map)
    assert found.domain_reason == ()
    assert found.issues == ("orientation_unknown",)


def test_an_array_that_lies_otherwise_is_turned_by_its_affine(brain_run: medood.Run, volume: Path) -> None:
    image = nib.load(volume)
    turned = image.as_reoriented(np.array([[2, 1], [0, -1], [1, 1]]))
    truth, found = brain_run.score(image), brain_run.score(turned.get_fdata(), affine=turned.affine)
    assert turned.shape != image.shape
    assert found.score == pytest.approx(truth.score, rel=1e-6)
    assert found.map is not None
    assert found.map.shape == turned.shape
    expected = nib.Nifti1Image(truth.map, image.affine).as_reoriented(np.array([[2, 1], [0, -1], [1, 1]]))
    assert np.allclose(expected.get_fdata(), found.map)


def test_every_kind_of_picture_in_memory_equals_its_file(picture_run: medood.Run, pictures: Path) -> None:
    path = pictures / "004.png"
    truth, array = picture_run.score(path), np.asarray(Image.open(path))
    for given in (
        array,
        array.astype(np.float64),
        np.asfortranarray(array),
        array[..., None],
        torch.tensor(array),
        torch.tensor(array)[None],
        sitk.ReadImage(str(path)),
    ):
        found = picture_run.score(given)
        assert (found.score, found.p_value, found.domain_reason) == (truth.score, truth.p_value, ())
        assert found.map is not None
        assert np.array_equal(found.map, truth.map)
    assert picture_run.score(sitk.ReadImage(str(path))).to_simpleitk().GetSize() == (50, 40)


def test_colour_goes_last_in_arrays_and_first_in_tensors(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "colour", 60, colour=True)
    run = train(tmp_path, folder, recipe("image", {**GREY, "channels": 3}))
    path = folder / "004.png"
    truth, array = run.score(path), np.asarray(Image.open(path))
    for given in (array, torch.tensor(array).permute(2, 0, 1), sitk.ReadImage(str(path))):
        found = run.score(given)
        assert found.score == truth.score
        assert found.map is not None
        assert found.map.shape == (40, 50)
    with pytest.raises(medood.InputError, match="grey image where these transforms expect RGB"):
        run.score(array[..., 0])


def test_spacing_is_in_the_order_of_the_axes_and_asked_for_where_it_matters(brains: Path, volume: Path, tmp_path: Path) -> None:
    run = train(tmp_path, brains / "nifti", recipe("brats", {**BRAIN, "field_of_view": [192.0, 150.0]}))
    (decoded,) = medood.read(volume)
    x, y, z = decoded.geometry.spacing
    assert run.score(decoded.image[0], spacing=(z, y, x)).score == run.score(volume).score
    assert run.score(decoded.image[0], spacing=(z, y, x)).to_nibabel().header.get_zooms() == pytest.approx((x, y, z))
    with pytest.raises(medood.InputError, match="must know the size of a pixel"):
        run.score(decoded.image[0])
    with pytest.raises(medood.InputError, match=r"\(slices, rows, columns\)"):
        run.score(decoded.image[0], spacing=(1.0, 1.0))


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        ([np.zeros((8, 8))], "a list: give one image"),
        (np.zeros((4, 1, 8, 8)), "one image or volume at a time"),
        (np.zeros((8, 8, 4)), "four channels"),
        (np.zeros(8), "one image or volume at a time"),
        (np.full((8, 8), np.nan), "64 of 64 values are not finite"),
        (np.zeros((8, 8), complex), "complex128"),
        (np.array([["a"]]), "expected real numbers"),
        (np.zeros((0, 8)), "no pixels"),
        (np.zeros((8, 8, 3)), "RGB colour image where these transforms expect grey"),
        (Image.new("L", (8, 8)), "image of Pillow"),
        (3.0, "Found float, expected the path"),
        ("nowhere.png", "no such file"),
        (nib.Nifti1Image(np.zeros((4, 4, 4, 2)), np.eye(4)), "2-D or 3-D"),
        (MetaTensor(np.zeros((1, 8, 8))), "give the file instead"),
    ],
)
def test_what_cannot_be_scored_is_a_sentence(picture_run: medood.Run, image: object, sentence: str) -> None:
    with pytest.raises(medood.InputError, match=sentence) as caught:
        picture_run.score(image)
    assert caught.value.code


def test_a_folder_of_several_names_them_and_a_damaged_file_says_why(picture_run: medood.Run, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(medood.InputError, match=r"holds 60 images or series \(000.png, 001.png, 002.png, ...\): use score_folder"):
        picture_run.score(pictures)
    (tmp_path / "cut.png").write_bytes((pictures / "000.png").read_bytes()[:60])
    with pytest.raises(medood.InputError, match=r"cut\.png: .*damaged"):
        picture_run.score(tmp_path / "cut.png")


def test_a_folder_gives_rows_with_numbers_and_leaves_nothing_behind(picture_run: medood.Run, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, taken in (("=000.png", "000.png"), ("001.png", "001.png")):  # a spreadsheet would take the first for a formula
        (tmp_path / "in" / name).write_bytes((pictures / taken).read_bytes())
    (tmp_path / "in" / "cut.png").write_bytes(b"\x89PNG")
    found = picture_run.score_folder(tmp_path / "in")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
    assert sorted(row["id"] for row in found.series) == ["001.png", "=000.png"]
    assert [row["id"] for row in found.failed] == ["cut.png"]
    assert len(found) == len(list(found)) == 3
    assert found.path is None
    for row in found.series:
        assert row["score"] == pytest.approx(picture_run.score(tmp_path / "in" / row["id"]).score, rel=1e-5)
        assert isinstance(row["part_mse"], float)
        assert row["slice"] is None
    assert found.failed[0]["score"] is None
    assert "called a picture" in found.failed[0]["reason"]


def test_a_folder_is_written_where_it_is_asked_for(picture_run: medood.Run, pictures: Path, tmp_path: Path) -> None:
    found = picture_run.score_folder(pictures, tmp_path / "scores.csv", tmp_path / "maps")
    assert found.path == tmp_path / "scores.csv"
    with found.path.open(newline="", encoding="utf-8") as file:
        assert [float(row["score"]) for row in csv.DictReader(file)] == [row["score"] for row in found]
    assert (tmp_path / "maps" / "maps.jsonl").is_file()
    with pytest.raises(medood.MedoodError, match="already there"):
        picture_run.score_folder(pictures, tmp_path / "scores.csv")


def test_without_pandas_a_table_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(medood.MedoodError, match="pip install pandas"):
        medood.FolderResult(()).to_pandas()


def test_a_method_without_maps_says_so(pictures: Path, tmp_path: Path) -> None:
    run = train(tmp_path, pictures, recipe("image", GREY, {"name": "one_class_svm", "size": 8}))
    result = run.score(pictures / "000.png")
    assert result.map is None
    for refused in (result.to_nibabel, result.to_simpleitk, lambda: result.save_map(tmp_path / "map.nrrd")):
        with pytest.raises(medood.MedoodError, match=r"no map of 000\.png: the method gives scores only"):
            refused()


def test_a_run_is_loaded_from_text_or_path_and_scores_the_same(picture_run: medood.Run, pictures: Path) -> None:
    for place in (picture_run.folder, str(picture_run.folder)):
        run = medood.load(place, device="cpu")
        assert isinstance(run, medood.Run)
        assert run.score(pictures / "000.png").score == picture_run.score(pictures / "000.png").score
    with pytest.raises(medood.RunError, match="There is no run folder"):
        medood.load("nowhere")


def test_the_mistakes_of_a_dict_are_named_without_lines(tmp_path: Path) -> None:
    wrong = recipe("image", GREY, {"name": "autoencoder", "latnt": 3})
    with pytest.raises(medood.RecipeError) as caught:
        medood.train(wrong, data=tmp_path, out=tmp_path / "run", changes={"training.batch_size": 1.5, "detector.lat": 3})
    begins = [problem.partition(": ")[0] for problem in caught.value.problems]
    assert begins == ["changes detector.lat=3", "changes", "recipe"]
    with pytest.raises(medood.RecipeError, match=r"^changes: training\.epochs: found 'many'"):
        medood.train("demo", data=tmp_path, out=tmp_path / "run", changes={"training.epochs": "many"})
    assert not (tmp_path / "run").exists()


def test_changes_and_a_resolved_recipe_are_taken_too(pictures: Path, tmp_path: Path) -> None:
    plan = medood.load_recipe("demo")
    changes = {"source": {"name": "image"}, "transforms": {**GREY, "size": [32, 32]}, "detector": {"name": "one_class_svm", "size": 4}}
    changes |= {"features": None, "pooling": {}, "split.held_out": 0.4}
    run = medood.train(plan, data=pictures, out=tmp_path / "run", changes=changes, cache=tmp_path, device="cpu")
    assert run.recipe.detector["size"] == 4
    assert type(run.detector).__name__ == "OneClassSVM"
