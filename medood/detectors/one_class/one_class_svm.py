"""One-class support vector machine on pixels."""

from __future__ import annotations

from typing import Literal

import torch
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv_transpose2d, interpolate, unfold

from medood.core.demands import require_multiple
from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.errors import MedoodError, TrainingError
from medood.core.running.processes import together
from medood.core.types import Fraction, NonNegativeInt, PositiveFloat, PositiveInt
from medood.detectors.one_class.rbf_svm import Choice, Machines, pairs, solve

_CROP, _STRIDE = 32, 16
_CROPS_AT_ONCE = 1024


class OneClassSVM(Detector):
    """One-class SVM with an RBF kernel on small images or on crops of 32 x 32 pixels.

    Schoelkopf et al., Neural Computation 2001; the baseline "OCSVM" of Patch-GAN (Chen et al., AAAI 2025, table 1), which saw crops. The
    score is the negative decision function: above 0 outside the boundary around the normal images. Takes any range of values; any size
    with input "image", multiples of 16 with "crop32".

    input           "image": the whole image, area-averaged to size x size; no map. "crop32": crops of 32 x 32 pixels at every 16th pixel,
                    which give patches, a map (mean of the crops over a pixel), and the mean of the `top_crops` highest as image score
    size            side in pixels of what the SVM sees
    scaling         "range": 0..1 over the range of the spec; "standard": mean 0 and deviation 1 of every pixel
    variance        share of the variance that PCA keeps; 1: no PCA
    nu              upper bound on the share of training images outside the boundary
    gamma           of the kernel exp(-gamma d^2): "scale" is 1 / (features x variance), "auto" is 1 / features. The scores behind the
                    Patch-GAN paper agree with "crop32", "range", variance 1, nu 0.1 and "auto"
    other_nus, other_gammas   whole images are scored with every pair of these too, as parts, for `hindsight` in a benchmark. The
                    "RAW-OC-SVM" of Golan and El-Yaniv (NeurIPS 2018) had nu 0.1 to 0.9, gamma 2^-7 to 2^2 (on a range of -1..1: four times
                    as much here) and variance 1
    most            images (or crops) to fit at most, drawn with `seed`: time grows with the square of their number. The machine of
                    some is exact, and the papers'; that of an approximate kernel would see all
    min_foreground  crops with a smaller share of foreground are neither fitted nor counted
    top_crops       see `input`
    """

    shift_: Tensor  # (pixels,) mean of the training images
    divisor_: Tensor  # (pixels,)
    components_: Tensor  # (pixels, features), empty without PCA
    vectors_: Tensor  # (vectors, features)
    duals_: Tensor  # (machines, vectors): that of nu and gamma, then the others
    gamma_: Tensor  # (machines,)
    offset_: Tensor  # (machines,)

    def __init__(
        self,
        spec: ImageSpec,
        *,
        input: Literal["image", "crop32"] = "image",
        size: PositiveInt = 32,
        scaling: Literal["range", "standard"] = "range",
        variance: Fraction = 0.95,
        nu: Fraction = 0.1,
        gamma: Literal["scale", "auto"] | PositiveFloat = "scale",
        other_nus: tuple[Fraction, ...] = (),
        other_gammas: tuple[PositiveFloat, ...] = (),
        most: PositiveInt = 10_000,
        min_foreground: Fraction = 0.5,
        top_crops: PositiveInt = 2,
        seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__(spec)
        if 0 in (nu, variance, *other_nus):
            raise MedoodError("OneClassSVM: `nu` and `variance` are shares above 0: set them to something like 0.1 and 0.95.")
        self.others = pairs(other_nus, other_gammas)
        if self.others and input == "crop32":
            raise MedoodError("OneClassSVM: `other_nus` and `other_gammas` are for whole images: leave them out, or set `input: image`.")
        if input == "crop32":
            require_multiple(spec, _STRIDE, "OneClassSVM on crops", least=_CROP)
        self.crops, self.size, self.scaling, self.variance = input == "crop32", size, scaling, variance
        self.localises = self.crops
        self.nu, self.gamma, self.most, self.seed = nu, gamma, most, seed
        self.min_foreground, self.top_crops = min_foreground, top_crops
        self.fitted_later("shift_", "divisor_", "components_", "vectors_", "duals_", "gamma_", "offset_")

    def phases(self) -> list[Phase]:
        return [_Fit(self)]

    def pixels(self, image: Tensor) -> Tensor:
        """(n, C * size * size) in 0..1 of the spec's range; n is B, or B times the crops of an image."""
        if self.crops:
            crops = unfold(image, _CROP, stride=_STRIDE).transpose(1, 2)
            image = crops.reshape(-1, self.spec.channels, _CROP, _CROP)
        small = interpolate(image, (self.size, self.size), mode="area") if image.shape[2:] != (self.size, self.size) else image
        return (small.flatten(1) - self.spec.low) / (self.spec.high - self.spec.low)

    def counted(self, image: Tensor) -> Tensor:
        """bool (B, 1, h, w): the crops with enough foreground; (B, 1, 1, 1) and True for whole images."""
        if not self.crops:
            return image.new_ones((len(image), 1, 1, 1), dtype=torch.bool)
        return avg_pool2d(self.foreground(image).float(), _CROP, _STRIDE) >= self.min_foreground

    def features(self, pixels: Tensor) -> Tensor:
        """(n, features) of (n, pixels), scaled and turned by the PCA that was fitted."""
        exact = torch.float32 if pixels.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        scaled = (pixels.to(exact) - self.shift_) / self.divisor_
        return scaled @ self.components_.to(exact) if self.components_.numel() else scaled

    def solve(self, pixels: Tensor) -> None:
        """Fit scaling, PCA and SVM to (n, pixels)."""
        if len(pixels) < 2 or not bool((pixels != pixels[0]).any()):
            raise TrainingError(
                f"OneClassSVM found {len(pixels)} images or crops to fit, or all are the same: give it different normal images, "
                "and check `min_foreground` if it works on crops."
            )
        constant = torch.where(pixels.std(0) > 0, pixels.std(0), 1.0)
        self.shift_ = pixels.mean(0)
        self.divisor_ = constant if self.scaling == "standard" else torch.ones_like(constant)
        self.components_ = pixels.new_empty(0)
        if self.variance < 1:
            solver = "covariance_eigh" if len(pixels) > pixels.shape[1] else "full"
            pca = PCA(self.variance, svd_solver=solver).fit(self.features(pixels).cpu().numpy())
            self.components_ = torch.from_numpy(pca.components_.T.copy()).to(pixels)
        features = self.features(pixels).float()
        fitted = solve(features, [(self.nu, self.gamma), *self.others.values()])
        self.vectors_, self.duals_, self.gamma_, self.offset_ = fitted.vectors, fitted.duals, fitted.gammas, fitted.offsets

    def decide(self, pixels: Tensor) -> Tensor:
        """float32 (n, machines): the negative decision functions."""
        machines = Machines(self.vectors_, self.duals_, self.gamma_, self.offset_)
        return torch.cat([machines.decide(self.features(part)).float() for part in pixels.split(_CROPS_AT_ONCE)])

    def _score(self, image: Tensor) -> Scores:
        counted = self.counted(image)
        scores, *others = self.decide(self.pixels(image)).unbind(1)
        if self.crops:
            return self._pool(scores.view(counted.shape), counted)
        return Scores(scores, parts=dict(zip(self.others, others, strict=True)))

    def _pool(self, scores: Tensor, counted: Tensor) -> Scores:
        """Image scores and a map from crop scores (B, 1, h, w); crops that do not count are as normal as a crop can be."""
        lowest = self.offset_[0] - self.duals_[0].sum()  # at no distance from any support vector
        patches = torch.where(counted, scores, lowest)
        numbers = counted.sum((1, 2, 3))
        highest = patches.flatten(1).sort(1, descending=True).values
        return Scores(
            _mean_of_first(highest, numbers.clamp(1, self.top_crops)),
            _spread(patches, counted, lowest),
            patches,
            {"highest_crop": highest[:, 0], "mean_crop": _mean_of_first(highest, numbers.clamp(min=1))},
        )


def _mean_of_first(values: Tensor, numbers: Tensor) -> Tensor:
    """(B,): the mean of the first so many of the values (B, n) of each row."""
    first = torch.arange(values.shape[1], device=values.device) < numbers[:, None]
    return (values * first).sum(1) / numbers


def _spread(patches: Tensor, counted: Tensor, lowest: Tensor) -> Tensor:
    """(B, 1, H, W): at each pixel the mean over the crops that cover it and count, `lowest` where there is none."""
    crop = patches.new_ones((1, 1, _CROP, _CROP))
    total = conv_transpose2d(patches * counted, crop, stride=_STRIDE)
    number = conv_transpose2d(counted.float(), crop, stride=_STRIDE)
    return torch.where(number > 0, total / number.clamp(min=1), lowest)


class _Fit(Phase):
    name = "fit"

    def __init__(self, detector: OneClassSVM) -> None:
        self.detector = detector

    def begin(self) -> None:
        self.choice = Choice(self.detector.most, self.detector.seed)

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        self.choice.offer(together(self.detector.pixels(batch.image)[self.detector.counted(batch.image).flatten()]))
        return {}

    def finish(self) -> None:
        self.detector.solve(self.choice.made())
