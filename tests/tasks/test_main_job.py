"""Train, score, resume and refuse, end to end, on generated volumes."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_writer import write_series
from PIL import Image

from medood.core.errors import CalibrationError, MedoodError, RunError, TrainingError
from medood.export.map_list import read_array
from medood.recipe.loading import load_recipe
from medood.recipe.run import load_run
from medood.tasks.images.phantoms import write_phantoms
from medood.tasks.scoring.score import score_folder
from medood.tasks.training.train import train_recipe

RECIPE = """
summary: a small autoencoder on phantoms
source: {name: brats, root: nowhere}
transforms: {name: brats_flair, size: [32, 32], field_of_view: null}
detector: {name: autoencoder, width: 4, latent: 4}
training: {epochs: 2, tensorboard: false}
split: {held_out: 0.3}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job")
    write_phantoms(folder / "images", subjects=8, seed=1)
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    return train(place, place / "run")


def train(place: Path, out: Path, *changes: str, **options) -> Path:
    recipe = load_recipe(place / "recipe.yaml", changes)
    return train_recipe(recipe, out, data=place / "images" / "nifti", device="cpu", cache=place / "cache", **options)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_run_is_complete_and_holds_no_pickle(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert names >= {"run.json", "weights.safetensors", "calibration.json", "index.json", "manifest.json", "history.jsonl"}
    assert not names & {"training.json", ".lock"}
    assert not list(run.rglob("*.pt")) + list(run.rglob("*.pkl"))
    provenance = json.loads((run / "run.json").read_text())["provenance"]
    assert {"torch", "monai", "seed", "python", "time", "index"} <= provenance.keys()


def test_scoring_starts_without_what_only_training_and_plots_need(run: Path, place: Path, tmp_path: Path) -> None:
    series = next(path for path in (place / "images" / "dicom").iterdir() if path.is_dir())
    arguments = ["score", str(run), str(series), "--out", str(tmp_path / "scores.csv"), "--device", "cpu"]
    script = (
        "import sys\nfrom medood.cli import main\n"
        f"sys.argv = {['medood', *arguments]!r}\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "import monai.transforms, skimage.morphology\n"
        "assert monai.transforms.utils.has_morphology, 'what is there is used'\n"
        "print('MODULES', *sys.modules)\n"
        "import ignite.engine, scipy.signal, sklearn, matplotlib\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rpartition("MODULES")[2].split())
    assert "monai" in loaded
    assert not loaded & {"ignite", "matplotlib", "tensorboard", "sklearn", "scipy.signal", "torch.distributed.fsdp"}
    assert len(rows_of(tmp_path / "scores.csv")) > 1


def test_no_patient_is_in_both_parts_and_no_lesion_is_in_either(run: Path, place: Path) -> None:
    index = json.loads((run / "index.json").read_text())
    parts = {part: {row["group"] for row in index if row["part"] == part} for part in ("train", "held_out")}
    assert parts["train"]
    assert parts["held_out"]
    assert not parts["train"] & parts["held_out"]
    labels = [row for row in rows_of(place / "images" / "labels.csv") if row["slice"]]
    normal = {row["id"]: sum(label["id"] == row["id"] and label["label"] == "0" for label in labels) for row in index}
    slices = {row["id"]: sum(label["id"] == row["id"] for label in labels) for row in index}
    assert any(0 < normal[key] < slices[key] for key in normal), "no subject with a lesion is in the run: this test would prove nothing"
    assert all(0 < row["images"] <= normal[row["id"]] for row in index)


def test_the_same_seed_gives_the_same_run_and_the_cache_decodes_nothing_twice(place: Path, run: Path, monkeypatch) -> None:
    from medood.sources.cohorts.brats import Brats

    monkeypatch.setattr(Brats, "read", lambda *_: pytest.fail("decoded again although it is in the cache"))
    again = train(place, place / "again")
    assert (again / "weights.safetensors").read_bytes() == (run / "weights.safetensors").read_bytes()
    assert (again / "calibration.json").read_bytes() == (run / "calibration.json").read_bytes()


def test_a_dicom_series_gets_a_row_per_slice_and_a_map_that_lies_on_it(place: Path, run: Path) -> None:
    out, maps = place / "dicom.csv", place / "dicom_maps"
    outcome = score_folder(run, place / "images" / "dicom", out, maps=maps, device="cpu")
    rows = rows_of(out)
    slices = [row for row in rows if row["level"] == "slice"]
    assert outcome.failed == 0
    assert [row["level"] for row in rows[-1:]] == ["series"]
    files = sorted((place / "images" / "dicom").rglob("*"))
    assert len(slices) == sum(path.is_file() for path in files)
    assert len({row["sop_uid"] for row in slices}) == len(slices)
    scored = [row for row in slices if row["status"] == "ok"]
    assert len(scored) >= len(slices) // 4
    assert all(0 < float(row["p_value"]) <= 1 for row in scored)
    assert all((row["decision"] == "anomalous") == (float(row["p_value"]) <= 0.05) for row in scored)
    top = sorted((float(row["score"]) for row in scored), reverse=True)[:3]
    assert float(rows[-1]["score"]) == pytest.approx(np.mean(top), rel=1e-12)
    line = json.loads((maps / "maps.jsonl").read_text().splitlines()[0])
    written = sitk.ReadImage(str(maps / line["map"]))
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(next(p.parent for p in files if p.is_file())))
    series = sitk.ReadImage(names)
    assert written.GetSize() == series.GetSize()
    assert np.allclose(written.GetOrigin(), series.GetOrigin(), atol=1e-3)
    assert np.allclose(written.GetDirection(), series.GetDirection(), atol=1e-5)
    assert np.allclose(written.GetSpacing(), series.GetSpacing(), atol=1e-4)


def test_scores_do_not_depend_on_what_else_is_in_the_folder(place: Path, run: Path) -> None:
    every, one = place / "every.csv", place / "one.csv"
    score_folder(run, place / "images" / "nifti", every, device="cpu")
    subject = sorted((place / "images" / "nifti").iterdir())[2]
    alone = place / "alone" / subject.name
    shutil.copytree(subject, alone)
    score_folder(run, alone.parent, one, device="cpu")
    scores = {(row["id"], row["slice"]): row["score"] for row in rows_of(every) if row["status"] == "ok"}
    found = {(row["id"], row["slice"]): row["score"] for row in rows_of(one) if row["status"] == "ok"}
    assert found
    assert all(float(scores[key]) == pytest.approx(float(value), rel=1e-5) for key, value in found.items())


def test_resume_after_a_crash_writes_the_same_file(place: Path, run: Path) -> None:
    whole, cut = place / "whole.csv", place / "cut.csv"
    score_folder(run, place / "images" / "nifti", whole, device="cpu")
    shutil.copy(whole.with_suffix(".json"), cut.with_suffix(".json"))
    content = whole.read_bytes()
    for length in (len(content) // 3, len(content) // 2 + 7, len(content) - 1):
        cut.write_bytes(content[:length])
        with pytest.raises(MedoodError, match="--resume"):
            score_folder(run, place / "images" / "nifti", cut, device="cpu")
        score_folder(run, place / "images" / "nifti", cut, device="cpu", resume=True)
        assert sorted(cut.read_bytes().splitlines()) == sorted(content.splitlines())


def test_what_cannot_be_scored_has_a_row_with_its_reason_and_the_rest_is_scored(place: Path, run: Path) -> None:
    mixed = place / "mixed"
    good = next((place / "images" / "nifti").rglob("*_flair.nii.gz"))
    (mixed / "a").mkdir(parents=True)
    shutil.copy(good, mixed / "a" / "good.nii.gz")
    (mixed / "a" / "empty.nii.gz").touch()
    (mixed / "a" / "cut.nii.gz").write_bytes(good.read_bytes()[:5000])
    (mixed / "a" / "notes.dcm").write_text("this is no image")
    volume = sitk.GetArrayFromImage(sitk.ReadImage(str(good))).astype(np.float32)
    volume[3, 4, 5] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(volume), str(mixed / "a" / "nan.nii.gz"))
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(mixed / "a" / "colour.png")
    outcome = score_folder(run, mixed, place / "mixed.csv", device="cpu")
    rows = {row["id"]: row for row in rows_of(place / "mixed.csv") if row["level"] != "slice"}
    assert rows["a/good.nii.gz"]["status"] == "ok"
    bad = {name: rows[f"a/{name}"] for name in ("empty.nii.gz", "cut.nii.gz", "notes.dcm", "nan.nii.gz", "colour.png")}
    assert {row["status"] for name, row in bad.items() if name != "notes.dcm"} == {"error"}
    assert all(row["reason"] and not row["score"] for row in bad.values())
    assert "RGB" in bad["colour.png"]["reason"]
    assert outcome.failed == sum(row["status"] == "error" for row in rows.values())


def test_no_identifier_of_a_person_is_in_any_output(place: Path, run: Path, capfd) -> None:
    secret = {"PatientName": "Secret^Name", "PatientID": "SECRET-4711", "PatientBirthDate": "19700131", "AccessionNumber": "ACC-SECRET-9"}
    series = place / "named" / "series"
    pixels = (np.random.default_rng(0).random((4, 32, 32)) * 1000).astype(np.uint16)
    write_series(series, pixels, np.diag([-1.0, -1.0, 2.0, 1.0]), modality="MR", extra=secret)
    score_folder(run, place / "named", place / "named.csv", maps=place / "named_maps", device="cpu")
    written = b"".join(path.read_bytes() for path in [place / "named.csv", place / "named.json", *(place / "named_maps").iterdir()])
    said = "".join(capfd.readouterr()).encode()
    for value in secret.values():
        assert value.encode() not in written
        assert value.encode() not in said


@pytest.mark.parametrize("name", ["weights.safetensors", "calibration.json", "run.json", "manifest.json"])
def test_a_run_with_a_missing_or_altered_file_is_refused(place: Path, run: Path, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-3] + b"xyz")
    with pytest.raises(RunError, match=name.replace(".", r"\.")):
        load_run(copy)
    (copy / name).unlink()
    with pytest.raises(RunError, match=name.replace(".", r"\.")):
        load_run(copy)


def test_too_few_normals_are_refused_before_training(place: Path) -> None:
    with pytest.raises(CalibrationError, match="at least 9999 held-out"):
        train(place, place / "few", "calibration.false_alarm_rate=0.0001")
    assert not (place / "few" / "history.jsonl").exists()
    names = [path.relative_to(place / "images" / "nifti").as_posix() for path in (place / "images" / "nifti").rglob("*flair*")]
    anomalous = place / "images" / "nifti" / "anomalous.csv"
    anomalous.write_text("path,group,label,part\n" + "".join(f"{name},{name},1,\n" for name in names), encoding="utf-8")
    with pytest.raises(TrainingError, match="no normal images"):
        train(place, place / "few", f"source={{name: folder, csv: {anomalous.name}}}")
    anomalous.unlink()


def test_a_finished_run_and_its_scores_are_not_overwritten_by_accident(place: Path, run: Path) -> None:
    before = (run / "weights.safetensors").read_bytes()
    with pytest.raises(MedoodError, match="--overwrite"):
        train(place, run)
    assert (run / "weights.safetensors").read_bytes() == before


def test_ctrl_c_keeps_the_last_epoch_and_a_changed_recipe_is_not_resumed(place: Path, run: Path, monkeypatch) -> None:
    from medood.training.watching import history

    out = place / "stopped"
    record = history.History.append
    calls = []

    def stop_after_two(self, *arguments, **options):
        record(self, *arguments, **options)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(history.History, "append", stop_after_two)
        with pytest.raises(KeyboardInterrupt):
            train(place, out, "training.epochs=4")
    with pytest.raises(MedoodError, match="--resume"):
        train(place, out, "training.epochs=4")
    with pytest.raises(TrainingError, match=r"changed: detector\)"):
        train(place, out, "training.epochs=4", "detector.loss=l1", resume=True)
    whole = train(place, place / "unstopped", "training.epochs=4")
    train(place, out, "training.epochs=4", resume=True)
    assert (out / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    assert not (out / "checkpoint" / "training.safetensors").exists()


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is not on Windows")
def test_scoring_survives_kill_9(place: Path, run: Path) -> None:
    out, whole = place / "killed.csv", place / "unkilled.csv"
    images = place / "images" / "nifti"
    score_folder(run, images, whole, device="cpu")
    command = [sys.executable, "-m", "medood", "score", str(run), str(images), "--out", str(out), "--device", "cpu"]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while child.poll() is None and (not out.exists() or out.stat().st_size < 4000):
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert rows_of(out)
    score_folder(run, images, out, device="cpu", resume=True)
    assert {row["id"] for row in rows_of(out)} == {row["id"] for row in rows_of(whole)}
    found, expected = ({(row["level"], row["id"], row["slice"]): row for row in rows_of(path)} for path in (out, whole))
    assert len(rows_of(out)) == len(found) == len(expected)
    assert {key: row["status"] for key, row in found.items()} == {key: row["status"] for key, row in expected.items()}
    scored = [key for key, row in expected.items() if row["score"]]
    assert all(float(found[key]["score"]) == pytest.approx(float(expected[key]["score"]), rel=1e-5) for key in scored)


@pytest.fixture(scope="module")
def one_of_each(place: Path) -> Path:
    folder = place / "one_of_each"
    (folder / "a b").mkdir(parents=True)
    volume = next((place / "images" / "nifti").rglob("*_flair.nii.gz"))
    shutil.copy(volume, folder / "volume.nii.gz")
    picture = np.random.default_rng(0).integers(1, 255, (40, 52)).astype(np.uint8)
    Image.fromarray(picture).save(folder / "a b" / "picture.png")
    return folder


def lines_of(maps: Path) -> dict[str, dict]:
    return {line["id"]: line for line in map(json.loads, (maps / "maps.jsonl").read_text().splitlines())}


def test_maps_are_one_file_an_image_named_after_it(place: Path, run: Path, one_of_each: Path) -> None:
    maps, exact = place / "maps_auto", place / "maps_nrrd"
    score_folder(run, one_of_each, place / "auto.csv", maps=maps, device="cpu")
    score_folder(run, one_of_each, place / "exact.csv", maps=exact, map_format="nrrd", device="cpu")
    names = {path.name for path in maps.iterdir()}
    assert names == {"maps.json", "maps.jsonl", "a_b_picture_map.png", "volume_map.nrrd", "volume_not_examined.nrrd"}
    stored = json.loads((maps / "maps.json").read_text())["stored"]
    for identifier in ("a b/picture.png", "volume.nii.gz"):
        (array, geometry), (wanted, grid) = (read_array(folder, lines_of(folder)[identifier]) for folder in (maps, exact))
        step = (stored["high"] - stored["low"]) / 4095 if geometry.shape[0] == 1 else 0.0
        assert np.abs(array - wanted).max() <= step
        assert array.max() > 0
        assert (geometry.shape, geometry.in_patient, geometry.spacing_known) == (grid.shape, grid.in_patient, grid.spacing_known)
        np.testing.assert_array_equal(geometry.affine, grid.affine)


def test_maps_come_as_nifti_too_with_what_is_asked_for(place: Path, run: Path, one_of_each: Path) -> None:
    import nibabel as nib

    maps = place / "maps_nifti"
    score_folder(run, one_of_each, place / "nifti.csv", maps=maps, map_format="nii.gz", maps_with=["picture", "plain"], device="cpu")
    lines = lines_of(maps)
    assert lines["volume.nii.gz"]["map"] == "volume_map.nii.gz"
    for kind in ("map", "plain", "not_examined"):
        written, image = nib.load(maps / lines["volume.nii.gz"][kind]), nib.load(one_of_each / "volume.nii.gz")
        assert np.allclose(written.affine, image.affine)
        assert written.shape == image.shape
    assert lines["a b/picture.png"]["map"] == "a_b_picture_map.nii.gz"
    for line in lines.values():
        assert min(Image.open(maps / line["picture"]).size) > 300


def test_what_was_not_examined_is_in_a_mask_and_in_the_row(place: Path, run: Path, one_of_each: Path) -> None:
    maps = place / "maps_mask"
    score_folder(run, one_of_each, place / "mask.csv", maps=maps, device="cpu")
    rows = [row for row in rows_of(place / "mask.csv") if row["id"] == "volume.nii.gz"]
    skipped = [int(row["slice"]) for row in rows if row["status"] == "skipped"]
    assert skipped
    line = lines_of(maps)["volume.nii.gz"]
    hidden, _ = read_array(maps, line, "not_examined")
    array, _ = read_array(maps, line)
    body = sitk.GetArrayFromImage(sitk.ReadImage(str(one_of_each / "volume.nii.gz"))) != 0  # as after skull-stripping
    assert np.flatnonzero(hidden.all(axis=(1, 2))).tolist() == skipped == np.flatnonzero(hidden.any(axis=(1, 2))).tolist()
    assert not array[hidden > 0].any()
    assert not array[~body].any()  # no heat in the air
    assert array[body & (hidden == 0)].any()
    assert rows[-1]["level"] == "series"
    assert float(rows[-1]["examined"]) == pytest.approx(body[hidden == 0].sum() / body.sum(), abs=1e-4)
    assert not any(row["examined"] for row in rows[:-1])
    assert line["verdict"]["examined"] == float(rows[-1]["examined"])


def test_maps_among_the_images_are_refused_for_they_would_pass_for_images(place: Path, run: Path, one_of_each: Path) -> None:
    before = sorted(one_of_each.rglob("*"))
    for maps in (one_of_each, one_of_each / "a b", one_of_each / "maps"):
        with pytest.raises(MedoodError, match="pass for images"):
            score_folder(run, one_of_each, place / "among.csv", maps=maps, device="cpu")
    with pytest.raises(MedoodError, match="did you mean 'picture'"):
        score_folder(run, one_of_each, place / "among.csv", maps=place / "x", maps_with=["pictures"], device="cpu")
    assert sorted(one_of_each.rglob("*")) == before
    assert not list(place.glob("*among*")) + list(place.glob("x"))


@pytest.mark.parametrize("name", ["file/below.csv", "scores.json", "folder"])
def test_an_output_place_that_cannot_be_is_one_sentence_and_changes_nothing(place: Path, run: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    command = [sys.executable, "-m", "medood", "score", str(run), str(place / "images" / "dicom"), "--out", str(tmp_path / name)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "--out" in result.stderr
    assert Path(name).name in result.stderr
    assert {path.name for path in tmp_path.rglob("*")} == {"file", "folder"}


def test_a_second_scoring_is_refused_before_it_touches_anything(place: Path, run: Path) -> None:
    from medood.core.files.lock import alone

    out = place / "twice.csv"
    score_folder(run, place / "images" / "dicom", out, device="cpu")
    before = out.read_bytes(), out.with_suffix(".json").read_bytes()
    with alone(out.with_name(f".{out.name}.lock"), out), pytest.raises(MedoodError, match="right now"):
        score_folder(run, place / "images" / "dicom", out, device="cpu", overwrite=True)
    assert (out.read_bytes(), out.with_suffix(".json").read_bytes()) == before
    assert {path.name for path in place.rglob(".*")} <= {".shelves"}  # of the cache; no lock files, nor parts


def test_maps_of_another_scoring_are_not_replaced_by_accident(place: Path, run: Path) -> None:
    maps = place / "kept_maps"
    score_folder(run, place / "images" / "dicom", place / "kept.csv", maps=maps, device="cpu")
    before = (maps / "maps.jsonl").read_bytes()
    with pytest.raises(MedoodError, match="already holds maps"):
        score_folder(run, place / "images" / "dicom", place / "other.csv", maps=maps, device="cpu")
    assert (maps / "maps.jsonl").read_bytes() == before
    with pytest.raises(MedoodError, match="another maps"):
        score_folder(run, place / "images" / "dicom", place / "kept.csv", device="cpu", resume=True)


def test_identifiers_are_written_only_on_request_and_for_the_owner_alone(place: Path, run: Path, tmp_path: Path) -> None:
    secret = {"PatientName": "Secret^Name", "PatientID": "SECRET-4711", "PatientBirthDate": "19700131", "AccessionNumber": "ACC-9"}
    pixels = (np.random.default_rng(0).random((4, 32, 32)) * 1000).astype(np.uint16)
    write_series(tmp_path / "images" / "series", pixels, np.diag([-1.0, -1.0, 2.0, 1.0]), modality="MR", extra=secret)
    score_folder(run, tmp_path / "images", tmp_path / "s.csv", device="cpu", identifiers=tmp_path / "who.csv")
    (row,) = rows_of(tmp_path / "who.csv")
    assert (row["patient_name"], row["patient_id"], row["birth_date"], row["accession_number"]) == tuple(secret.values())
    assert {(r["id"], r["group"]) for r in rows_of(tmp_path / "s.csv")} == {(row["id"], row["group"])}
    if os.name != "nt":
        assert (tmp_path / "who.csv").stat().st_mode & 0o077 == 0
