"""GOAD on rows of numbers: its transforms, loss, centres and score against brute force, and a table from file to score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detector_trials import Training, build, extractor
from seeds import shifted
from sklearn.metrics import roc_auc_score
from torch import Tensor

from medood.core.detector import Batch, ImageSpec
from medood.detectors.self_supervised.goad_affine import GoadAffine
from medood.recipe.loading import load_recipe
from medood.tasks.scoring.score import score_folder
from medood.tasks.training.train import train_recipe

SPEC = ImageSpec(4, 1, 1, -3e38, 3e38)


def small(**parameters: Any) -> Any:
    options = {"transforms": 5, "size": 6, "width": 7, "layers": 2} | parameters
    return build(lambda: GoadAffine(SPEC, extractor(SPEC, {"name": "columns"}), **options))


def rows(count: int, seed: int = 0) -> Tensor:
    """Rows in which the second number follows the first, and the fourth the third."""
    random = torch.Generator().manual_seed(seed)
    first, third, noise = torch.randn((3, count), generator=random)
    return torch.stack([first, 2 * first + 0.1 * noise, 1000 * third, third - 0.1 * noise], 1)[:, :, None, None]


def test_transforms_are_affine_and_follow_the_seed() -> None:
    detector, x = small(), rows(3)[:, :, 0, 0]
    detector.network = torch.nn.Identity()
    for t in range(5):
        assert torch.allclose(detector.transformed(x)[:, t], x @ detector.matrices_[t] + detector.shifts_[t], rtol=1e-4, atol=1e-3)
    assert torch.equal(small().matrices_, detector.matrices_)
    assert not torch.equal(small(seed=1).matrices_, detector.matrices_)


def test_the_score_and_the_centres_by_hand() -> None:
    detector, table = small(), rows(40)
    Training(2, batch_size=8).fit(detector, table)
    with torch.no_grad():
        scaled = (table[:, :, 0, 0] - table[:, :, 0, 0].mean(0)) / table[:, :, 0, 0].std(0)
        made = detector.transformed(scaled)
        assert torch.allclose(detector.centres_, made.mean(0), atol=1e-3)
        distances = (made[:, :, None] - detector.centres_).square().sum(3)
        expected = -(-distances).log_softmax(2).diagonal(dim1=1, dim2=2).mean(1)
    assert torch.allclose(detector.score(table).image, expected, rtol=1e-2, atol=1e-3)


def test_the_loss_of_rows_is_that_of_the_paper() -> None:
    detector, x = small(closeness=0.3, margin=2.0), torch.randn(6, 4)
    found = detector.transformed(x)
    centres = found.mean(0)
    told, far = [], []
    for i in range(6):
        for t in range(5):
            told.append(-float(detector.head(found[i, t]).log_softmax(0)[t]))
            distances = [float((found[i, t] - c).square().sum()) for c in centres]
            far.append(max(0.0, distances[t] + 2.0 - min(d for k, d in enumerate(distances) if k != t)))
    assert detector.loss(x).item() == pytest.approx(np.mean(told) + 0.3 * np.mean(far), rel=1e-4)


def test_a_step_moves_the_perceptron_and_leaves_the_transforms() -> None:
    detector = small()
    detector.solve(rows(20)[:, :, 0, 0])
    before = detector.matrices_.clone(), detector.network[0].weight.clone()
    phase = detector.phases()[1]
    phase.step(Batch(rows(8)), phase.update)
    assert torch.equal(before[0], detector.matrices_)
    assert not torch.equal(before[1], detector.network[0].weight)


def test_a_table_from_its_file_to_scores(tmp_path: Path) -> None:
    normal, test = rows(200)[:, :, 0, 0], rows(80, seed=1)[:, :, 0, 0]
    test[40:, 1] += 4 * normal[:, 1].std()
    lines = ["a,b,c,d,label,part"]
    lines += [",".join(f"{value:.5g}" for value in row.tolist()) + ",0," for row in normal]
    lines += [",".join(f"{v:.5g}" for v in row.tolist()) + f",{int(n >= 40)},test" for n, row in enumerate(test)]
    (tmp_path / "table.csv").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(
        f"seed: {shifted(0)}\nsource: {{name: numbers, root: {tmp_path.as_posix()}, csv: table.csv}}\n"
        "detector: {name: goad_affine, transforms: 64, layers: 1, epochs: 20}\ntraining: {batch_size: 16, tensorboard: false}\n",
        encoding="utf-8",
    )
    run = train_recipe(
        load_recipe(tmp_path / "recipe.yaml"), tmp_path / "run", data=None, device="cpu", cache=tmp_path / "c", progress=False
    )
    score_folder(run, tmp_path, tmp_path / "s.csv", source="numbers", table="table.csv", part="test", device="cpu")
    table = np.genfromtxt(tmp_path / "s.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    scores = table["score"]
    assert len(scores) == 80
    assert roc_auc_score(np.arange(80) >= 40, scores) > 0.8
