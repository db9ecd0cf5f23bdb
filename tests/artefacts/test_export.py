"""Exports: the answers of medood in a process without it, refusals, and what --check notices."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from toy_run import SIZE, toy_run
from typer.testing import CliRunner

from medood.artefacts import onnx_file
from medood.artefacts.files import Kind
from medood.artefacts.generated import generated, made_new
from medood.cli import app
from medood.core.detector import Scores
from medood.core.errors import MedoodError
from medood.core.files.atomic import sha256
from medood.library.run import Run as LibraryRun
from medood.recipe.run import Run
from medood.tasks.deployment.export import check_export, export_run

SUFFIX: dict[Kind, str] = {"onnx": ".onnx", "torch": ".pt2", "monai-bundle": ""}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """34 grey pictures of 40 x 50 pixels, and one of another size; their names are those of people."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for number in range(35):
        small = random.integers(60, 200, (4, 5), dtype=np.uint8)
        size = (50, 40) if number != 3 else (60, 30)
        Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(folder / f"GRUENWALD{number:03d}.png")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return toy_run(tmp_path / "secret-place" / "run")


def exported(run: Run, pictures: Path, kind: Kind = "torch", **options: Any) -> Path:
    out = run.folder.parent / f"file{SUFFIX[kind]}"
    return export_run(run, out, kind=kind, images=pictures, **options)


def answers(run: Run, image: np.ndarray) -> tuple[float, float, bool, np.ndarray]:
    result = LibraryRun(**vars(run)).score(image)
    return result.score, result.p_value, result.decision == "anomalous", result.map


def in_a_fresh_process(code: str) -> str:
    """What the code prints where nothing of medood can be imported."""
    without = "import sys; sys.modules['medood'] = None\n"
    done = subprocess.run([sys.executable, "-c", without + textwrap.dedent(code)], capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def compare(found: dict[str, Any], run: Run, image: np.ndarray) -> None:
    score, p_value, abnormal, heat = answers(run, image)
    assert found["score"] == pytest.approx(score, abs=1e-6)
    assert found["p_value"] == pytest.approx(p_value)
    assert found["abnormal"] == abnormal
    assert np.allclose(found["map"], heat, atol=1e-6)


def test_a_torch_program_gives_the_answers_without_medood(run: Run, pictures: Path, tmp_path: Path) -> None:
    path, image = exported(run, pictures), np.random.default_rng(5).integers(80, 230, (40, 50)).astype(np.float32)
    np.save(tmp_path / "image.npy", image)
    printed = in_a_fresh_process(f"""
        import json, numpy, torch
        program = torch.export.load({str(path)!r}).module()
        found = program(torch.from_numpy(numpy.load({str(tmp_path / "image.npy")!r}))[None, None])
        print(json.dumps({{name: value.squeeze().tolist() for name, value in found.items()}}))
    """)
    compare(json.loads(printed), run, image)


def test_an_onnx_file_gives_the_answers_with_onnx_runtime_alone(run: Run, pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    path, image = exported(run, pictures, "onnx"), np.random.default_rng(6).integers(0, 256, (40, 50)).astype(np.float32)
    np.save(tmp_path / "image.npy", image)
    printed = in_a_fresh_process(f"""
        import json, numpy, onnxruntime
        sys.modules["torch"] = None
        session = onnxruntime.InferenceSession({str(path)!r})
        names = [each.name for each in session.get_outputs()]
        found = session.run(names, {{"pixels": numpy.load({str(tmp_path / "image.npy")!r})[None, None]}})
        print(json.dumps({{name: value.squeeze().tolist() for name, value in zip(names, found)}}))
        print(json.loads(session.get_modelmeta().custom_metadata_map["medood"])["intended_use"])
    """)
    first, second = printed.splitlines()
    compare(json.loads(first), run, image)
    assert second.startswith("RESEARCH USE ONLY")
    assert check_export(path).score == 0


def test_a_bundle_passes_monais_checks_and_runs_without_medood(run: Run, pictures: Path, tmp_path: Path) -> None:
    path = exported(run, pictures, "monai-bundle")
    assert {each.relative_to(path).as_posix() for each in path.rglob("*") if each.is_file()} == {
        "LICENSE",
        "configs/inference.json",
        "configs/metadata.json",
        "docs/README.md",
        "models/compared.npz",
        "models/model.pt2",
    }
    (tmp_path / "few").mkdir()
    image = Image.open(pictures / "GRUENWALD007.png")
    image.save(tmp_path / "few" / "seven.png")
    needed = ["version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors", "copyright"]
    schema = {"type": "object", "required": ["schema", "network_data_format", "changelog", *needed]}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    in_a_fresh_process(f"""
        import os
        os.chdir({str(path)!r})
        import monai.bundle
        monai.bundle.verify_metadata(meta_file="configs/metadata.json", filepath={str(tmp_path / "schema.json")!r})
        files = dict(meta_file="configs/metadata.json", config_file="configs/inference.json")
        monai.bundle.verify_net_in_out("score_network", device="cpu", **files)
        options = dict(dataset_dir={str(tmp_path / "few")!r}, output_dir={str(tmp_path / "eval")!r})
        monai.bundle.run("run", config_file="configs/inference.json", bundle_root=".", **options)
    """)
    found = json.loads((tmp_path / "eval" / "scores.json").read_text())["seven.png"]
    score, p_value, abnormal, _ = answers(run, np.asarray(image))
    assert found == {"score": pytest.approx(score, abs=1e-6), "p_value": pytest.approx(p_value), "abnormal": abnormal}
    assert check_export(path).good


def test_the_description_says_what_a_caller_must_know_and_names_nobody(run: Run, pictures: Path) -> None:
    path = exported(run, pictures)
    said = json.loads(Path(f"{path}.json").read_text())
    assert said["intended_use"].startswith("RESEARCH USE ONLY")
    assert said["input"]["shape"] == [1, 1, 40, 50]
    assert said["input"]["is"] == "pixels"
    assert said["decision"]["threshold"] == run.calibration["image"]["threshold"]
    assert said["decision"]["false_alarm_rate"] == 0.05
    assert said["parity"]["images"] == 32
    assert said["parity"]["largest_difference"]["score"] < 1e-4
    assert set(said["files"]) == {"file.pt2", "file.pt2.npz"}
    assert any("gate" in sentence for sentence in said["not_inside"])
    for file in path.parent.glob("file*"):
        content = file.read_bytes()
        assert not any(word in content for word in (b"GRUENWALD", b"secret-place", b"site-packages", str(pictures).encode())), file


def test_images_are_stored_unless_they_are_not_to_be(run: Run, pictures: Path) -> None:
    def stored(path: Path) -> np.ndarray:
        return np.load(f"{path}.npz")["inputs"]

    real = np.stack([np.asarray(Image.open(path)) for path in sorted(pictures.glob("*.png")) if Image.open(path).size == (50, 40)])
    with_images = stored(exported(run, pictures))
    assert with_images.dtype == np.uint8
    assert sum((with_images[:, 0] == image).all((1, 2)).any() for image in real) >= 31
    without = stored(exported(run, pictures, no_images=True, overwrite=True))
    assert not any((without[:, 0] == image).all((1, 2)).any() for image in real)
    correlations = np.corrcoef(np.concatenate([real.reshape(len(real), -1), without.reshape(32, -1)]))[: len(real), len(real) :]
    assert np.abs(correlations).max() < 0.95


def test_generated_images_have_the_grey_values_and_the_coarseness_of_the_real_ones() -> None:
    random = np.random.default_rng(0)
    fine = random.normal(100, 20, (32, 1, 24, 24)).astype(np.float32)
    coarse = np.repeat(np.repeat(random.integers(0, 200, (32, 1, 6, 6)), 4, 2), 4, 3).astype(np.float32)
    for images in (fine, coarse):
        found = generated(images)
        assert found.dtype == np.float32
        assert np.abs(np.sort(found.ravel())[::50] - np.sort(images.ravel())[::50]).max() < 20
        steps = [np.square(np.diff(each, axis=3)).mean() ** 0.5 / each.std() for each in (found, images)]
        assert steps[0] == pytest.approx(steps[1], rel=0.3)
    assert (generated(coarse) == np.rint(generated(coarse))).all()
    changed = made_new(np.where(coarse < 50, 0, coarse), background=0.0)
    assert ((changed == 0) == (coarse < 50)).all()
    assert 0 < np.abs(changed - np.where(coarse < 50, 0, coarse)).max() < 2


def test_steps_without_a_form_leave_preparing_to_the_caller(tmp_path: Path, pictures: Path) -> None:
    run = toy_run(tmp_path / "run", steps=[{"equalise": {"method": "local", "clip_limit": 0.01}}])
    with pytest.raises(MedoodError, match="pixel values: the step equalise has no form"):
        exported(run, pictures, wanted="pixels")
    said = json.loads(Path(f"{exported(run, pictures)}.json").read_text())
    assert said["input"]["is"] == "prepared"
    assert said["input"]["shape"] == [1, 1, SIZE, SIZE]
    assert "equalise" in said["input"]["caller_must_prepare"]["because"][0]
    assert said["input"]["caller_must_prepare"]["transforms"]["steps"] == [{"equalise": {"method": "local", "clip_limit": 0.01}}]


@pytest.mark.parametrize(
    ("pooling", "said"), [({"reduction": "largest_component"}, "connected parts"), ({"reduction": "mean", "side": "both"}, "")]
)
def test_a_pooling_that_cannot_leave_is_refused(run: Run, pictures: Path, pooling: dict[str, Any], said: str) -> None:
    changed = run.recipe.model_copy(update={"pooling": run.recipe.pooling.model_copy(update=pooling)})
    other = Run(run.folder, changed, run.detector, {**run.calibration, "pooling_threshold": 0.5}, {})
    if said:
        with pytest.raises(MedoodError, match=said):
            exported(other, pictures)
        assert not list(run.folder.parent.glob("file*"))
    else:
        assert exported(other, pictures).is_file()


def test_an_export_that_answers_otherwise_is_refused_and_leaves_nothing(run: Run, pictures: Path) -> None:
    def unlike(image: torch.Tensor) -> Scores:
        """A detector with a memory: it never answers twice alike."""
        calls.append(1)
        return Scores(image.mean((1, 2, 3)) + 0.001 * (len(calls) if len(calls) > 2 else 0), image)

    calls: list[int] = []
    run.detector._score = unlike  # type: ignore[method-assign, assignment]
    with pytest.raises(MedoodError, match="does not give the answers it should"):
        exported(run, pictures)
    assert [path.name for path in run.folder.parent.iterdir()] == ["run"]


def test_what_is_there_is_not_overwritten(run: Run, pictures: Path) -> None:
    path = exported(run, pictures)
    with pytest.raises(MedoodError, match="already there"):
        exported(run, pictures)
    exported(run, pictures, overwrite=True)
    for out, kind, said in ((path.with_suffix(".pt"), "torch", "ends in .pt2"), (path, "monai-bundle", "must be a folder")):
        with pytest.raises(MedoodError, match=said):
            export_run(run, out, kind=kind, images=pictures)  # type: ignore[arg-type]
    with pytest.raises(MedoodError, match="something else than a bundle"):
        export_run(run, run.folder, kind="monai-bundle", images=pictures, overwrite=True)


def test_too_few_images_and_images_that_moved_are_said(run: Run, tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 50), 90, np.uint8)).save(tmp_path / "one.png")
    (tmp_path / "few").mkdir()
    (tmp_path / "one.png").rename(tmp_path / "few" / "one.png")
    with pytest.raises(MedoodError, match=r"Found 1 images .* 32 are needed"):
        exported(run, tmp_path / "few")
    with pytest.raises(MedoodError, match="no longer where they were"):
        export_run(run, tmp_path / "a.pt2", kind="torch")


def test_missing_packages_are_named_with_the_command(run: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MedoodError, match=r"need onnx, onnxscript, onnxruntime: pip install 'medood\[onnx\]'"):
        exported(run, pictures, "onnx")


def test_check_notices_what_was_altered(run: Run, pictures: Path, tmp_path: Path) -> None:
    path = exported(run, pictures)
    assert check_export(path).good
    whole, numbers, said = path.read_bytes(), Path(f"{path}.npz"), Path(f"{path}.json")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MedoodError, match="cut short or was altered"):
        check_export(path)
    path.write_bytes(whole)
    kept = numbers.read_bytes()
    numbers.write_bytes(kept[:-1] + b"x")
    with pytest.raises(MedoodError, match=r"npz is cut short or was altered"):
        check_export(path)
    numbers.write_bytes(kept)
    text = said.read_text()
    said.write_text(text.replace('"medood_artefact": 1', '"medood_artefact": 99'))
    with pytest.raises(MedoodError, match="another version of medood"):
        check_export(path)
    said.write_text("{}")
    with pytest.raises(MedoodError, match="was not written by medood"):
        check_export(path)
    said.unlink()
    with pytest.raises(MedoodError, match="json is missing"):
        check_export(path)
    for foreign, match in ((tmp_path / "a.txt", "is no export"), (tmp_path / "none.onnx", "There is no")):
        if foreign.suffix == ".txt":
            foreign.write_text("hello")
        with pytest.raises(MedoodError, match=match):
            check_export(foreign)


def test_check_notices_other_answers_and_unpickles_nothing(run: Run, pictures: Path, tmp_path: Path) -> None:
    """Files whose checksums fit: somebody meant them so."""
    path = exported(run, pictures)
    said = json.loads(Path(f"{path}.json").read_text())

    def sealed() -> None:
        said["files"] = {place.name: sha256(place) for place in (path, Path(f"{path}.npz"))}
        Path(f"{path}.json").write_text(json.dumps(said))

    with np.load(f"{path}.npz") as stored:
        arrays = dict(stored)
    np.savez(f"{path}.npz", **arrays | {"score": arrays["score"] + 0.01})
    sealed()
    with pytest.raises(MedoodError, match="does not give the answers"):
        check_export(path)
    np.savez(f"{path}.npz", **arrays | {"inputs": np.array([{"an": "object"}], dtype=object)})
    sealed()
    with pytest.raises(MedoodError, match="does not hold what medood writes"):
        check_export(path)
    torch.save({"a": 1}, path)
    np.savez(f"{path}.npz", **arrays)
    sealed()
    with pytest.raises(MedoodError, match="damaged, or no file of"):
        check_export(path)


def test_the_command_line_exports_and_checks(run: Run, pictures: Path, tmp_path: Path) -> None:
    path = exported(run, pictures)
    done = CliRunner().invoke(app, ["export", "--check", str(path)])
    assert done.exit_code == 0
    assert done.stdout.strip() == str(path)
    for arguments, said in (
        ([], "Name the run folder"),
        (["a", "--check", str(path)], "takes the export alone"),
        ([str(tmp_path)], "not a run"),
    ):
        done = CliRunner().invoke(app, ["export", *arguments])
        assert done.exit_code == 2
        assert said in done.output
