"""Every detector of the catalogue is recorded, read back without unpickling and answers as before, or is refused with a sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from detector_trials import phantoms
from test_detector_contract import ALL_CASES, GREYS, Case, spec_of, trained
from torch import nn

from medood.artefacts.onnx_file import open_onnx, write_onnx
from medood.artefacts.program import OUTPUTS, AsPrepared, Parts, Whole, write_down
from medood.artefacts.torch_file import open_torch, write_torch
from medood.core.errors import MedoodError
from medood.metrics.calibration import Calibration

IN_ONNX = ("dsebm", "goad_affine", "intensity", "mse", "patch_core")
QUICK = (*IN_ONNX, "pyod", "mahalanobis", "one_class_svm", "padim", "vae")
OUTSIDE = {"pyod": "it is PyOD's"}
ADDED = {"ensemble": ({"name": "intensity"}, {"name": "autoencoder", "width": 4})}
FIRST = {case.name: case for case in reversed(ALL_CASES)}


def small(name: str) -> Case:
    """The first case of a detector, on features that are computed by torch."""
    case = FIRST[name]
    features = GREYS if case.features and case.features["name"] == "gradient_histograms" else case.features
    return replace(case, features=features, members=ADDED.get(name, case.members))


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in sorted(FIRST)])
def test_a_detector_answers_alike_as_a_program(name: str, tmp_path: Path) -> None:
    if name == "pyod":
        pytest.importorskip("pyod")
    case = small(name)
    found = trained(case, spec_of(case), epochs=1, images=32)
    detector, images = found.detector, phantoms(found.spec, 4, seed=40)
    calibration = Calibration.fit(np.linspace(0, 1, 40), np.arange(40).astype(str), 0.05)
    whole = Whole(Parts(nn.Identity(), detector, found.spec.background, None, calibration, AsPrepared(0.0)))
    if name in OUTSIDE:
        with pytest.raises(MedoodError, match=OUTSIDE[name]):
            write_down(whole, images[:1], images[1:2], OUTSIDE[name])
        return
    program = write_down(whole, images[:1], images[1:2], "never")
    runs = [(write_torch, open_torch, tmp_path / "a.pt2")]
    if name in IN_ONNX:
        pytest.importorskip("onnxscript")
        runs.append((write_onnx, open_onnx, tmp_path / "a.onnx"))
    ours = [detector.score(image[None]) for image in images]
    spread = max(float(np.ptp([scores.image.item() for scores in ours])), 1e-3 * abs(ours[0].image.item()))
    for write, read, path in runs:
        write(path, program, {"outputs": OUTPUTS[: 3 if ours[0].map is None else 4]})
        run = read(path)
        for image, scores in zip(images, ours, strict=True):
            answers = run(image[None].numpy())
            assert abs(answers["score"].item() - scores.image.item()) <= 2e-3 * spread, (name, path.suffix)
            assert ("map" in answers) == (scores.map is not None)
            if scores.map is not None:
                width = float(scores.map.max() - scores.map.min())
                assert np.abs(answers["map"] - scores.map.numpy()).max() <= 2e-3 * width
