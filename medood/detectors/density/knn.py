"""Distance to the nearest normal images."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.errors import TrainingError
from medood.core.running.processes import together
from medood.core.types import NonNegativeInt, Percent, Pool, PositiveInt, Statistic
from medood.features.grids import cells, finest_grid, joined, map_of, map_scores, pooled, smoothed, statistics_of
from medood.features.interface import Extractor
from medood.nets.densities.neighbours import nearest, scale_of


class KNN(Detector):
    """Mean distance to the k nearest normal images, on frozen features.

    Of whole images (Bergman et al., "Deep nearest neighbor anomaly detection", 2020): what every channel has over the body; no map. Or of
    every place among the same place of the normal images, which gives a map. For images in which places differ little, or lie elsewhere in
    every image, `patch_core` compares each place with all places.

    k           neighbours; all normal images when there are fewer
    metric      "euclid": after every channel was brought to mean 0 and deviation 1; "cosine": every layer scaled to length 1
    level       "image" or "location"
    parts       at level "image", the image is cut into parts x parts rectangles, each with numbers of its own
    statistics  at level "image", of every channel: "mean", "maximum"
    most        at level "location", normal images kept at most, drawn with `seed`: memory and time grow with them
    pool        at level "location", how the map becomes the image's score: "mean", "maximum" or "percentile" over the body
    percentile  see `pool`
    """

    mean_: Tensor  # (d,)
    divisor_: Tensor  # (d,)
    bank_: Tensor  # (images, d), or (places, images, d)

    def __init__(
        self,
        spec: ImageSpec,
        features: Extractor,
        *,
        k: PositiveInt = 5,
        metric: Literal["euclid", "cosine"] = "euclid",
        level: Literal["image", "location"] = "image",
        parts: PositiveInt = 1,
        statistics: tuple[Statistic, ...] = ("mean", "maximum"),
        most: PositiveInt = 200,
        pool: Pool = "mean",
        percentile: Percent = 98.0,
        seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__(spec)
        self.features, self.grid = features, finest_grid(features.shapes)
        self.localises = level == "location"
        self.k, self.metric, self.local, self.most, self.seed = k, metric, level == "location", most, seed
        self.pool, self.percentile = pool, percentile
        self.parts, self.statistics = parts, statistics_of(statistics, "knn")
        self.fitted_later("mean_", "divisor_", "bank_")

    def forecast(self, images: int) -> str:
        if not self.local:
            return ""
        kept, (height, width) = min(images, self.most), self.grid
        size = kept * height * width * sum(shape[0] for shape in self.features.shapes) * 4
        return f"knn keeps {kept} images at {height} x {width} places, {size / 2**20:.0f} MiB, in memory and in the run."

    def phases(self) -> list[Phase]:
        return [_Collect(self)]

    def rows(self, image: Tensor) -> Tensor:
        """(B, places, d), not scaled yet; one place, the whole image, at level "image"."""
        grids = self.features(image)
        if self.local:
            return joined([smoothed(grid) for grid in self._unit(grids)]).flatten(2).transpose(1, 2)
        return torch.cat(self._unit(pooled(grids, self.foreground(image), self.parts, self.statistics)), 1)[:, None]

    def _unit(self, layers: list[Tensor]) -> list[Tensor]:
        """Every layer with vectors of length 1, for the metric that only looks at directions."""
        return [normalize(layer, dim=1) for layer in layers] if self.metric == "cosine" else layers

    def solve(self, rows: Tensor) -> None:
        """Keep rows (images, places, d)."""
        if len(rows) < 2 or not bool((rows != rows[:1]).any()):
            raise TrainingError(f"knn found {len(rows)} image(s), or the features of all are the same: give it different normal images.")
        self.mean_, self.divisor_ = scale_of(rows.flatten(0, 1), apart=self.spec.of_a_table)
        if self.metric == "cosine":
            self.mean_, self.divisor_ = torch.zeros_like(self.mean_), torch.ones_like(self.divisor_)
        self.bank_ = ((rows - self.mean_) / self.divisor_).transpose(0, 1).contiguous()

    def _score(self, image: Tensor) -> Scores:
        rows = ((self.rows(image) - self.mean_) / self.divisor_).transpose(0, 1)
        k = min(self.k, self.bank_.shape[1])
        distances = torch.stack([nearest(row, bank, k).mean(1) for row, bank in zip(rows, self.bank_, strict=True)], 1)
        if not self.local:
            return Scores(distances[:, 0])
        body = self.foreground(image)
        patches = distances.view(-1, 1, *self.grid) * cells(body, self.grid)
        heat = map_of(patches, body)
        parts = map_scores(heat, body, self.percentile)
        return Scores(parts[self.pool], heat, patches, parts)


class _Collect(Phase):
    """Keeps the features of all images, or of a random choice of them."""

    name = "collect"

    def __init__(self, detector: KNN) -> None:
        self.detector = detector

    def begin(self) -> None:
        self.random = torch.Generator().manual_seed(self.detector.seed)
        self.rows: list[Tensor] = []
        self.seen = 0

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        for row in together(self.detector.rows(batch.image)):
            self.seen += 1
            if not self.detector.local or len(self.rows) < self.detector.most:
                self.rows.append(row)
            elif (place := int(torch.randint(self.seen, (), generator=self.random))) < self.detector.most:
                self.rows[place] = row
        return {}

    def finish(self) -> None:
        self.detector.solve(torch.stack(self.rows))
