"""A benchmark from its file to its tables, on pictures whose anomalies are planted."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pretend_cluster import PretendCluster
from sklearn.metrics import roc_auc_score

from medood.benchmarking.images import Chosen, Unseen
from medood.benchmarking.results import compare, read_rows
from medood.core.errors import MedoodError
from medood.core.volume import Entry, Index
from medood.engines import crew
from medood.engines.engine import Engine
from medood.evaluation.labelled_scores import read_scores
from medood.recipe.benchmarks.grid import Grid, load_grid
from medood.tasks.judging import benchmark as benchmark_task
from medood.tasks.judging.benchmark import benchmark

GRID = """\
tables: [intra, inter, components]
seeds: [0, 1]
common:
  transforms: {size: [32, 32]}
  split: {held_out: 0.3, test: 0.3}
  calibration: {false_alarm_rate: 0.2}
cohorts:
  Blobs:
    source: {name: folder, root: blobs, csv: table.csv}
    transforms: grey_image
    outliers: [Stripes]
sets:
  Stripes: {source: {name: folder, root: stripes}, limit: 5}
detectors:
  SVM: {detector: {name: one_class_svm}}
  CVAD:
    detector: {name: cvad, latent: 4, width: 4, generator_epochs: 2, discriminator_epochs: 1}
    training: {batch_size: 8, tensorboard: false}
    parts: {CVAD G: generator}
"""
NORMALS, ANOMALIES, STRIPES = 30, 6, 9


def _picture(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Blobs, two pictures to a patient; the anomalies have a bright square. Patient 0 has an anomaly and a normal picture."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    y, x = np.mgrid[:40, :40]
    rows = []
    for i in range(NORMALS + ANOMALIES):
        image = 150 * np.exp(-((x - 20 - rng.normal()) ** 2 + (y - 20 - rng.normal()) ** 2) / 120) + 8 * rng.random((40, 40))
        anomalous = i >= NORMALS
        if anomalous:
            image[4:14, 4:14] = 250
        _picture(root / "blobs" / f"{i:02d}.png", image)
        rows.append((f"{i:02d}.png", "patient0" if i == NORMALS else f"patient{i // 2}", int(anomalous), ""))
    with (root / "blobs" / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "group", "label", "part"), *rows])
    for i in range(STRIPES):
        _picture(root / "stripes" / f"{i}.png", 255.0 * ((x + i) // 3 % 2))
    return root


def _grid(folder: Path, data: Path, text: str = GRID, changes: Sequence[str] = ()) -> Grid:
    path = folder / "grid.yaml"
    path.write_text(text, encoding="utf-8")
    return load_grid(path, data, changes)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> Path:
    """The folder of a benchmark that ran through."""
    folder = tmp_path_factory.mktemp("finished")
    outcome = benchmark(_grid(folder, data), folder / "out", workers=1, device="cpu", cache=folder / "cache")
    assert outcome.failed == {}
    return folder / "out"


def _results(out: Path) -> dict[tuple[str, str], dict]:
    found = json.loads((out / "tables" / "grid" / "results.json").read_text(encoding="utf-8"))["comparisons"]
    return {(each["detector"], each["against"]): each for each in found}


def _ids(out: Path, place: str) -> dict[str, set[str]]:
    rows = json.loads((out / place / "index.json").read_text(encoding="utf-8"))
    return {part: {row["id"] for row in rows if row["part"] == part} for part in ("train", "held_out")}


def test_no_patient_is_both_in_training_and_in_the_test(data, finished):
    with (data / "blobs" / "table.csv").open() as file:
        group = {row["path"]: row["group"] for row in csv.DictReader(file)}
    label = {f"{i:02d}.png": int(i >= NORMALS) for i in range(NORMALS + ANOMALIES)}
    for seed in (0, 1):
        place = f"blobs/svm/seed-{seed}"
        used = {part: {group[name] for name in ids} for part, ids in _ids(finished, place).items()}
        tested = {row.key.id for row in read_scores(finished / place / "scores" / "own.csv")}
        assert not used["train"] & used["held_out"]
        assert not {group[name] for name in tested} & (used["train"] | used["held_out"])
        assert {name for name in label if label[name]} <= tested
        assert {"00.png", "01.png"} <= tested, "the normal pictures of a patient with an anomaly are never trained on"
        assert len({group[name] for name in tested if not label[name]}) == 1 + round(0.3 * 14), "of 15 patients, one has an anomaly"


def test_numbers_are_those_of_scikit_learn_averaged_over_seeds(finished):
    results = _results(finished)
    for (detector, against), found in results.items():
        values, places = [], [finished / "blobs" / detector.lower() / f"seed-{seed}" / "scores" for seed in (0, 1)]
        for place in places:
            own = read_scores(place / "own.csv")
            normal = [row.score for row in own if int(row.key.id[:2]) < NORMALS]
            other = [row.score for row in (own if against == "intra" else read_scores(place / "stripes.csv"))]
            anomalous = [row.score for row in own if int(row.key.id[:2]) >= NORMALS] if against == "intra" else other
            values.append(roc_auc_score([0] * len(normal) + [1] * len(anomalous), normal + anomalous))
        assert found["score"]["by_seed"] == pytest.approx(values)
        assert found["score"]["auroc"]["value"] == pytest.approx(np.mean(values))
        assert (found["normal"], found["anomalous"]) == (10, ANOMALIES if against == "intra" else 5)
    assert set(results) == {(d, a) for d in ("SVM", "CVAD") for a in ("intra", "Stripes")}
    assert results["SVM", "intra"]["score"]["auroc"]["value"] > 0.9
    assert set(results["CVAD", "intra"]["parts"]) >= {"generator", "discriminator"}
    for name, found in results["SVM", "intra"]["plain"].items():
        own = read_scores(finished / "blobs" / "svm" / "seed-0" / "scores" / "own.csv")
        plain = roc_auc_score([int(row.key.id[:2]) >= NORMALS for row in own], [row.columns[f"plain_{name}"] for row in own])
        assert found["auroc"]["value"] == pytest.approx(max(plain, 1 - plain))
        assert found["direction"] == ("lower" if plain < 0.5 else "higher")


def test_tables_are_written_in_four_forms(finished):
    names = {path.name for path in (finished / "tables" / "grid").iterdir()}
    assert {f"{table}.{ending}" for table in ("intra", "inter", "components") for ending in ("txt", "md", "tex", "csv")} <= names
    text = (finished / "tables" / "grid" / "components.txt").read_text(encoding="utf-8")
    assert "CVAD G" in text
    assert "SVM" not in text


def test_what_is_finished_is_not_done_again(data, finished, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.name in ("manifest.json", "own.csv", "stripes.csv")}
    results = (finished / "tables" / "grid" / "results.json").read_bytes()
    outcome = benchmark(_grid(tmp_path, data), finished, workers=1, device="cpu")
    assert outcome.failed == {}
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert (finished / "tables" / "grid" / "results.json").read_bytes() == results


def test_runs_of_a_recipe_that_has_changed_are_refused_and_trained_again_on_request(data, finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    changed = _grid(tmp_path, data, GRID.replace("latent: 4", "latent: 5"))
    with pytest.raises(MedoodError, match=r"2 runs that were made by another recipe, .*blobs/cvad/seed-0, blobs/cvad/seed-1.*--retrain"):
        benchmark(changed, out, workers=1, device="cpu")
    kept, replaced = (out / "blobs" / name / "seed-0" / "manifest.json" for name in ("svm", "cvad"))
    before = kept.stat().st_mtime_ns, replaced.read_bytes(), (out / "blobs/cvad/seed-0/scores/own.csv").read_bytes()
    assert benchmark(changed, out, workers=1, device="cpu", retrain=True, cache=tmp_path / "cache").failed == {}
    assert kept.stat().st_mtime_ns == before[0]
    assert replaced.read_bytes() != before[1]
    assert (out / "blobs/cvad/seed-0/scores/own.csv").read_bytes() != before[2], "scores of the old run are not kept"


def _written(out: Path) -> dict[Path, int]:
    """When the runs and scores were written."""
    return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name in ("manifest.json", "own.csv", "stripes.csv")}


def test_other_summaries_and_another_place_of_the_images_are_no_change(data, finished, tmp_path):
    moved, before = tmp_path / "moved", _written(finished)
    shutil.copytree(data, moved)
    text = GRID.replace("common:\n", "common:\n  summary: in other words\n")
    assert benchmark(_grid(tmp_path, moved, text), finished, workers=1, device="cpu").failed == {}
    assert _written(finished) == before


@pytest.mark.parametrize("change", ["a new image", "another patient", "a withdrawn image"])
def test_runs_of_other_images_are_refused(data, finished, tmp_path, change):
    other = tmp_path / "other"
    shutil.copytree(data, other)
    table = other / "blobs" / "table.csv"
    trained = min(_ids(finished, "blobs/svm/seed-0")["train"])
    patient = f"patient{int(trained[:2]) // 2}"
    if change == "a new image":
        shutil.copy(other / "blobs" / "04.png", other / "blobs" / "99.png")
        table.write_text(table.read_text() + f"99.png,{patient},0,\n")
    elif change == "another patient":
        table.write_text(table.read_text().replace(f"{trained},{patient},", f"{trained},somebody,"))
    else:
        table.write_text(table.read_text().replace(f"{trained},{patient},0", f"{trained},{patient},"))
    with pytest.raises(MedoodError, match="4 runs that were made by another recipe, or from other images"):
        benchmark(_grid(tmp_path, other), finished, workers=1, device="cpu")


def test_changed_labels_of_test_images_are_scored_again_without_training(data, finished, tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    shutil.copytree(finished, out)
    shutil.copytree(data, other)
    table = other / "blobs" / "table.csv"
    last = f"{NORMALS + ANOMALIES - 1:02d}.png"
    table.write_text("".join(line for line in table.read_text().splitlines(keepends=True) if not line.startswith(last)))
    before = _written(out)
    text = GRID[: GRID.index("  CVAD:\n")]
    assert benchmark(_grid(tmp_path, other, text), out, workers=1, device="cpu").failed == {}
    after = _written(out)
    assert all(after[path] == before[path] for path in before if path.name == "manifest.json")
    assert all(after[path] != before[path] for path in before if path.match("svm/*/scores/own.csv"))
    assert _results(out)["SVM", "intra"]["anomalous"] == ANOMALIES - 1


def test_numbers_of_an_old_run_are_not_shown_when_the_new_one_fails(data, finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    text = GRID.replace("{detector: {name: one_class_svm}}", "{detector: {name: f_anogan}}")
    grid = _grid(tmp_path, data, text[: text.index("  CVAD:\n")])
    assert benchmark(grid, out, device="cpu", only_tables=True).tables, "what was made otherwise is left out"
    assert _results(out) == {}
    assert set(benchmark(grid, out, workers=1, device="cpu", retrain=True).failed) == {"Blobs, SVM, seed 0", "Blobs, SVM, seed 1"}
    assert _results(out) == {}
    assert "64 x 64" in (out / "blobs" / "svm" / "seed-0" / "log.txt").read_text(encoding="utf-8")
    assert "its log.txt says why" in (out / "tables" / "grid" / "intra.txt").read_text(encoding="utf-8")


def test_an_old_run_does_not_pass_for_one_of_other_images_when_its_retraining_failed(data, finished, tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    shutil.copytree(finished, out)
    shutil.copytree(data, other)
    table = other / "blobs" / "table.csv"
    trained = min(_ids(finished, "blobs/svm/seed-0")["train"])
    table.write_text("".join(line for line in table.read_text().splitlines(keepends=True) if not line.startswith(trained)))
    grid = _grid(tmp_path, other, GRID[: GRID.index("  CVAD:\n")].replace("seeds: [0, 1]", "seeds: [0]"))
    (tmp_path / "file").touch()  # no folder for prepared images can be made below a file, so that training fails
    assert benchmark(grid, out, workers=1, device="cpu", retrain=True, cache=tmp_path / "file").failed
    assert _results(out) == {}
    assert benchmark(grid, out, workers=1, device="cpu", cache=tmp_path / "cache").failed == {}
    assert trained not in _ids(out, "blobs/svm/seed-0")["train"]


@pytest.mark.parametrize(("old", "new", "said"), [("root: stripes", "root: nowhere", "nowhere"), ("limit: 5", "part: test", "part 'test'")])
def test_missing_outliers_are_known_before_anything_is_trained(data, tmp_path, old, new, said):
    with pytest.raises(MedoodError, match=said):
        benchmark(_grid(tmp_path, data, GRID.replace(old, new)), tmp_path / "out", workers=1, device="cpu")
    assert not list((tmp_path / "out").rglob("log.txt"))


def test_a_failed_run_costs_the_others_nothing(data, tmp_path):
    text = GRID.replace("seeds: [0, 1]", "seeds: [0]").replace("  CVAD:\n", "  Wide: {detector: {name: f_anogan}}\n  CVAD:\n")
    text = text[: text.index("  CVAD:\n")]
    outcome = benchmark(_grid(tmp_path, data, text), tmp_path / "out", workers=1, device="cpu", cache=tmp_path / "cache")
    assert set(outcome.failed) == {"Blobs, Wide, seed 0"}
    assert "64 x 64" in outcome.failed["Blobs, Wide, seed 0"]
    assert set(_results(tmp_path / "out")) == {("SVM", "intra"), ("SVM", "Stripes")}


def test_tables_of_nothing_are_refused(data, tmp_path):
    with pytest.raises(MedoodError, match=r"There is no folder .*nowhere with runs of a benchmark"):
        benchmark(_grid(tmp_path, data), tmp_path / "nowhere", only_tables=True, device="cpu")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or os.name == "nt", reason="Ctrl-C is sent as Unix does")
def test_an_interrupted_benchmark_goes_on_and_ends_with_the_same_numbers(data, finished, tmp_path):
    _grid(tmp_path, data, GRID)  # three more trainings after the first: whoever stops it may be slow
    command = [
        sys.executable,
        "-m",
        "medood",
        "benchmark",
        str(tmp_path / "grid.yaml"),
        "--data",
        str(data),
        "--out",
        "out",
        "--workers",
        "1",
    ]
    command += ["--device", "cpu", "--cache", "cache"]
    pipe: dict[str, Any] = {"cwd": tmp_path, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8", "start_new_session": True}
    with subprocess.Popen(command, preexec_fn=_hear_ctrl_c, **pipe) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("[1/4]"):
                os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
                break
        rest = process.stderr.read()
    assert process.returncode == 130
    assert "The same command goes on from there." in rest
    assert "Traceback" not in rest
    assert not (tmp_path / "out" / "tables").exists()
    first = _written(tmp_path / "out")
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=True)
    assert "AUC" in again.stdout
    assert first.items() <= _written(tmp_path / "out").items(), "what was finished is kept"
    for key, found in _results(tmp_path / "out").items():
        assert found["score"]["by_seed"] == _results(finished)[key]["score"]["by_seed"]


def _hear_ctrl_c() -> None:
    """A shell that starts the tests in its background has them, and all that they start, ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _entries(names: str, **more) -> tuple[Entry, ...]:
    return tuple(Entry(name, (Path(name),), group=f"patient of {name}", **more) for name in names)


def test_images_of_known_patients_and_without_label_are_not_tested_on(tmp_path):
    entries = (*_entries("ab", label=0), *_entries("c"), *_entries("d", slices=3), *_entries("e", label=1))
    index = Index(tmp_path, entries)
    assert [e.id for e in Unseen(frozenset({"patient of a"}))(index).entries] == ["b", "d", "e"]
    with pytest.raises(MedoodError, match=r"no labelled image is left to test on.*split\.test"):
        Unseen(frozenset(e.group for e in entries))(index)


def test_where_a_test_part_is_named_nothing_else_is_tested_on(tmp_path: Path) -> None:
    """Such as the anomalous images of a publisher's training part: published figures are without them."""
    parts = {"a": None, "b": "test", "c": None, "d": "test", "e": "test"}
    labels = {"a": 0, "b": 0, "c": 1, "d": 1, "e": None}
    index = Index(tmp_path, tuple(Entry(name, (), name, label=labels[name], part=parts[name]) for name in parts))
    assert [e.id for e in Unseen(frozenset({"a"}))(index).entries] == ["b", "d"]
    unnamed = replace(index, entries=tuple(replace(e, part=None) for e in index.entries))
    assert [e.id for e in Unseen(frozenset({"a"}))(unnamed).entries] == ["b", "c", "d"]


def test_a_set_is_thinned_evenly(tmp_path):
    assert [e.id for e in Chosen(None, 3)(Index(tmp_path, _entries("abcdefg"))).entries] == ["a", "c", "e"]
    assert [e.id for e in Chosen(None, 3)(Index(tmp_path, _entries("ab"))).entries] == ["a", "b"]


def _scores(path: Path, rows: Sequence[tuple[str, float, str]]) -> Path:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("level", "id", "group", "score", "decision", "status", "part_half", "plain_mean"))
        table.writerows(
            ("image", name, group, score, "anomalous" if score > 2 else "normal", "ok", score / 2, -score) for name, score, group in rows
        )
    return path


def test_only_rows_that_every_seed_has_count(tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("id,label\na,0\nb,0\nc,1\nd,1\ne,\n")
    one = _scores(tmp_path / "1.csv", [("a", 1, "p"), ("b", 3, "q"), ("c", 2.5, "r"), ("d", 4, "s"), ("e", 9, "t")])
    two = _scores(tmp_path / "2.csv", [("b", 1, "q"), ("a", 2, "p"), ("d", 4, "s")])
    rows = read_rows([one, two], None, labels)
    assert [key.id for _, key in rows.keys] == ["a", "b", "d"]
    assert rows.scores.tolist() == [[1, 3, 4], [2, 1, 4]]
    assert rows.labels.tolist() == [0, 0, 1]
    found = compare(rows, cohort="C", detector="D", against="intra", seeds=(0, 1), rate=0.05, resamples=20)
    assert found.run_fpr is not None
    assert found.run_fpr.value == pytest.approx((0.5 + 0) / 2)
    assert found.score.by_seed == (1.0, 1.0)
    assert found.plain["mean"].direction == "lower"
    assert found.parts["half"].auroc.value == 1.0


def test_outliers_are_compared_with_the_normal_images_alone(tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("id,label\na,0\nb,0\nc,1\n")
    own = _scores(tmp_path / "own.csv", [("a", 1, "p"), ("b", 3, "q"), ("c", 9, "r")])
    others = _scores(tmp_path / "others.csv", [("a", 2, "p"), ("z", 0, "q")])
    rows = read_rows([own], [others], labels)
    assert rows.labels.tolist() == [0, 0, 1, 1]
    assert rows.scores.tolist() == [[1, 3, 2, 0]]
    assert len(set(rows.groups)) == 4, "a patient of another set is another patient"
    assert compare(rows, cohort="C", detector="D", against="Z", seeds=(0,), rate=None, resamples=20).score.auroc.value == 0.25


def test_one_class_alone_cannot_be_compared(tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("id,label\na,0\nb,0\n")
    with pytest.raises(MedoodError, match="found 2 normal and 0 anomalous images"):
        read_rows([_scores(tmp_path / "own.csv", [("a", 1, "p"), ("b", 3, "q")])], None, labels)


@pytest.mark.parametrize(
    ("text", "devices", "workers", "expected"),
    [
        (None, ("cpu",), None, (4, 2)),
        (None, ("cpu",), 2, (2, 4)),
        (None, ("cpu",), 16, (16, 1)),
        ("3", ("cpu",), None, (2, 3)),
        ("3", ("cpu",), 5, (5, 3)),
        ("16", ("cpu",), None, (1, 16)),
        ("2,1", ("cpu",), 1, (1, 2)),
        ("1", ("cuda:0", "cuda:1"), None, (2, 1)),
        ("many", ("cpu",), 2, (2, 4)),
        ("0", ("cpu",), 2, (2, 4)),
    ],
)
def test_runs_share_the_cores_unless_the_user_says_how_many_threads(monkeypatch, text, devices, workers, expected):
    monkeypatch.setattr(benchmark_task.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if text:
        monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert benchmark_task._crew(devices, workers) == expected


def test_runs_of_a_benchmark_keep_no_checkpoints(finished):
    assert not list(finished.rglob("checkpoint"))
    assert not list(finished.rglob(".lock"))
    assert not (finished / ".benchmark.lock").exists()


def test_each_of_two_folders_of_pictures_is_the_normal_class_once(tmp_path):
    rng, pets = np.random.default_rng(0), tmp_path / "pets"
    names = {"Cat": [f"Cat/{i}.png" for i in range(14)], "Dog": [f"Dog/{i}.png" for i in range(14)]}
    for i in range(14):
        _picture(pets / names["Cat"][i], 120 + 30 * rng.random((24, 24)))
        _picture(pets / names["Dog"][i], 255.0 * ((np.arange(24) + i) // 3 % 2) * np.ones((24, 1)))
    for normal, other in (("Cat", "Dog"), ("Dog", "Cat")):
        rows = [(name, name, 0, "test" if i > 9 else "") for i, name in enumerate(names[normal])]
        rows += [(name, name, 1, "test") for name in names[other][10:]]
        with (pets / f"{normal.lower()}s.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("path", "group", "label", "part"), *rows])
    text = """\
tables: [classes]
common: {calibration: {false_alarm_rate: 0.4}, split: {held_out: 0.4}}
cohorts:
  CatsVsDogs:
    source: {name: folder, root: pets}
    each_normal: {cat: {csv: cats.csv}, dog: {csv: dogs.csv}}
    transforms: {name: grey_image, size: [16, 16]}
detectors:
  SVM: {detector: {name: one_class_svm, size: 8}}
published: {title: Somebody, beside: {"CatsVsDogs, cat": {SVM: [0.5]}}}
"""
    grid = _grid(tmp_path, tmp_path, text)
    outcome = benchmark(grid, tmp_path / "out", workers=1, device="cpu", cache=tmp_path / "cache")
    assert outcome.failed == {}
    (table,) = outcome.tables
    cat, dog, mean = table.blocks[0].rows
    found = {each["cohort"]: each["score"]["auroc"]["value"] for each in _comparisons_of(tmp_path / "out")}
    assert (cat.cells[0].value, dog.cells[0].value) == (found["CatsVsDogs, cat"], found["CatsVsDogs, dog"])
    assert mean.cells[0].value == pytest.approx((cat.cells[0].value + dog.cells[0].value) / 2)
    assert cat.cells[0].value == 1.0
    assert cat.cells[1].value == 0.5
    assert "CatsVsDogs" in (tmp_path / "out" / "tables" / "grid" / "classes.txt").read_text(encoding="utf-8")


def _comparisons_of(out: Path) -> list[dict]:
    return json.loads((out / "tables" / "grid" / "results.json").read_text(encoding="utf-8"))["comparisons"]


def test_the_workers_of_an_engine_carry_out_the_same_runs(data, finished, tmp_path, monkeypatch):
    workers, given = PretendCluster(2), []

    @contextmanager
    def pretended(engine: Engine, device: str):
        given.append(engine)
        yield workers

    monkeypatch.setattr(benchmark_task, "workers_of", pretended)
    monkeypatch.setattr(crew, "_LOOK", 0.0)
    text = GRID[: GRID.index("  CVAD:")].replace(", components", "")
    engine = Engine("cluster", "pretended:1")
    outcome = benchmark(_grid(tmp_path, data, text), tmp_path / "out", device="cpu", cache=tmp_path / "cache", engine=engine)
    assert (outcome.failed, given, workers.most) == ({}, [engine], 1)
    ours, theirs = _results(tmp_path / "out"), _results(finished)
    assert set(ours) == {("SVM", "intra"), ("SVM", "Stripes")}
    for key, found in ours.items():
        assert found == theirs[key]
    assert not list((tmp_path / "out").glob(".runs*"))
