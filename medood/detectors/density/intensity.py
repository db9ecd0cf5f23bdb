"""How bright a pixel is, against the normal images."""

from __future__ import annotations

from typing import Literal

import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from torch.nn.functional import interpolate

from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.errors import TrainingError
from medood.core.running.processes import summed
from medood.core.types import Fraction, Percent
from medood.nets.body import mean_inside, percentile_inside

_BINS = 256
_CELLS = 128
_QUARTILES_IN_SIGMAS = 1.3489795  # the distance between the quartiles of a normal distribution of deviation 1


class Intensity(Detector):
    """Grey values far from those of the normal images: brighter, darker, or either; no network.

    The prior that a radiologist has for many lesions (bright on FLAIR, dark in emphysema), said in so many words, and what any other
    detector has to beat. The map counts in spreads from the normal median, (value - median) / spread, in which the spread is the distance
    between the quartiles in units of a deviation (divided by 1.349); outside the body it is 0. The image score is a percentile of the map
    inside the body. Takes images of any size and range; the map of several channels is the mean of theirs.

    side        "higher": brighter than normal; "lower": darker than normal, the negative of it; "both": the distance without its sign.
                One-sided maps keep their sign: noise around the median then cancels out when a map is smoothed
    reference   "value": one median and spread for the whole body, so that the map is the grey value in other units; "atlas": those of
                the place, from all normal images, for images that show the same anatomy in the same place
    smooth      for the atlas: the values of a neighbourhood count as those of a place, with Gaussian weights; the deviation as a share of
                the image's longer side. It covers for patients who do not lie alike, and for few images
    percentile  see above; of the pixels inside the body

    Where few normal images have body, the atlas leans on the values of the whole body, as if every place had seen one more image of it;
    no spread is taken to be less than a tenth of that of the whole body.
    Parts: "mean", the mean of the map inside the body.
    """

    middle_: Tensor  # (C, H, W) median of the normal values
    spread_: Tensor  # (C, H, W)

    def __init__(
        self,
        spec: ImageSpec,
        *,
        side: Literal["higher", "lower", "both"] = "both",
        reference: Literal["value", "atlas"] = "atlas",
        smooth: Fraction = 0.02,
        percentile: Percent = 99.0,
    ) -> None:
        super().__init__(spec)
        self.side, self.reference, self.smooth, self.percentile = side, reference, smooth, percentile
        self.register_buffer("middle_", torch.zeros(spec.shape))
        self.register_buffer("spread_", torch.ones(spec.shape))

    def phases(self) -> list[Phase]:
        return [_Atlas(self)]

    def solve(self, counts: Tensor) -> None:
        """Median and spread from counts (C, bins, h, w): how often a value of a bin of the range was seen in a cell of the image."""
        whole = counts.sum((2, 3), keepdim=True)
        if not bool(whole.any()):
            raise TrainingError("Intensity found no pixel inside a body in the normal images: check `background` in the transforms file.")
        whole = whole / whole.sum(1, keepdim=True)
        shares = self._smoothed(counts, whole) if self.reference == "atlas" else whole
        first, third = self._quantile(shares, 0.25), self._quantile(shares, 0.75)
        least = (self._quantile(whole, 0.75) - self._quantile(whole, 0.25)) / 10
        spread = torch.maximum(third - first, least) / _QUARTILES_IN_SIGMAS
        self.middle_.copy_(self._grown(self._quantile(shares, 0.5)))
        self.spread_.copy_(self._grown(spread.clamp(min=(self.spec.high - self.spec.low) / _BINS)))  # finer ones are lost in the counts

    def distance(self, image: Tensor) -> Tensor:
        """(B, 1, H, W): spreads from the normal median towards the side; 0 outside the body."""
        away = (image - self.middle_) / self.spread_
        sided = {"higher": away, "lower": -away, "both": away.abs()}[self.side]
        return torch.where(self.foreground(image), sided.mean(1, keepdim=True), 0.0)

    def _score(self, image: Tensor) -> Scores:
        heat, inside = self.distance(image), self.foreground(image)
        return Scores(percentile_inside(heat, inside, self.percentile), heat, parts={"mean": mean_inside(heat, inside)})

    def _smoothed(self, counts: Tensor, whole: Tensor) -> Tensor:
        """Counts of the neighbourhood of every cell, with those of the whole body as if one more image had added them."""
        longer = max(counts.shape[2:])
        near = counts.numpy()
        for axis in (2, 3):
            near = gaussian_filter1d(near, self.smooth * longer, axis, mode="constant") if self.smooth else near
        return torch.from_numpy(near) + self.spec.height * self.spec.width / counts[0, 0].numel() * whole

    def _quantile(self, counts: Tensor, share: float) -> Tensor:
        """(C, h, w): the value below which that share of the counts lies, interpolated within its bin."""
        until = counts.cumsum(1) / counts.sum(1, keepdim=True)
        number = (until < share).sum(1, keepdim=True).clamp(max=_BINS - 1)
        before = torch.where(number > 0, until.gather(1, (number - 1).clamp(min=0)), 0.0)
        within = (share - before) / (until.gather(1, number) - before).clamp(min=1e-9)
        return self.spec.low + (number + within.clamp(0, 1))[:, 0] * ((self.spec.high - self.spec.low) / _BINS)

    def _grown(self, values: Tensor) -> Tensor:
        """(C, h, w) to the size of the images."""
        size = self.spec.height, self.spec.width
        return interpolate(values[None].float(), size, mode="bilinear", align_corners=False)[0].to(self.middle_)


class _Atlas(Phase):
    """Counts the values of each part of the image, which takes the same memory for any number of images."""

    name = "atlas"

    def __init__(self, detector: Intensity) -> None:
        self.detector = detector

    def begin(self) -> None:
        spec = self.detector.spec
        self.cells = min(_CELLS, spec.height), min(_CELLS, spec.width)
        self.counts = torch.zeros((spec.channels, _BINS, *self.cells), dtype=torch.long)

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        spec, (down, across) = self.detector.spec, self.cells
        rows, columns = (torch.arange(n, device=batch.image.device) for n in (spec.height, spec.width))
        cell = (rows * down // spec.height * across)[:, None] + columns * across // spec.width
        unit = (batch.image - spec.low) / (spec.high - spec.low)
        bins = (unit * _BINS).long().clamp(0, _BINS - 1)
        inside = self.detector.foreground(batch.image)[:, 0]
        for channel in range(spec.channels):
            number = bins[:, channel] * (down * across) + cell
            seen = torch.bincount(number[inside], minlength=_BINS * down * across)
            self.counts[channel] += summed(seen).view(_BINS, down, across).to(self.counts)
        return {}

    def finish(self) -> None:
        self.detector.solve(self.counts.double())
