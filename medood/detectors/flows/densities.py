"""What detectors with normalizing flows share: how a flow learns from rows of features, and where on an image a row lies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from medood.core.detector import Batch, ImageSpec, Phase, Update
from medood.core.running.processes import summed
from medood.detectors.flows.rows import RowDetector, RowPlan
from medood.features.interface import Extractor
from medood.nets.coupling_flow import CarefulAdam, Coupling, CouplingFlow

_WAVES = (1, 2, 4)
_CONTEXT = 2 + 4 * len(_WAVES)


@dataclass(frozen=True)
class Learning:
    """How a flow is built and learns.

    blocks, width, coupling  as for `CouplingFlow`
    noise          deviation of Gaussian noise that is added to the rows in training, drawn anew every time
    places         rows of an image that a step looks at, where there are more
    learning_rate, weight_decay  of Adam
    epochs         of learning the likelihood
    """

    blocks: int
    width: int
    coupling: Coupling
    noise: float
    places: int
    learning_rate: float
    weight_decay: float
    epochs: int


class DensityDetector(RowDetector):
    """A detector that learns densities of rows; at level "location" conditional on where the row lies."""

    def __init__(self, spec: ImageSpec, features: Extractor, plan: RowPlan, learning: Learning) -> None:
        super().__init__(spec, features, plan)
        self.learning = learning
        self.flow = self.new_flow()

    def new_flow(self) -> CouplingFlow:
        plan = self.learning
        context = _CONTEXT if self.local else 0
        return CouplingFlow(self.width, context, blocks=plan.blocks, width=plan.width, coupling=plan.coupling)

    def forecast(self, images: int) -> str:
        if not self.local:
            return ""
        height, width = self.grid
        size = images * height * width * self.width * 4
        return (
            f"{type(self).__name__} keeps {self.width} numbers of {images} images at {height} x {width} places while it trains, "
            f"{size / 2**20:.0f} MiB on disk, and as many of a contrast."
        )

    def log_density(self, flow: CouplingFlow, rows: Tensor) -> Tensor:
        """(B, places) of rows (B, places, width) of all places of images."""
        places = torch.arange(rows.shape[1], device=rows.device).expand(rows.shape[:2])
        return self.log_density_at(flow, rows, places)

    def log_density_at(self, flow: CouplingFlow, rows: Tensor, places: Tensor) -> Tensor:
        """(B, n) of rows (B, n, width) that lie at `places` (B, n), numbered row by row."""
        context = where(places.flatten(), self.grid) if self.local else None
        return flow.log_density(rows.flatten(0, 1), context).view(rows.shape[:2])

    def anomaly(self, rows: Tensor) -> Tensor:
        return -self.log_density(self.flow, rows)


def where(places: Tensor, grid: tuple[int, int]) -> Tensor:
    """(n, 14): row and column of places of a grid, -1..1, with sines and cosines of them."""
    at = torch.stack([places // grid[1] / max(grid[0] - 1, 1), places % grid[1] / max(grid[1] - 1, 1)], 1) * 2 - 1
    waves = [f(math.pi * wave / 2 * at) for wave in _WAVES for f in (torch.sin, torch.cos)]
    return torch.cat([at, *waves], 1)


class OnRows(Phase):
    """A phase that looks at the rows of images, computed once per image."""

    def __init__(self, detector: DensityDetector) -> None:
        self.detector = detector

    def inputs(self, batch: Batch) -> Tensor:
        return self.detector.rows(batch.image)

    def all_rows(self, batch: Batch) -> Tensor:
        """(B, places, width)"""
        if batch.inputs is not None:
            return batch.inputs
        with torch.no_grad():  # a loop of one's own, which computes nothing beforehand
            return self.inputs(batch)

    def densities(self, flow: CouplingFlow, batch: Batch) -> Tensor:
        """(B, places) logarithms, without noise; NaN outside the body."""
        found = self.detector.log_density(flow, self.all_rows(batch))
        return found.masked_fill(~self.detector.places(batch.image), torch.nan)


class LearnsDensity(OnRows):
    """A phase in which one flow learns. A step whose loss or gradients are no finite numbers is left out, and counted in the history."""

    def __init__(self, detector: DensityDetector, flow: CouplingFlow, epochs: int) -> None:
        super().__init__(detector)
        self.flow, self.epochs = flow, epochs
        plan = detector.learning
        self.adam = CarefulAdam(flow.parameters(), plan.learning_rate, weight_decay=plan.weight_decay)
        self.optimizers = {"flow": self.adam}

    def drawn(self, *batches: Batch) -> list[Tensor]:
        """(B, n) of each batch: log densities at rows with noise; at level "location" at n random places in the body."""
        rows, places = (torch.cat(parts) for parts in zip(*map(self._rows_and_places, batches), strict=True))
        noisy = rows + self.detector.learning.noise * torch.randn_like(rows)
        return list(self.detector.log_density_at(self.flow, noisy, places).split([len(batch.image) for batch in batches]))

    def _rows_and_places(self, batch: Batch) -> tuple[Tensor, Tensor]:
        detector, plan = self.detector, self.detector.learning
        rows = self.all_rows(batch)
        places = torch.zeros((len(rows), 1), dtype=torch.long, device=rows.device)
        if detector.local:
            weights = detector.places(batch.image).float()
            places = torch.multinomial(weights, plan.places, replacement=True)
            rows = rows.gather(1, places[..., None].expand(-1, -1, rows.shape[2]))
        return rows, places

    def follow(self, loss: Tensor, update: Update, told: dict[str, Tensor]) -> dict[str, Tensor]:
        """Step, if that can be; what the history is told."""
        finite = not bool(summed((~loss.isfinite()).float()))  # one process alone cannot step
        if finite:
            update(loss, "flow")
        skipped = loss.new_tensor(self.adam.skipped if finite else 1.0)
        told = {"loss": loss, **told} if finite else {}
        return {name: value.detach() for name, value in told.items()} | {"skipped": skipped}


class Likelihood(LearnsDensity):
    """A flow learns the density of the normal rows."""

    name = "likelihood"

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        (normal,) = self.drawn(batch)
        return self.follow(-normal.mean(), update, {})

    def validate(self, batch: Batch) -> Tensor:
        return -self.densities(self.flow, batch).nanmean(1)
