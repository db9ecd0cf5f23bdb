"""The commands that look and explain, run as a user runs them."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_writer import write_image, write_series
from PIL import Image as Picture
from typer.testing import CliRunner

from medood.cli import app
from medood.cli.ending import say_warning
from medood.core.errors import MedoodWarning
from medood.core.running.warned import warnings_said
from medood.recipe import catalogue
from medood.recipe.loading import shipped


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("kind", ["detectors", "features", "sources", "steps"])
def test_everything_that_a_recipe_can_name_is_listed_and_explained(kind: str) -> None:
    listing = run(kind)
    for name, card in getattr(catalogue, kind)().items():
        assert name in listing
        explained = run(kind, name)
        assert all(key in explained for key in card.parameters.model_fields)


def test_help_breaks_its_lines_where_the_terminal_ends() -> None:
    shown = CliRunner().invoke(app, ["score", "--help"], env={"COLUMNS": "100"}).output
    assert "Stopped by Ctrl-C (130) or SIGTERM (143), it" in shown  # the docstring breaks after "or"
    assert "--resume." in shown


def test_a_detector_says_what_it_needs_besides_its_parameters() -> None:
    assert "It works on the recipe's `features`.\nIt needs a `contrast`." in run("detectors", "flow_ratio")
    assert "It can score in bfloat16" in run("detectors", "geo_trans")
    assert not re.search("features`|contrast`|bfloat16", run("detectors", "intensity"))


def test_only_what_reads_is_listed_as_a_source() -> None:
    for card in catalogue.sources().values():
        assert callable(card.load().index), card.name
    assert {"folder", "dicom", "nifti", "image", "brats", "phantom"} <= catalogue.sources().keys()
    assert not {"frames", "layout", "codestream"} & catalogue.sources().keys()


def test_a_wrong_name_gets_the_nearest_one() -> None:
    result = CliRunner().invoke(app, ["detectors", "patchgan"])
    assert result.exit_code == 2
    assert "did you mean 'patch_gan'?" in result.output


def test_recipe_keys_explain_every_key_with_its_choices() -> None:
    text = run("recipe", "keys")
    for key in ("held_out", "top_slices", "coloured_pixels", "field_of_view", "min_foreground", "clip_norm"):
        assert key in text
    assert "[whole number, whole number]" in text
    assert "constant, cosine, linear" in text
    assert "outliers" in text


def test_recipe_list_names_recipes_and_benchmarks() -> None:
    text = run("recipe", "list")
    assert all(path.stem in text for folder in ("recipes", "benchmarks") for path in shipped(folder))


def test_recipe_show_prints_what_recipe_check_takes(tmp_path: Path) -> None:
    for path in shipped("recipes"):
        (tmp_path / path.name).write_text(run("recipe", "show", path.stem), encoding="utf-8")
        assert "no mistakes found" in run("recipe", "check", str(tmp_path / path.name))


def test_doctor_names_decoders_and_devices() -> None:
    text = run("doctor")
    assert "JPEG-LS Lossless" in text
    assert "pyjpegls" in text
    assert "cpu" in text


def test_inspect_says_the_same_in_words_and_in_json(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 900, (5, 16, 16)).astype(np.uint16)
    write_series(tmp_path / "a", pixels, np.diag([-1.0, -1.0, 2.0, 1.0]), modality="MR")
    write_series(tmp_path / "hole", pixels, np.diag([-1.0, -1.0, 2.0, 1.0]), modality="MR", skip=[2])
    (tmp_path / "notes.dcm").write_text("no image")
    found = json.loads(run("inspect", str(tmp_path), "--json"))
    assert [(entry["id"], entry["slices"]) for entry in found["entries"]] == [("a", 5)]
    codes = {problem["path"]: problem["code"] for problem in found["problems"]}
    assert codes == {"hole": "nonuniform_spacing", "notes.dcm": "not_dicom"}
    text = run("inspect", str(tmp_path))
    assert "Series or single images: 1; images in them: 5" in text
    assert all(f"{path}: " in text for path in codes)


def test_inspect_names_a_wrong_header_and_takes_no_name_for_markup(tmp_path: Path) -> None:
    colours = np.zeros((6, 8, 3), np.uint8)
    write_image(tmp_path / "[/x]" / "a.dcm", colours, modality="XC")
    write_image(tmp_path / "[bold]b.dcm", colours, photometric="YBR_FULL_422", series="1.2.3", study="1.2")
    text = run("inspect", str(tmp_path))
    assert "[/x]/a.dcm" in text
    assert "[bold]b.dcm: The header's PhotometricInterpretation is YBR_FULL_422, which takes two bytes a pixel" in text
    (problem,) = json.loads(run("inspect", str(tmp_path), "--json"))["problems"]
    assert (problem["study_uid"], problem["series_uid"], problem["files"]) == ("1.2", "1.2.3", ["[bold]b.dcm"])


def _subjects(root: Path) -> None:
    """BraTS subjects: one as it should be, one whose mask is cut off, one whose mask lies elsewhere."""
    lesion = np.zeros((20, 20, 6), np.uint8)
    lesion[4:12, 4:12, 2:4] = 1
    for number in range(3):
        name = f"BraTS19_A_{number}_1"
        (root / name).mkdir(parents=True)
        nib.save(nib.Nifti1Image(np.full((20, 20, 6), 100, np.int16), np.eye(4)), root / name / f"{name}_flair.nii.gz")
        nib.save(nib.Nifti1Image(lesion, np.eye(4) * (1 + (number == 2))), root / name / f"{name}_seg.nii.gz")
    cut = root / "BraTS19_A_1_1" / "BraTS19_A_1_1_seg.nii.gz"
    cut.write_bytes(cut.read_bytes()[:-20])


def test_labels_name_each_subject_that_they_leave_out(tmp_path: Path) -> None:
    _subjects(tmp_path / "cohort")
    result = CliRunner().invoke(app, ["labels", "brats", str(tmp_path / "cohort"), "--out", str(tmp_path / "labels.csv")])
    assert result.exit_code == 3
    assert "Left out: BraTS19_A_1_1/BraTS19_A_1_1_flair.nii.gz" in result.output
    assert "Left out: BraTS19_A_2_1/BraTS19_A_2_1_flair.nii.gz" in result.output
    rows = (tmp_path / "labels.csv").read_text().splitlines()
    assert sum("BraTS19_A_0_1" in row for row in rows) == len(rows) - 1 == 7, "a row for the whole and six for the slices"
    assert "BraTS19_A_1_1" not in (tmp_path / "labels.csv").read_text()


def test_a_folder_of_archives_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "all.zip").write_bytes(b"PK\x03\x04" + bytes(30))
    for arguments in (["inspect", str(tmp_path)], ["inspect", "--json", str(tmp_path)]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2
        assert "1 archives, which have to be unpacked first" in result.output


def test_names_that_look_like_markup_are_shown_as_they_are(tmp_path: Path) -> None:
    for name in ("[/x]/[red]a.png", "[/x]/[bold]b.png"):  # a folder called [ and one called x]
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Picture.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / name)
    (tmp_path / "[/x]/[bold]b.png").write_text("broken")
    text = run("inspect", str(tmp_path))
    assert "[/x]/[red]a.png" in text
    assert "[/x]/[bold]b.png" in text


def test_a_warning_is_its_sentence_and_those_of_libraries_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as others:
        warnings.simplefilter("always")
        with warnings_said(say_warning):
            warnings.warn("The network collapsed: take more images.", MedoodWarning, stacklevel=1)
            warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert capsys.readouterr().err == "Warning: The network collapsed: take more images.\n"
    assert [each.category for each in others] == [DeprecationWarning]
