"""A run that pools: calibrated and scored alike, each volume by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import medood
from medood.core.errors import MedoodError
from medood.recipe.recipe import Pooling
from medood.scoring.pooling import counted, pooled_maps, series_top, slice_scores, smoothing_of

POOLING = {"smooth_mm": 5.0, "erode_mm": 6.0, "reduction": "top_mm2", "top_mm2": 150.0, "series": "top_mm3", "top_mm3": 2000.0}


def recipe(pooling: dict[str, Any], detector: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "source": {"name": "phantom", "subjects": 6, "lesions": 0.0, "size": 32, "slices": 12},
        "transforms": {"name": "brats_flair", "size": [32, 32], "field_of_view": [192.0, 192.0]},
        "detector": detector or {"name": "autoencoder", "latent": 4, "width": 4},
        "training": {"epochs": 1, "tensorboard": False},
        "split": {"held_out": 0.5},
        "pooling": pooling,
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> medood.Run:
    return medood.train(recipe(POOLING), out=tmp_path_factory.mktemp("pooled") / "run", device="cpu")


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    medood.write_phantoms(folder, subjects=2, seed=3, size=32, slices=12)
    return folder / "nifti"


def test_scores_are_those_of_the_pooled_maps(run: medood.Run, volumes: Path) -> None:
    path = next(volumes.glob("*/*flair.nii.gz"))
    result = run.score(path)
    (volume,) = medood.read(path)
    prepared = run._scorer.pipeline.prepare(volume)
    images = torch.from_numpy(prepared.images)
    raw, body = run.detector.score(images), (prepared.images != 0).any(1)
    plan = Pooling(**POOLING)
    assert raw.map is not None
    smoothing = smoothing_of(body, prepared.slices, prepared.raster, plan)
    maps = pooled_maps(raw.map[:, 0].numpy(), body, prepared.raster, plan, smoothing)
    where = counted(body, prepared.raster, plan)
    scored = [one for one in result.slices if one.score is not None]
    assert [one.score for one in scored] == pytest.approx(slice_scores(maps, where, prepared.raster, plan), rel=1e-4)
    assert [one.parts["detector"] for one in scored] == pytest.approx(raw.image.numpy(), rel=1e-4)
    assert result.score == pytest.approx(series_top(maps, where, prepared.raster, plan), rel=1e-4)
    assert result.map is not None
    shown = result.map[prepared.slices] > 0
    assert np.isclose(result.map.max(), maps.max(), rtol=1e-4)
    assert shown.any()


def test_a_volume_is_pooled_by_itself(run: medood.Run, volumes: Path) -> None:
    together = {(row["id"], row["slice"]): row["score"] for row in run.score_folder(volumes, source="brats").rows if row["score"]}
    for folder in sorted(path for path in volumes.iterdir() if path.is_dir()):
        alone = [row for row in run.score_folder(folder).rows if row["score"]]
        assert len(alone) > 5
        for row in alone:
            (expected,) = [score for (name, number), score in together.items() if folder.name in name and number == row["slice"]]
            assert float(row["score"]) == pytest.approx(float(expected), rel=1e-4)


def test_trivial_features_are_pooled_in_the_same_way(run: medood.Run, volumes: Path) -> None:
    rows = [row for row in run.score_folder(volumes, source="brats").rows if row["level"] == "slice" and row["score"]]
    assert all(0 < float(row["plain_bright"]) <= 1 for row in rows)
    assert all(0 < float(row["plain_dark"]) <= 1 for row in rows)
    assert all(float(row["plain_bright"]) > 1 - float(row["plain_dark"]) for row in rows), "the brightest spot is brighter than the darkest"


@pytest.mark.parametrize(
    ("pooling", "detector", "words"),
    [
        ({"reduction": "mean"}, {"name": "one_class_svm"}, "makes none"),
        ({"side": "higher", "reduction": "mean"}, {"name": "deep_svdd", "attribution": True}, "does not reconstruct"),
    ],
)
def test_what_a_detector_does_not_make_cannot_be_pooled(
    pooling: dict[str, Any], detector: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(MedoodError, match=words):
        medood.train(recipe(pooling, detector), out=tmp_path / "run", device="cpu")


@pytest.mark.parametrize("pooling", [{"side": "lower", "reduction": "mean"}, {"reduction": "largest_component", "percentile": 90.0}])
def test_other_poolings_train_and_score(pooling: dict[str, Any], volumes: Path, tmp_path: Path) -> None:
    run = medood.train(recipe(pooling), out=tmp_path / "run", device="cpu")
    rows = [row for row in run.score_folder(volumes, source="brats").rows if row["level"] == "slice" and row["score"]]
    assert all(np.isfinite(float(row["score"])) and float(row["score"]) >= 0 for row in rows)
    assert len({row["score"] for row in rows}) > len(rows) // 2


def test_a_hidden_rim_is_left_out_of_the_maps_alone(volumes: Path, tmp_path: Path) -> None:
    path = next(volumes.glob("*/*flair.nii.gz"))
    detector = {"name": "intensity", "side": "both", "reference": "value"}
    results = {}
    for rim in ("shown", "hidden"):
        plan = {"erode_mm": 13.0, "rim": rim, "reduction": "mean"}
        run = medood.train(recipe(plan, detector), out=tmp_path / rim, device="cpu")
        results[rim] = run.score(path), run.calibration["image"]["map_scale"]["threshold"]
    (shown, reaches), (hidden, within) = results["shown"], results["hidden"]
    assert hidden.score == pytest.approx(shown.score)
    assert shown.map is not None
    assert hidden.map is not None
    prepared = run._scorer.pipeline.prepare(medood.read(path)[0])
    deep = counted((prepared.images != 0).any(1), prepared.raster, Pooling(erode_mm=13.0))
    (rows, columns) = np.nonzero(deep.any(0))
    assert 0 < (hidden.map != 0).sum() < 0.8 * (shown.map != 0).sum()
    kept = hidden.map != 0
    assert np.allclose(hidden.map[kept], shown.map[kept])
    assert (rows.min(), columns.min()) > (0, 0)
    assert within != reaches, "the colours are those of what is shown"
