"""The measurement scripts about features on small settings, and their arithmetic on known numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medood.core.errors import MedoodError
from medood.metrics.trivial import PLAIN_FEATURES
from medood.recipe.loading import load_recipe

SCRIPTS = Path(__file__).parents[2] / "measurements"


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # other tests go on with what they had


def scored(folder: Path, own: float) -> tuple[Path, Path]:
    """A table and scores of 200 held-out and 400 test images: a parabola of log sharpness, noise, and `own` for the anomalous.

    Anomalous images are blurred, and lie where the parabola rises: the scores separate them by that alone.
    """
    random = np.random.default_rng(0)
    listed, scores = ["path,group,label,part"], ["level,id,score,plain_sharpness"]
    for number in range(600):
        part, label = ("val", 0) if number < 200 else ("test", number % 2)
        sharpness = random.normal(-2.0 - label, 0.7)
        score = 5 + (sharpness + 0.5) ** 2 + random.normal(0, 0.2) + own * label
        listed.append(f"{number}.png,p{number},{label},{part}")
        scores.append(f"image,{number}.png,{score},{np.exp(sharpness)}")
    table, csv = folder / "table.csv", folder / "scores.csv"
    table.write_text("\n".join(listed))
    csv.write_text("\n".join(scores))
    return table, csv


@pytest.mark.parametrize(("own", "low", "high"), [(0.0, 0.4, 0.6), (0.6, 0.9, 1.0)])
def test_what_sharpness_explains_is_taken_away_and_nothing_else(own: float, low: float, high: float, tmp_path: Path) -> None:
    from sharpness_regressed import row

    found = row(*scored(tmp_path, own), "val")
    plain, beyond = (float(found[name].split()[0]) for name in ("AUROC", "beyond"))
    assert plain > 0.8
    assert low < beyond < high
    assert int(found["explained"].rstrip("%")) > 90
    assert float(found["sharpness, lower"].split()[0]) == pytest.approx(0.84, abs=0.04)  # two normal distributions 1 / 0.7 apart


def test_the_quadratic_says_nothing_new_beyond_what_it_has_seen() -> None:
    from sharpness_regressed import Images, Quadratic

    sharpness = np.linspace(0.0, 1.0, 20)
    normal = Images(sharpness**2, sharpness, np.zeros(20, int), np.arange(20))
    far = Images(np.array([1.0, 1.0]), np.array([1.0, 9.0]), np.zeros(2, int), np.arange(2))
    np.testing.assert_allclose(Quadratic.of(normal).left(far), 0, atol=1e-9)


def test_scores_of_the_test_part_alone_are_one_sentence(tmp_path: Path) -> None:
    from sharpness_regressed import main

    table, csv = scored(tmp_path, 0.0)
    lines = csv.read_text().splitlines()
    csv.write_text("\n".join([lines[0], *lines[201:]]))
    with pytest.raises(MedoodError, match="score all parts"):
        main([str(table), str(csv)])
    assert "plain_sharpness" in PLAIN_FEATURES


def test_the_probe_finds_what_is_there_and_does_not_know_patients_again() -> None:
    from linear_probe import Labelled, probed
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(0)
    labels, groups = np.arange(200) % 2, np.repeat(np.arange(100), 2)
    rows = random.normal(size=(200, 10))
    informed = rows + 2.0 * labels[:, None] * np.eye(10)[0]
    assert roc_auc_score(labels, probed(Labelled(informed, labels, groups))) > 0.85
    of_patients = np.repeat(random.normal(size=(100, 60)), 2, axis=0)  # the two images of a patient are the same
    by_patient = np.repeat(random.permutation(np.arange(100) % 2), 2)
    assert abs(roc_auc_score(by_patient, probed(Labelled(of_patients, by_patient, groups))) - 0.5) < 0.15


def test_the_probe_reads_images_as_the_recipe_prepares_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from linear_probe import labelled

    monkeypatch.setenv("MEDOOD_CACHE", str(tmp_path / "cache"))
    lines = ["path,group,label,part"]
    for number in range(6):
        Image.fromarray(np.full((20, 20, 3), 40 * number, np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,p{number},{number % 2},{'test' if number > 1 else 'train'}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    changes = ["features={name: grey_statistics, layers: [2], size: [20, 20]}", "transforms.size=[20, 20]"]
    images = labelled(load_recipe("isic_patchcore", changes), tmp_path, "table.csv", "test")
    assert images.labels.tolist() == [0, 1, 0, 1]
    assert images.groups.tolist() == ["p2", "p3", "p4", "p5"]
    np.testing.assert_allclose(images.rows[:, 0], np.array([80, 120, 160, 200]) / 255, atol=1e-3)  # the mean of the red channel's means


def test_the_costs_of_features_come_from_extracting_fitting_and_scoring(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import feature_costs

    monkeypatch.setattr(feature_costs, "in_fresh_process", lambda function, *arguments: function(*arguments))
    arguments = ["--size=32", "--images=3", "--slices", "5", "--extractors", "grey_statistics", "efficientnet_lite0"]
    feature_costs.main([*arguments, "--set", "features.size=[32, 32]"])
    out = capsys.readouterr().out
    assert "5 slices: patch_core chooses 80 of up to 80 patches with 152 channels" in out  # 4 x 4 places each
    lines = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in out.splitlines() if line[:1] == "|"}
    assert float(lines["grey_statistics"][2]) > float(lines["efficientnet_lite0"][2]) > 0
    assert lines["grey_statistics"][:2] == ["128 x 128", "5 on 16 x 16"]
    assert float(lines["5"][2].split()[0]) > 0
