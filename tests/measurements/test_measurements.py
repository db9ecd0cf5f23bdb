"""The measurement scripts on the smallest settings, and their arithmetic on known numbers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medood.recipe import catalogue
from medood.recipe.loading import load_recipe

SCRIPTS = Path(__file__).parents[2] / "measurements"


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # other tests go on with what they had


def cells(table: str) -> list[list[str]]:
    """Rows of a Markdown table without its head."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")][2:]


def test_the_overhead_is_the_median_of_ratios_within_rounds() -> None:
    from trainer_overhead import Cost, report

    names = "medood, training", "medood, no validation", "medood, all of it"
    rounds = [
        {"bare loop": Cost(base, 2 * base)} | dict.fromkeys(names, Cost(other, 3 * base)) for base, other in ((10, 11), (40, 40), (20, 30))
    ]
    rows = {row[0]: row[1:] for row in cells(report(rounds))}
    assert rows["bare loop"] == ["20.0", "1.000", "1.000 to 1.000", "1.000"]
    assert rows["medood, training"] == ["30.0", "1.100", "1.000 to 1.500", "1.500"]


def test_the_overhead_script_trains_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    from trainer_overhead import main

    main(["--size=32", "--images=10", "--batch=4", "--epochs=1", "--rounds=1"])
    rows = {row[0]: row[1:] for row in cells(capsys.readouterr().out)}
    training, whole = (float(rows[name][0]) for name in ("medood, training", "medood, all of it"))
    assert 0 < training < whole  # the whole includes validation, checkpoints and the same epochs


def test_the_costs_cover_every_detector() -> None:
    from detector_costs import LEFT_OUT, recipes_of_all_detectors

    covered = {load_recipe(name).detector["name"] for name in recipes_of_all_detectors()}
    assert covered == set(catalogue.detectors()) - LEFT_OUT
    assert set(catalogue.detectors()) > LEFT_OUT


def test_a_detector_that_needs_a_contrast_gets_one(tmp_path: Path) -> None:
    from detector_costs import training_cost

    small = ["transforms.size=[32, 32]", "features.weights=random", "features.size=[32, 32]", "training.epochs=1", "training.batch_size=8"]
    found = training_cost(load_recipe("rsna_outlier_exposure", small), 20, 1, "cpu", tmp_path / "weights.safetensors")
    assert found["learning"] == ["likelihood", "exposure"]


@pytest.mark.parametrize(
    ("name", "phases", "learning"), [("isic_cvad", {"generator", "discriminator", "scale"}, 2), ("isic_ocsvm", {"fit"}, 0)]
)
def test_the_costs_of_a_detector_come_from_training_and_scoring_it(name: str, phases: set[str], learning: int, tmp_path: Path) -> None:
    from detector_costs import row, scoring_cost, training_cost

    recipe = load_recipe(name, ["transforms.size=[32, 32]", "transforms.channels=1", "training.epochs=1", "training.batch_size=8"])
    weights = tmp_path / "weights.safetensors"
    training = training_cost(recipe, 20, 1, "cpu", weights)
    assert training["seconds"].keys() == phases
    assert len(training["learning"]) == learning
    scoring = scoring_cost(recipe, 20, 1, "cpu", weights, 10.0)
    assert min(scoring["speeds"].values()) > 0
    known: dict[str, Any] = {"seconds": dict.fromkeys(training["seconds"], 0.5), "memory": None}
    assert row(recipe, training | known, scoring, 20)["training images/s"] == ", ".join(["40"] * learning)
    assert row(recipe, training | known, scoring, 20)["memory"] == "n/a"


@pytest.mark.parametrize("kind", ["released", "paper", "spatial"])
def test_the_generators_have_the_published_sizes(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import cvad_latents

    with torch.device("meta"):  # counted, not made: the largest takes 2.8 GB
        cvad_latents.build(kind, 256)
        monkeypatch.setitem(cvad_latents.MILLIONS, kind, 27.0)
        with pytest.raises(AssertionError, match=r"not 27\.0 M"):
            cvad_latents.build(kind, 256)


def test_the_released_generator_draws_in_training_only_and_scores_each_image_by_itself() -> None:
    from cvad_latents import build

    torch.manual_seed(0)
    network, losses = build("released", 32)
    images = torch.rand(4, 1, 32, 32)
    with torch.no_grad():
        assert not torch.equal(losses(images), losses(images))
        network.eval()
        assert torch.allclose(losses(images), torch.cat([losses(image[None]) for image in images]), rtol=1e-4)


def test_the_generators_are_compared_with_the_released_one() -> None:
    from cvad_latents import report

    found = {"released": {"training images/s": 2.5, "MiB": None}, "spatial": {"training images/s": 60.0, "MiB": None}}
    assert cells(report(found)) == [["released", "697.78 M", "2.5", "n/a"], ["spatial", "26.89 M", "60.0 (24.00 x)", "n/a"]]


def test_a_fresh_process_is_another_one() -> None:
    from measuring import in_fresh_process

    assert in_fresh_process(os.getpid) != os.getpid()


def test_maps_are_pooled_inside_the_brain_alone() -> None:
    from timed_maps import hottest, smoothed

    heat, brain = np.full((5, 9, 9), 2.0, np.float32), np.zeros((5, 9, 9), bool)
    brain[1:4, 2:7, 2:7] = True
    heat[~brain] = 100.0
    smooth = smoothed(heat, brain, (1.0, 1.0, 1.0))
    assert np.allclose(smooth[brain], 2.0, atol=1e-4)
    assert (smooth[~brain] == 0).all()
    assert hottest(np.arange(12.0), np.arange(12) < 10, 4) == 7.5
    assert hottest(np.arange(12.0), np.arange(12) < 2, 4) == 0.5
    assert hottest(np.arange(12.0), np.zeros(12, bool), 4) == 0.0


def test_detectors_are_built_as_the_recipes_say_unless_told_otherwise() -> None:
    from argparse import Namespace

    from timed_maps import built

    from medood.core.detector import ImageSpec

    spec, options = ImageSpec(1, 32, 32), Namespace(width=4, changes=["synthetic.most=7", "dae.median=0"])
    prior: Any = built("intensity", "brats", spec, options)
    assert (prior.reference, prior.side) == tuple(load_recipe("brats_intensity").detector[key] for key in ("reference", "side"))
    large: Any = built("synthetic", "brats", spec, options)
    recipe = load_recipe("brats_synthetic").detector
    assert (list(large.paste.kinds), large.paste.sides[1]) == (recipe["anomalies"], recipe["largest"])
    found: Any = built("synthetic", "rsna256", spec, options)
    assert found.paste.most == 7
    assert len(found.paste.kinds) == 4


def test_folds_train_without_their_subject_and_are_ranked_together(tmp_path: Path) -> None:
    from argparse import Namespace

    from timed_maps import fold, subjects, summary

    from medood.sources.phantoms.phantom import Phantom

    spec, found = subjects(Phantom(subjects=3, size=32, slices=8, lesions=1.0), 32)
    options = Namespace(width=4, seconds=0.01, device="cpu", precision="float32", changes=["dae.median=0"])
    results = [fold(name, spec, found, 1, options) for name in ("grey values", "intensity", "dae", "synthetic")]
    normal = sum(int((subject.prepared.labels == 0).sum()) for number, subject in enumerate(found) if number != 1)
    for result in results:
        assert result["images"] == normal
        assert result["rows"]["label"] == found[1].prepared.labels[found[1].prepared.labels >= 0].tolist()
    lines = {line["detector"]: line for line in summary(results)}
    assert lines["grey values"]["steps"] == 0 < lines["dae"]["steps"]
    assert lines["intensity"]["pixel_ap"] == pytest.approx(lines["grey values"]["pixel_ap"], abs=0.02)  # the same order


def test_timed_maps_are_written_after_every_fold_and_not_measured_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image
    from timed_maps import main

    random, rows = np.random.default_rng(0), ["path,group,label,part"]
    for number in range(12):
        label, part = int(number >= 9), "train" if number < 6 else "test"
        Image.fromarray(random.integers(0, 255, (20, 20), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,p{number},{label},{part}")
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "toy.csv").write_text("\n".join(rows))
    how = [str(tmp_path), "--out", str(tmp_path / "out.json"), "--sets", "toy", "--size", "16", "--width", "4", "--seconds", "0.01"]
    main([*how, "--detectors", "intensity"])
    first = json.loads((tmp_path / "out.json").read_text())
    main([*how, "--detectors", "intensity", "dae"])
    second = json.loads((tmp_path / "out.json").read_text())
    assert [result["detector"] for result in second["results"]] == ["grey values", "intensity", "dae"]
    assert second["results"][:2] == first["results"]
    assert "auroc of pooled" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*how, "--seconds", "9"])


def test_advice_is_measured_by_its_regret_and_the_correlation_of_ranks() -> None:
    from advise_ranks import summary

    def results(**rows: tuple[float, float, float]) -> list[dict[str, Any]]:
        named = {n: {"test": t, "cases": {"bright, small": b, "blur, small": u}} for n, (t, b, u) in rows.items()}
        return [{"candidates": named, "trivial": {"mean, higher": {"test": 0.6}}, "seconds": 60.0}]

    row = summary("set", results(a=(0.9, 0.5, 0.6), b=(0.8, 0.7, 0.8), c=(0.4, 0.9, 0.1)))  # by all kinds b, a, c; by bright alone c, b, a
    assert row["Spearman"] == "0.50"
    assert row["first of advise"] == "b (0.800)"
    assert row["best in hindsight"] == "a (0.900)"
    assert [row[key] for key in ("regret", "by lot", "worst", "regret, bright alone")] == ["0.100", "0.200", "0.500", "0.500"]
    assert row["Spearman, bright alone"] == "-1.00"
    assert row["best trivial feature"] == "mean, higher (0.600)"


def test_engines_are_compared_within_rounds() -> None:
    from engines import rows, scoring_seconds

    times = {"JPEG": {"local": [(10.0, 14.0), (20.0, 24.0), (40.0, 45.0)], "dask, 2": [(5.0, 15.0), (16.0, 25.0), (25.0, 30.0)]}}
    (local, dask) = rows(times, 1000)
    assert (local["images/s"], local["ratio"], local["seconds in all"]) == ("50", "1.00 (1.00 to 1.00)", "24.0")
    assert (dask["images/s"], dask["ratio"], dask["seconds in all"]) == ("62", "1.60 (1.25 to 2.00)", "25.0")
    assert scoring_seconds("Found 3\nScoring with 2 workers.\nScoring: 12.5 s\n") == 12.5


def test_the_engine_script_asks_every_engine_for_both_kinds_of_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import engines

    def measured(run: Path, images: Path, out: Path, engine: list[str]) -> tuple[float, float]:
        asked.append((images.name, len(list(images.rglob("*.*"))), engine))
        return 1.0, 2.0

    asked: list[tuple[str, int, list[str]]] = []
    monkeypatch.setattr(engines, "train", lambda folder: folder / "run")
    monkeypatch.setattr(engines, "measure", measured)
    engines.main(["--files=4", "--slices=2", "--rounds=2"])
    every = [["--engine", "local"], *(["--engine", "dask", "--workers", count] for count in ("1", "2"))]
    assert asked == [(kind, 4, engine) for kind in ("DICOM", "JPEG") for engine in every] * 2
    assert [row[2] for row in cells(capsys.readouterr().out)] == ["4"] * 6


def test_false_alarms_are_as_asked_for_where_the_images_of_a_patient_are_not_alike() -> None:
    from false_alarms import false_alarms

    random = np.random.default_rng(0)
    assert false_alarms(4, 20, 0.0, 0.1, 300, random) == pytest.approx(0.1, abs=0.015)
    assert false_alarms(4, 20, 0.9, 0.1, 300, random) > 0.13
