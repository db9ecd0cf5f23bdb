"""Classical outlier detectors on short vectors."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity
from torch import Tensor
from torch.nn.functional import interpolate

from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.errors import MedoodError, TrainingError
from medood.core.running.processes import together
from medood.core.types import NonNegativeInt, PositiveFloat, PositiveInt
from medood.features.grids import pooled
from medood.features.interface import Extractor
from medood.nets.densities.neighbours import scale_of

_OURS = ("pca_error", "pca_mahalanobis")


class PyOD(Detector):
    """PyOD's PCA, KDE, LOF, ABOD or MCD on images reduced to a few numbers; no map.

    Zhao et al., PyOD, JMLR 2019; `pip install medood[pyod]` (BSD licence; it brings numba and LLVM, some 200 MB). Images are
    area-averaged to `size` pixels along each side or, in a recipe with `features`, described by the mean and maximum of every channel over
    the body, each brought to deviation 1. What comes of that is projected onto its first principal components; the method sees those.
    Takes images of any size and range. A run keeps the training vectors and not PyOD's objects, which are fitted anew from them in a
    moment.

    method      "lof": local outlier factor, with 20 neighbours unless said otherwise
                "kde": kernel density, negative logarithm. PyOD's own bandwidth of 1 makes it the distance to the mean, see `bandwidth`
                "abod": variance of angles, its fast variant with 5 neighbours unless said otherwise; slow and seldom good
                "mcd": robust Mahalanobis distance. As it needs more than 5 images for each component, it takes no more components than
                that allows; 100 components take minutes
                "pca": PyOD's, whose score is the sum of distances to the tips of the eigenvectors: in effect the distance to the mean of
                standardised values, whatever its name. What PCA is expected to be, without PyOD:
                "pca_error": mean squared error of the reconstruction from the components
                "pca_mahalanobis": Mahalanobis distance within the components
    size        side in pixels of what the method sees, without features
    components  principal components; 0: the pixels or features themselves
    neighbours  of "lof" and "abod"; 0: PyOD's default
    bandwidth   of "kde"; null: the one of 20 under which the training images are likeliest, in 5-fold cross-validation
    most        images to fit at most, drawn with `seed`
    """

    localises = False
    mean_: Tensor  # (pixels or numbers of features,)
    divisor_: Tensor  # of the same shape, 1 for pixels
    axes_: Tensor  # (pixels or numbers, components), empty without PCA
    vectors_: Tensor  # (images, components) of the training images
    bandwidth_: Tensor  # (1,)

    def __init__(
        self,
        spec: ImageSpec,
        features: Extractor | None = None,
        *,
        method: Literal["lof", "kde", "abod", "mcd", "pca", "pca_error", "pca_mahalanobis"] = "lof",
        size: PositiveInt = 32,
        components: NonNegativeInt = 16,
        neighbours: NonNegativeInt = 0,
        bandwidth: PositiveFloat | None = None,
        most: PositiveInt = 5000,
        seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__(spec)
        if method not in _OURS and find_spec("pyod") is None:
            raise MedoodError(
                f"The method {method!r} is PyOD's, which is not installed: run `pip install medood[pyod]`, "
                f"or choose one of {', '.join(_OURS)}."
            )
        if method in (*_OURS, "mcd") and not components:
            raise MedoodError(f"PyOD: the method {method!r} needs `components` of 1 or more.")
        self.features = features
        self.method, self.size, self.components, self.neighbours = method, size, components, neighbours
        self.bandwidth, self.most, self.seed = bandwidth, most, seed
        self.fitted_later("mean_", "divisor_", "axes_", "vectors_", "bandwidth_")
        self._model: tuple[Tensor, Any] | None = None

    def phases(self) -> list[Phase]:
        return [_Fit(self)]

    def rows(self, image: Tensor) -> Tensor:
        """(B, C * size * size) in 0..1 of the spec's range, or (B, numbers of features)."""
        if self.features is not None:
            return torch.cat(pooled(self.features(image), self.foreground(image)), 1)
        small = interpolate(image, (self.size, self.size), mode="area") if image.shape[2:] != (self.size, self.size) else image
        return (small.flatten(1) - self.spec.low) / (self.spec.high - self.spec.low)

    def vectors(self, rows: Tensor) -> Tensor:
        """What the method sees of the rows (n, d)."""
        return self.standard(rows) @ self.axes_ if self.components else self.standard(rows)

    def standard(self, rows: Tensor) -> Tensor:
        """(n, d) rows around 0; features differ in their units, pixels do not."""
        return (rows - self.mean_) / self.divisor_

    def solve(self, rows: Tensor) -> None:
        """Keep what the method needs of the training images, (n, d), and see that it can be fitted."""
        if len(rows) < 2 or not bool((rows != rows[0]).any()):
            raise TrainingError(f"PyOD found {len(rows)} images to fit, or all are the same: give it different normal images.")
        self.mean_, divisor = scale_of(rows, apart=self.spec.of_a_table)
        self.divisor_ = torch.ones_like(divisor) if self.features is None else divisor
        if self.components:
            _, lengths, axes = torch.linalg.svd(self.standard(rows).double().cpu(), full_matrices=False)
            kept = min(self.components, int((lengths > 1e-6 * lengths[0]).sum()))
            if self.method == "mcd":
                kept = max(1, min(kept, (len(rows) - 1) // 5))
            self.axes_ = axes[:kept].T.contiguous().to(rows)
        self.vectors_ = vectors = self.vectors(rows)
        self.bandwidth_ = vectors.new_tensor([self._bandwidth(vectors) if self.method == "kde" else 0.0])
        self._fitted_model()

    def _score(self, image: Tensor) -> Scores:
        rows = self.rows(image)
        vectors = self.vectors(rows)
        if self.method == "pca_error":
            left = self.standard(rows) - vectors @ self.axes_.T
            return Scores(left.square().mean(1))
        if self.method == "pca_mahalanobis":
            return Scores((vectors.square() / self.vectors_.var(0)).sum(1).sqrt())
        model = self._fitted_model()
        found = model.decision_function(vectors.double().cpu().numpy())
        known = model.decision_scores_[np.isfinite(model.decision_scores_)]
        lowest = known.min() if len(known) else 0.0  # ABOD has no angle at a training image itself, which is as normal as can be
        return Scores(torch.from_numpy(np.where(np.isfinite(found), found, lowest)).float().to(image.device))

    def _fitted_model(self) -> Any:
        """PyOD's object for the training vectors, fitted when they are not those of the last call."""
        if self.method in _OURS:
            return None
        if self._model is None or self._model[0] is not self.vectors_:
            self._model = self.vectors_, self._new_model().fit(self.vectors_.double().cpu().numpy())
        return self._model[1]

    def _new_model(self) -> Any:
        near = {"n_neighbors": min(self.neighbours, len(self.vectors_) - 1)} if self.neighbours else {}
        if self.method == "lof":
            from pyod.models.lof import LOF

            return LOF(**({"n_neighbors": min(20, len(self.vectors_) - 1)} | near))
        if self.method == "abod":
            from pyod.models.abod import ABOD

            return ABOD(**({"n_neighbors": min(5, len(self.vectors_) - 1)} | near))
        if self.method == "kde":
            from pyod.models.kde import KDE

            return KDE(bandwidth=float(self.bandwidth_))
        if self.method == "mcd":
            from pyod.models.mcd import MCD

            return MCD(random_state=self.seed)
        from pyod.models.pca import PCA

        return PCA(random_state=self.seed)

    def _bandwidth(self, vectors: Tensor) -> float:
        if self.bandwidth is not None:
            return self.bandwidth
        spread = float(vectors.var(0).mean().sqrt())
        grid = {"bandwidth": spread * np.logspace(-1.5, 0.5, 20)}
        search = GridSearchCV(KernelDensity(), grid, cv=min(5, len(vectors))).fit(vectors.double().cpu().numpy())
        return float(search.best_params_["bandwidth"])


class _Fit(Phase):
    name = "fit"

    def __init__(self, detector: PyOD) -> None:
        self.detector = detector

    def begin(self) -> None:
        self.rows: list[Tensor] = []

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        self.rows.append(together(self.detector.rows(batch.image)))
        return {}

    def finish(self) -> None:
        rows = torch.cat(self.rows)
        chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.detector.seed))[: self.detector.most]
        self.detector.solve(rows[chosen.to(rows.device)])
