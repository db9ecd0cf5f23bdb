"""A Gaussian of normal features at every place."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.errors import TrainingError
from medood.core.running.processes import together
from medood.core.types import NonNegativeInt, Percent, Pool, PositiveFloat, PositiveInt
from medood.features.grids import cells, finest_grid, joined, map_of, map_scores, smoothed
from medood.features.interface import Extractor


class PaDiM(Detector):
    """Mahalanobis distance of every place from what normal images have at this place, on frozen features.

    Defard et al., "PaDiM", ICPR workshops 2021. Good where images are aligned, so that a place is the same anatomy in all of them.

    channels    numbers that are kept of the features at a place: memory grows with their square
    reduce      "projection": random orthogonal directions through all channels (Kim et al., "Semi-orthogonal embedding", 2021);
                "choice": a random choice of channels, as in the paper
    ridge       variance added to every channel, in units of its variance over all places
    pool        how the map becomes the image's score: "mean", "maximum" or "percentile" over the body
    percentile  see `pool`
    """

    directions: Tensor  # (all channels, channels)
    mean_: Tensor  # (places, channels)
    whitening_: Tensor  # (places, channels, channels), lower triangular

    def __init__(
        self,
        spec: ImageSpec,
        features: Extractor,
        *,
        channels: PositiveInt = 64,
        reduce: Literal["projection", "choice"] = "projection",
        ridge: PositiveFloat = 0.01,
        pool: Pool = "mean",
        percentile: Percent = 98.0,
        seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__(spec)
        self.features, self.grid = features, finest_grid(features.shapes)
        self.ridge, self.pool, self.percentile = ridge, pool, percentile
        given = sum(shape[0] for shape in features.shapes)
        self.channels = min(channels, given)
        self.register_buffer("directions", _directions(given, self.channels, reduce, seed))
        self.fitted_later("mean_", "whitening_")

    def forecast(self, images: int) -> str:
        places = self.grid[0] * self.grid[1]
        size = places * self.channels**2 * 4 / 2**20
        training, run = f"{6 * size:.0f} MiB while it trains", f"{size:.0f} MiB in the run"
        return f"padim keeps {self.channels} channels at {places} places: about {training}, {run}."

    def phases(self) -> list[Phase]:
        return [_Fit(self)]

    def rows(self, image: Tensor) -> Tensor:
        """(B, places, channels)"""
        return joined([smoothed(grid) for grid in self.features(image)]).flatten(2).transpose(1, 2) @ self.directions

    def solve(self, number: Tensor, total: Tensor, products: Tensor) -> None:
        """Gaussians from the images (places,), sums (places, channels) and sums of products (places, channels, channels) at every place.

        A place that fewer than two images show has the Gaussian of all places together.
        """
        mean, covariance = _gaussian(number.sum(), total.sum(0), products.sum(0))
        variance = covariance.diagonal()
        if number.sum() < 2 or not bool((variance > 1e-12 * products.sum(0).diagonal() / number.sum()).any()):
            raise TrainingError(
                f"padim found {int(number.sum())} place(s) inside the body, or the features of all are the same: give it different normal "
                "images, and check `background` in the transforms."
            )
        means, covariances = _gaussian(number, total, products)
        rare = number < 2
        means[rare], covariances[rare] = mean, covariance
        ridge = self.ridge * variance.clamp(min=1e-3 * float(variance.max()))
        lower = torch.linalg.cholesky(covariances + torch.diag(ridge))
        unit = torch.eye(self.channels).to(lower).expand_as(lower)
        self.mean_, self.whitening_ = means.float(), torch.linalg.solve_triangular(lower, unit, upper=False).float()

    def _score(self, image: Tensor) -> Scores:
        body = self.foreground(image)
        centred = (self.rows(image) - self.mean_).transpose(0, 1)  # (places, B, channels)
        distances = (centred @ self.whitening_.transpose(1, 2)).square().sum(2).sqrt().T
        patches = distances.reshape(-1, 1, *self.grid) * cells(body, self.grid)
        heat = map_of(patches, body)
        parts = map_scores(heat, body, self.percentile)
        return Scores(parts[self.pool], heat, patches, parts)


def _gaussian(number: Tensor, total: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (..., c) and covariance (..., c, c) of so many rows, from their sum and the sum of their products."""
    number = number.clamp(min=1)[..., None]
    mean = total / number
    return mean, products / number[..., None] - mean[..., :, None] * mean[..., None, :]


def _directions(given: int, kept: int, reduce: str, seed: int) -> Tensor:
    """(given, kept), columns orthogonal and of length 1."""
    random = torch.Generator().manual_seed(seed)
    if reduce == "choice":
        return torch.eye(given)[:, torch.randperm(given, generator=random)[:kept].sort().values]
    return torch.linalg.qr(torch.randn(given, kept, generator=random, dtype=torch.float64)).Q.float()


class _Fit(Phase):
    """Sums up features and their products at every place, over the images that show the body there."""

    name = "fit"

    def __init__(self, detector: PaDiM) -> None:
        self.detector = detector

    def begin(self) -> None:
        self.number: Tensor | None = None

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        rows = together(self.detector.rows(batch.image))
        rows = rows if rows.device.type == "mps" else rows.double()  # Apple's GPUs have no float64
        if self.number is None:
            places, channels = rows.shape[1:]
            self.number, self.total = rows.new_zeros(places), rows.new_zeros(places, channels)
            self.products = rows.new_zeros(places, channels, channels)
        inside = together(cells(self.detector.foreground(batch.image), self.detector.grid).flatten(1)).to(rows)
        rows = (rows * inside[..., None]).transpose(0, 1)
        self.number += inside.sum(0)
        self.total += rows.sum(1)
        self.products += rows.transpose(1, 2) @ rows
        return {}

    def finish(self) -> None:
        if self.number is not None:
            self.detector.solve(self.number, self.total, self.products)
        del self.number, self.total, self.products
