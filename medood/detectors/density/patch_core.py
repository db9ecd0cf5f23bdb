"""Distance to a memory bank of normal patches."""

from __future__ import annotations

import torch
from torch import Tensor

from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.errors import TrainingError
from medood.core.running.processes import summed, together
from medood.core.tracing import is_written_down
from medood.core.types import Fraction, NonNegativeInt, Percent, Pool, PositiveInt
from medood.features.grids import cells, finest_grid, joined, map_of, map_scores, smoothed
from medood.features.interface import Extractor
from medood.nets.densities.neighbours import Reservoir, greedy_coreset, nearest, scale_of


class PatchCore(Detector):
    """Distance of every patch to the nearest of a bank of normal patches, on frozen features.

    Roth et al., "Towards total recall in industrial anomaly detection", CVPR 2022. A patch is a place of the finest layer with its
    neighbours (mean of 3 x 3), every channel brought to mean 0 and deviation 1. The bank is a greedy coreset: few patches to which every
    normal patch is near. Patches outside the body are neither banked nor counted. Unlike the paper, the image's score is a plain number
    of its map: over radiographs the mean does better than the maximum, for small lesions a high percentile.

    by_place    distances count in deviations from those that the training images have at the same place, as far as they show the body
                there. For images that show the same anatomy in the same place: places that differ from patient to patient (the rim, the
                shoulders, the heart) then hide nothing elsewhere, and lesions are found where they are
    bank        patches to keep: a number, or with a fraction that share of all
    candidates  patches to choose from at most, drawn evenly with `seed`: they bound memory and time
    pool        how the map becomes the image's score: "mean", "maximum" or "percentile" over the body
    percentile  see `pool`
    """

    mean_: Tensor  # (channels,)
    divisor_: Tensor  # (channels,)
    bank_: Tensor  # (patches, channels)
    usual_: Tensor  # (2, h, w), mean and deviation of the normal distances; 0 and 1 unless they count by place

    def __init__(
        self,
        spec: ImageSpec,
        features: Extractor,
        *,
        by_place: bool = False,
        bank: PositiveInt | Fraction = 4000,
        candidates: PositiveInt = 100_000,
        pool: Pool = "mean",
        percentile: Percent = 98.0,
        seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__(spec)
        self.features, self.grid = features, finest_grid(features.shapes)
        self.by_place, self.bank, self.candidates, self.seed = by_place, bank, candidates, seed
        self.pool, self.percentile = pool, percentile
        self.fitted_later("mean_", "divisor_", "bank_")
        self.register_buffer("usual_", torch.tensor([0.0, 1.0]).view(2, 1, 1).repeat(1, *self.grid))

    def forecast(self, images: int) -> str:
        channels, places = sum(shape[0] for shape in self.features.shapes), self.grid[0] * self.grid[1]
        drawn = min(self.candidates, images * places)
        kept = self.kept_of(images * places, drawn)
        size = kept * channels * 4 / 2**20
        training = (drawn * (channels + 66) + kept * channels) * 4 / 2**20
        return (
            f"patch_core chooses {kept} of up to {drawn} patches with {channels} channels: about {training:.0f} MiB while it trains, "
            f"{size:.0f} MiB in the run."
        )

    def kept_of(self, patches: int, drawn: int) -> int:
        """How large the bank is, of so many patches of which so many were drawn."""
        wanted = self.bank if isinstance(self.bank, int) else max(1, round(self.bank * patches))
        return min(wanted, drawn)

    def phases(self) -> list[Phase]:
        return [_Bank(self), _Usual(self)] if self.by_place else [_Bank(self)]

    def patches(self, image: Tensor) -> Tensor:
        """(B, places, channels), not scaled yet."""
        return joined([smoothed(grid) for grid in self.features(image)]).flatten(2).transpose(1, 2)

    def solve(self, rows: Tensor, seen: int) -> None:
        """Choose the bank from rows (n, channels), drawn from `seen` patches; the rows are scaled in place, so that none is held twice."""
        if len(rows) < 2 or not bool((rows != rows[0]).any()):
            raise TrainingError(
                f"patch_core found {len(rows)} patch(es) inside the body, or all are the same: give it different normal images, and check "
                "`background` in the transforms."
            )
        kept = self.kept_of(seen, len(rows))
        if self.by_place and kept == seen:
            raise TrainingError(
                f"patch_core banked all {seen} normal patches, so that none is away from the bank: make `bank` smaller, "
                "or set `by_place` to false."
            )
        self.mean_, self.divisor_ = scale_of(rows, apart=self.spec.of_a_table)
        rows.sub_(self.mean_).div_(self.divisor_)
        self.bank_ = rows[greedy_coreset(rows, kept, self.seed)]

    def solve_usual(self, number: Tensor, total: Tensor, squares: Tensor) -> None:
        """What is usual at every place, from (h, w) each: how many images show the body there, and the sums of their distances and of the
        squares of these. Where few do, it leans on all places together, as if every place had seen one more image of them."""
        whole = number.sum()
        mean = (total + total.sum() / whole) / (number + 1)
        variance = (squares + squares.sum() / whole) / (number + 1) - mean.square()
        least = 0.1 * (squares.sum() / whole - (total.sum() / whole).square()).clamp(min=0).sqrt()
        self.usual_ = torch.stack([mean, variance.clamp(min=0).sqrt().maximum(least).clamp(min=1e-6)]).to(self.usual_)

    def distances(self, image: Tensor, inside: Tensor) -> Tensor:
        """(B, 1, h, w) to the nearest patch of the bank; 0 at places that are not inside, bool (B, 1, h, w)."""
        rows = (self.patches(image) - self.mean_) / self.divisor_
        if is_written_down():
            return nearest(rows.flatten(0, 1), self.bank_).view(inside.shape) * inside
        found = torch.zeros_like(inside, dtype=rows.dtype)
        found[inside] = nearest(rows[inside.flatten(1)], self.bank_)[:, 0]
        return found

    def _score(self, image: Tensor) -> Scores:
        body = self.foreground(image)
        inside = cells(body, self.grid)
        usual, deviation = self.usual_
        patches = (self.distances(image, inside) - usual) / deviation * inside
        heat = map_of(patches, body)
        parts = map_scores(heat, body, self.percentile)
        return Scores(parts[self.pool], heat, patches, parts)


class _Bank(Phase):
    """Draws patches inside the body evenly from all images, then chooses the bank."""

    name = "bank"

    def __init__(self, detector: PatchCore) -> None:
        self.detector = detector

    def begin(self) -> None:
        self.reservoir = Reservoir(self.detector.candidates, self.detector.seed)

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        inside = cells(self.detector.foreground(batch.image), self.detector.grid).flatten(1)
        self.reservoir.add(together(self.detector.patches(batch.image)[inside]))
        return {}

    def finish(self) -> None:
        rows, seen = self.reservoir.rows, self.reservoir.seen
        del self.reservoir
        self.detector.solve(rows, seen)


class _Usual(Phase):
    """How far the patches of normal images lie from the bank, at every place."""

    name = "usual"

    def __init__(self, detector: PatchCore) -> None:
        self.detector = detector

    def begin(self) -> None:
        grid = self.detector.grid
        self.number, self.total, self.squares = (torch.zeros(grid, dtype=torch.float64) for _ in range(3))

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        inside = cells(self.detector.foreground(batch.image), self.detector.grid)
        found = self.detector.distances(batch.image, inside).cpu().double()[:, 0]
        self.number += summed(inside.sum((0, 1)).cpu())
        self.total += summed(found.sum(0))
        self.squares += summed(found.square().sum(0))
        return {}

    def finish(self) -> None:
        self.detector.solve_usual(self.number, self.total, self.squares)
