"""What a linear classifier that is told the labels can see in frozen features: a ceiling for detectors that are not.

    python measurements/linear_probe.py RECIPE DATA TABLE [--set KEY=VALUE ...] [--part test]

Features and transforms are those of the recipe (`--set features.weights=random` for the control); TABLE, below DATA, has path, group,
label and part. Every image is its features' mean and maximum over the body, every layer joined. Images of the part are classified by
logistic regression in five folds that share no patient, its penalty chosen within the four others, and ranked together.

A measurement only: nothing learned here is, or may be, part of a recipe.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from measuring import table
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medood.core.files.user_folders import feature_folder
from medood.data.opening import open_source
from medood.features.grids import pooled
from medood.features.interface import Extractor, keep_features
from medood.metrics.intervals import GroupBootstrap
from medood.metrics.ranking import auroc, curve
from medood.recipe.building import build_detector
from medood.recipe.loading import load_recipe
from medood.recipe.recipe import Recipe
from medood.transforms.pipeline import Pipeline

FOLDS = 5
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True, eq=False)
class Labelled:
    """Pooled features (n, d), labels and patients (n,)."""

    rows: np.ndarray
    labels: np.ndarray
    groups: np.ndarray


def labelled(recipe: Recipe, data: Path, csv: str, part: str, cache: Path | None = None) -> Labelled:
    """The images of a part of a table below `data`, as the recipe prepares them and its features see them."""
    features = build_detector(recipe).features
    assert isinstance(features, Extractor)
    keep_features(features, feature_folder(cache))
    pipeline, source = Pipeline(recipe.transforms), open_source("folder", data, csv=csv)
    rows, labels, groups = [], [], []
    for entry in source.index().entries:
        if entry.part != part or entry.label not in (0, 1):
            continue
        images = torch.from_numpy(pipeline.prepare(source.read(entry)).images)
        body = torch.ones_like(images[:, :1], dtype=torch.bool)
        if (background := recipe.transforms.background) is not None:
            body = (images != background).any(1, keepdim=True)
        rows.append(torch.cat(pooled(features(images), body), 1).numpy())
        labels.append(int(entry.label))
        groups.append(entry.group)
    return Labelled(np.concatenate(rows), np.array(labels), np.array(groups))


def probed(images: Labelled, seed: int = 0) -> np.ndarray:
    """(n,) probability of label 1, each from a classifier that saw nothing of that patient."""
    folds, found = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed), np.zeros(len(images.labels))
    for train, test in folds.split(images.rows, images.labels, images.groups):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, class_weight="balanced"))
        grid = {"logisticregression__C": PENALTIES}
        search = GridSearchCV(model, grid, scoring="roc_auc", cv=StratifiedGroupKFold(FOLDS - 1, shuffle=True, random_state=seed))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # not converged: near enough for a probe
            search.fit(images.rows[train], images.labels[train], groups=images.groups[train])
        found[test] = search.decision_function(images.rows[test]) - _middle(search, images.rows[train])
    return found


def _middle(model: GridSearchCV, rows: np.ndarray) -> float:
    """Where a fold's scores lie, so that folds can be ranked together."""
    return float(np.median(model.decision_function(rows)))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("data", type=Path)
    parser.add_argument("table")
    parser.add_argument("--set", action="append", default=[], dest="changes")
    parser.add_argument("--part", default="test")
    options = parser.parse_args(arguments)
    recipe = load_recipe(options.recipe, options.changes)
    images = labelled(recipe, options.data, options.table, options.part)
    scores = probed(images)
    estimate = GroupBootstrap(images.groups, images.labels).estimates(lambda w: {"auroc": auroc(curve(scores, images.labels, w))})["auroc"]
    best = max(abs(roc_auc_score(images.labels, column) - 0.5) for column in images.rows.T) + 0.5
    interval = "" if estimate.low is None else f" [{estimate.low:.3f}, {estimate.high:.3f}]"
    line = {
        "table": options.table,
        "features": str({key: value for key, value in (recipe.features or {}).items() if key in ("name", "weights", "layers", "size")}),
        "numbers": str(images.rows.shape[1]),
        "normal, anomalous": f"{(images.labels == 0).sum()}, {(images.labels == 1).sum()}",
        "AUROC with labels": f"{estimate.value:.3f}{interval}",
        "best single number": f"{best:.3f}",
    }
    print(table([line]))


if __name__ == "__main__":
    main()
