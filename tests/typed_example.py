"""A program of a user, which `make lint` checks: what type checkers and editors must know of medood. It is not run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import torch
from torch.utils.data import DataLoader
from typing_extensions import assert_type

import medood


def score_files(place: Path) -> None:
    run = medood.load(place)
    assert_type(run, medood.Run)
    assert_type(run.name, str)
    assert_type(run.detector, medood.Detector)
    result = run.score("scan.nii.gz")
    assert_type(result, medood.Result)
    assert_type(result.score, float | None)
    assert_type(result.p_value, float | None)
    assert_type(result.decision, str | None)
    assert_type(result.map, np.ndarray | None)
    assert_type(result.slices, tuple[medood.SliceResult, ...])
    assert_type(result.in_domain, bool | None)
    assert_type(result.domain_p, float | None)
    assert_type(result.domain_reason, tuple[str, ...])
    assert_type(result.to_nibabel(), nib.Nifti1Image)
    assert_type(result.save_map("map.nrrd"), Path)
    image: sitk.Image = result.to_simpleitk()
    run.score(image)
    run.score(np.zeros((3, 4, 5)), spacing=(3.0, 1.0, 1.0), plane="axial")
    run.score(place, plane="oblique")  # type: ignore[arg-type]
    folder = run.score_folder(place, "scores.csv", maps=place)
    assert_type(folder, medood.FolderResult)
    assert_type([row["id"] for row in folder], list[Any])


def read_files(place: str) -> list[np.ndarray]:
    volumes = medood.read(place)
    assert_type(volumes.problems, tuple[medood.Problem, ...])
    assert_type(volumes[0], medood.Volume)
    assert_type(volumes[0].geometry.spacing, tuple[float, float, float])
    assert_type(volumes[0].entry.issues, tuple[str, ...])
    return [volume.image for volume in volumes]


def train_runs(plan: dict[str, Any]) -> medood.Run:
    assert_type(medood.train("demo", out="runs/demo"), medood.Run)
    medood.train("demo")  # type: ignore[call-arg]
    return medood.train(plan, data="images", out=Path("run"), changes={"training.epochs": 2})


def fit_detectors(loader: DataLoader[torch.Tensor], array: np.ndarray, heard: list[medood.Epoch]) -> torch.Tensor:
    detector = medood.detector("autoencoder", medood.ImageSpec(1, 64, 64), latent=8)
    assert_type(detector, medood.Detector)
    assert_type(detector.fit(loader, array, epochs=3, on_epoch=heard.append), medood.Detector)
    detector.fit("images")  # type: ignore[arg-type]
    for phase in detector.phases():
        assert_type(phase, medood.Phase)
        assert_type(phase.step(medood.Batch(torch.zeros(2, 1, 64, 64)), phase.update), dict[str, torch.Tensor])
    assert_type(detector.mark_fitted().fitted, bool)
    assert_type(medood.load_detector(medood.save_detector(detector, "saved")), medood.Detector)
    scores = detector.score(array)
    assert_type(scores, medood.Scores)
    return scores.image


class Mine(medood.Detector):
    """A detector of one's own keeps its type."""

    def phases(self) -> list[medood.Phase]:
        return []


def fit_mine(images: torch.Tensor) -> None:
    assert_type(Mine(medood.ImageSpec(1, 8, 8)).fit(images), Mine)
