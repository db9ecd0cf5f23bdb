"""Patch-GAN with patch ranking."""

from __future__ import annotations

from math import isqrt, log2
from typing import Any, Literal

import torch
from monai.networks.layers import gaussian_1d, separable_filtering
from monai.networks.nets import PatchDiscriminator
from torch import Tensor
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits
from torch.optim import Adam

from medood.core.demands import require_multiple, require_range
from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.errors import MedoodError, TrainingError
from medood.core.running.processes import summed
from medood.core.types import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Residual
from medood.detectors.adversarial.patch_gan_masks import PIXELS_AT_ONCE, Passes, complementary_masks, scoring_masks, show
from medood.detectors.adversarial.patch_gan_ranking import LogitPooling, rank, top_mean
from medood.detectors.adversarial.patch_gan_reconstructors import UNetLite, crop_reconstructor
from medood.features.interface import Extractor
from medood.nets.error_maps import Residuals, squared_error
from medood.nets.images.tiles import cut, join

_SENSITIVITY = (1, 2, 4, 8, 16, 64)


class PatchGAN(Detector):
    """Fills in hidden parts of normal images; the patches that it fills in worst make the score.

    Chen et al., "Unsupervised Patch-GAN with targeted patch ranking", AAAI 2025. Needs a `mask_boxes` or `mask_cells` step in the
    recipe's `augment` (with `tile: 32` for the reading "crop32"). Values 0..1; height and width multiples of 32.

    The paper gives no architecture, optimizer, mask or patch size, and can be read in two ways:

    reading   "image256" does what the text promises: one network for the whole image (of any size), a grid of 8 x 8 patches, small
              lesions in large images. "crop32" reproduces the paper's experiments, whose samples are crops of 32 x 32 pixels with four
              patches each; a larger image is cut into such crops, and its score is the mean of the `top_crops` highest crop scores
    patch     side of a patch in pixels; null: an eighth of the shorter side ("image256"), 16 ("crop32")

    Reconstructor and discriminator:

    width                 channels of the reconstructor's first layer
    skips                 skip connections in the "image256" reconstructor; null: where complementary masks make them harmless
    discriminator_width   channels of the discriminator's first layer
    discriminator_layers  its layers of stride 2; null: as many as make its field of view closest to a patch (1: 16 pixels, 2: 34, 3: 70)
    discriminator_norm    "instance" or "none"

    Training (eqs. 1 to 4; the discriminator sees one image, whole or filled in, and tells which):

    fill                   what hidden pixels show: "black" (the paper), the "mean" of the visible ones, or "outside" the range, -1.
                           Black is also the background of MRI, so that the network cannot tell a hole from the outside
    context                the mask as an additional input channel
    loss_region            eq. 1 over the whole "image" (the paper) or the "hidden" part
    loss_reduction         eq. 1 as "sum" over the pixels and channels of a patch, mean over patches, or "mean" over pixels; with a mean
                           the adversarial loss drowns it
    reconstruction_weight  lambda of eq. 4
    real_target            1, or 0.9 for one-sided label smoothing
    reconstructor_updates  for each update of the discriminator
    learning_rate, betas   of both Adam optimizers
    epochs                 100 to 200 for a few thousand images

    Scoring (eq. 5):

    hide            what is hidden when scoring. "complementary": cells of an eighth of the side in `passes` disjoint sets, so that every
                    pixel is judged as it was filled in while hidden; "none": nothing, as the author's scripts do, so the network may
                    copy what it sees; "random": mean of `passes` reconstructions, each with a random 16th hidden, drawn with `seed`;
                    null: "complementary" for "image256", "none" for "crop32"
    passes          null: 4, which hide 25 % at a time, or 16 of "random". 16 "complementary" ones hide 6 %, as in training, and take four
                    times as long
    shifts          positions of the grid of cells along each direction, with all `passes` for each of them: 1, 4 or 16 grids. A pixel
                    counts most in the grid in which it is far from what is shown
    error           of what is filled in: "mse" (the paper), "l1", "ssim" (1 - SSIM) or "perceptual" (on the recipe's `features`)
    all_errors      "mse", "l1", "ssim" and, with `features`, "perceptual" as parts, for comparisons: what the image score is by each
    rank_weights    of the patches with the largest errors, largest first
    rest_weight     of all other patches
    min_foreground  patches, and crops, with a smaller share of foreground do not count
    top_crops       see `reading`
    blur            sigma in pixels of a Gaussian over the map, inside the body; scores do not depend on it. null: a quarter of a cell, 8
                    for 256 x 256, if cells are hidden. Holes are filled in best near their rim: with one grid and no blur, lesions show
                    stripes along the grid

    Scores: `map` is the error, `patches` are its means. Parts: "unranked" (mean over patches), "top_k" (mean of the k
    worst), "adversarial" (sum over the two most unreal patches of 1 - D of the filled-in image); with crops each is pooled over the crops
    like the score, and "highest_crop" and "mean_crop" pool the score in other ways.
    """

    can_round = True
    kernel: Tensor  # of the blur along one axis; a single 1 without

    def __init__(
        self,
        spec: ImageSpec,
        features: Extractor | None = None,
        *,
        reading: Literal["image256", "crop32"] = "image256",
        patch: PositiveInt | None = None,
        width: PositiveInt = 32,
        skips: bool | None = None,
        discriminator_width: PositiveInt = 64,
        discriminator_layers: PositiveInt | None = None,
        discriminator_norm: Literal["instance", "none"] = "instance",
        fill: Literal["black", "mean", "outside"] = "black",
        context: bool = False,
        loss_region: Literal["image", "hidden"] = "image",
        loss_reduction: Literal["sum", "mean"] = "sum",
        reconstruction_weight: PositiveFloat = 0.2,
        real_target: Fraction = 1.0,
        reconstructor_updates: PositiveInt = 2,
        learning_rate: PositiveFloat = 2e-4,
        betas: tuple[Fraction, Fraction] = (0.5, 0.999),
        epochs: PositiveInt = 100,
        hide: Literal["complementary", "none", "random"] | None = None,
        passes: PositiveInt | None = None,
        shifts: Literal[1, 2, 4] = 2,
        error: Residual = "mse",
        all_errors: bool = False,
        rank_weights: tuple[NonNegativeFloat, ...] = (1.1, 1.0),
        rest_weight: NonNegativeFloat = 0.0,
        min_foreground: Fraction = 0.5,
        top_crops: PositiveInt = 2,
        blur: NonNegativeFloat | None = None,
        seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__(spec)
        require_range(spec, 0.0, 1.0, "PatchGAN")
        require_multiple(spec, 32, "PatchGAN")
        self.crops = reading == "crop32"
        self.tile = (32, 32) if self.crops else (spec.height, spec.width)
        self.grid = spec.height // self.tile[0], spec.width // self.tile[1]
        self.patch = patch or (16 if self.crops else min(self.tile) // 8)
        hide = hide or ("none" if self.crops else "complementary")
        passes = passes or (16 if hide == "random" else 4)
        skips = hide == "complementary" and not self.crops if skips is None else skips
        layers = discriminator_layers or min(max(round(log2(self.patch / 8)), 1), 3)
        self._check(hide, skips, passes, layers)
        self.residuals, self.error, self.all_errors = Residuals(spec, "PatchGAN", error, all_errors, features), error, all_errors
        self.fill, self.context, self.loss_region, self.loss_reduction = fill, context, loss_region, loss_reduction
        self.reconstruction_weight, self.real_target, self.reconstructor_updates = reconstruction_weight, real_target, reconstructor_updates
        self.learning_rate, self.betas, self.epochs = learning_rate, betas, epochs
        self.rank_weights, self.rest_weight = rank_weights, rest_weight
        self.min_foreground, self.top_crops = min_foreground, top_crops
        sigma = (0.0 if hide == "none" else min(self.tile) / 32) if blur is None else blur
        kernel = gaussian_1d(torch.tensor(sigma)) if sigma else torch.ones(1)
        self.register_buffer("kernel", kernel, persistent=False)

        inputs, outputs = spec.channels + context, spec.channels
        self.reconstructor = crop_reconstructor(inputs, outputs, width) if self.crops else UNetLite(inputs, outputs, width, skips)
        norm: Any = None if discriminator_norm == "none" else "INSTANCE"  # MONAI takes None, and forgets to say so
        self.discriminator = PatchDiscriminator(2, discriminator_width, spec.channels, num_layers_d=layers, norm=norm)
        self.pooling = LogitPooling(self.tile, layers, self.patch)
        margin = 0 if hide == "none" else 4 if self.crops else 16  # the strides must divide what is left
        self.scoring = Passes(*scoring_masks(hide, self.tile, passes, shifts, seed), fill, context, margin)
        diagonal = complementary_masks(self.tile, min(self.tile) // 8, 16)[::5]  # a quarter of the image
        self.validation = Passes(diagonal, diagonal.float(), fill, context, margin)

    def _check(self, hide: str, skips: bool, passes: int, layers: int) -> None:
        height, width = self.tile
        if height % self.patch or width % self.patch:
            raise MedoodError(f"PatchGAN: patches of {self.patch} pixels do not tile {height} x {width}: choose another `patch`.")
        if min(self.tile) >> layers < 3:
            raise MedoodError(f"PatchGAN: {layers} `discriminator_layers` are too many for {min(self.tile)} pixels: choose fewer.")
        if skips and (self.crops or hide != "complementary"):
            raise MedoodError(
                'PatchGAN: with `skips` the network copies what it sees, so they need reading "image256" and hide "complementary", '
                f"found {'crop32' if self.crops else 'image256'} and {hide}: leave `skips` out."
            )
        if hide == "complementary" and (passes < 4 or isqrt(passes) ** 2 != passes):
            raise MedoodError(f"PatchGAN: complementary `passes` must be a square number such as 4 or 16, found {passes}.")

    def phases(self) -> list[Phase]:
        return [_Adversarial(self)]

    def tiles(self, image: Tensor) -> Tensor:
        """What the networks see: the image itself, or its crops, (B * n, C, 32, 32)."""
        return cut(image, 32) if self.crops else image

    def enough(self, image: Tensor) -> Tensor:
        """bool (N,): the crops with enough foreground; whole images all have."""
        share = self.tiles(self.foreground(image).float()).mean((1, 2, 3))
        return share >= (self.min_foreground if self.crops else 0.0)

    def counted(self, image: Tensor) -> Tensor:
        """bool (N, 1, rows, columns): the patches with enough foreground, in crops with enough foreground."""
        share = avg_pool2d(self.tiles(self.foreground(image).float()), self.patch)
        return (share >= self.min_foreground) & self.enough(image)[:, None, None, None]

    def filled(self, tiles: Tensor) -> Tensor:
        """Images or crops (N, C, h, w) as the passes of scoring fill them in."""
        with self.arithmetic():
            return self.scoring(self.reconstructor, tiles)

    def unreal(self, tiles: Tensor) -> Tensor:
        """(N, 1, rows, columns) of patches: 1 - D, from 0 real to 1 unreal."""
        at_once = max(1, PIXELS_AT_ONCE // tiles[0, 0].numel())
        with self.arithmetic():
            logits = [self.discriminator(part)[-1].to(tiles) for part in tiles.split(at_once)]
        return torch.sigmoid(-self.pooling(torch.cat(logits)))

    def _score(self, image: Tensor) -> Scores:
        tiles, counted = self.tiles(image), self.counted(image)
        filled = self.filled(tiles)
        maps = self.residuals(image, join(filled, *self.grid))
        patches = {error: avg_pool2d(self.tiles(heat), self.patch) * counted for error, heat in maps.items()}
        unreal = self.unreal(filled) * counted
        ranked = {error: self._rank(of.flatten(1), unreal.flatten(1), counted.flatten(1), len(image)) for error, of in patches.items()}
        parts = {name: values for name, values in ranked[self.error].items() if name != "ranked"}
        parts |= {error: scores["ranked"] for error, scores in ranked.items()} if self.all_errors else {}
        return Scores(
            ranked[self.error]["ranked"],
            self._calmed(maps[self.error], self.foreground(image)),
            join(patches[self.error], *self.grid),
            parts,
        )

    def _calmed(self, heat: Tensor, inside: Tensor) -> Tensor:
        """Blurred maps (B, 1, H, W), divided by how much of the Gaussian lies in the body, so that its rim is as hot as its middle."""
        if len(self.kernel) == 1:
            return heat
        heat, share = (separable_filtering(values, [self.kernel, self.kernel]) for values in (heat * inside, inside.to(heat)))
        return torch.where(inside, heat / share.clamp(min=1e-6), 0.0)

    def _reconstructions(self, image: Tensor) -> dict[str, Tensor]:
        return {"x' (filled in)": join(self.filled(self.tiles(image)), *self.grid)}

    def _rank(self, errors: Tensor, unreal: Tensor, counted: Tensor, images: int) -> dict[str, Tensor]:
        """Scores by name, (images,) each, from the patches (images * n, N) of the images or crops."""
        scores = {
            "ranked": rank(errors, self.rank_weights, self.rest_weight),
            "unranked": top_mean(errors, counted, errors.shape[1]),
            "adversarial": rank(unreal, (1.0, 1.0), 0.0),
        }
        scores |= {f"top_{k}": top_mean(errors, counted, k) for k in _SENSITIVITY if k <= errors.shape[1]}
        used = counted.any(1).view(images, -1)
        pooled = {name: top_mean(score.view(images, -1), used, self.top_crops) for name, score in scores.items()}
        if self.crops:
            ranked = scores["ranked"].view(images, -1)
            pooled["highest_crop"] = top_mean(ranked, used, 1)
            pooled["mean_crop"] = top_mean(ranked, used, ranked.shape[1])
        return pooled


class _Adversarial(Phase):
    """The discriminator and the reconstructor by turns."""

    name = "adversarial"

    def __init__(self, detector: PatchGAN) -> None:
        self.detector = detector
        self.epochs = detector.epochs
        self.optimizers = {
            name: Adam(network.parameters(), detector.learning_rate, detector.betas, fused=True)
            for name, network in (("discriminator", detector.discriminator), ("reconstructor", detector.reconstructor))
        }

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        image, hidden, counts = self._tiles(batch)
        if not bool(summed(counts.sum())):
            return {}
        detector = self.detector
        shown = show(image, hidden, detector.fill, detector.context)
        filled = detector.reconstructor(shown)
        judge = (self._judged(image, detector.real_target, counts) + self._judged(filled.detach(), 0.0, counts)) / 2
        update(judge, "discriminator")
        for turn in range(detector.reconstructor_updates):
            filled = detector.reconstructor(shown) if turn else filled
            reconstruction = self._reconstruction(image, filled, hidden, counts)
            adversarial = self._judged(filled, 1.0, counts)
            update(detector.reconstruction_weight * reconstruction + adversarial, "reconstructor")
        return {"discriminator": judge.detach(), "adversarial": adversarial.detach(), "reconstruction": reconstruction.detach()}

    def finish(self) -> None:
        if not self.optimizers["reconstructor"].state:
            raise TrainingError("PatchGAN found no crop with enough foreground to train on: lower `min_foreground`, or check `background`.")

    def validate(self, batch: Batch) -> Tensor:
        """Mean squared error of what is filled in for a quarter of the image, hidden in four passes: the same quarter every time."""
        detector = self.detector
        tiles = detector.tiles(batch.image)
        filled = detector.validation(detector.reconstructor, tiles)
        judged = detector.validation.masks.any(0) & detector.enough(batch.image)[:, None, None, None]
        error = (squared_error(tiles, filled) * judged).reshape(len(batch.image), -1)
        return error.sum(1) / judged.view(len(batch.image), -1).sum(1).clamp(min=1)

    def _tiles(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Images and hidden parts as the networks see them; crops only if they have enough foreground. And which count, 0 or 1, (N,).

        Where other processes may have some, a part of a batch without any such crop gives one that does not count.
        """
        if batch.hidden is None:
            raise TrainingError(
                "PatchGAN learns to fill in hidden parts, and nothing is hidden: add `mask_boxes` or `mask_cells` to `augment`."
            )
        detector = self.detector
        enough = detector.enough(batch.image)
        keep = enough if bool(enough.any()) else torch.arange(len(enough), device=enough.device) == 0
        return detector.tiles(batch.image)[keep], detector.tiles(batch.hidden)[keep], enough[keep].to(batch.image)

    def _judged(self, image: Tensor, target: float, counts: Tensor) -> Tensor:
        """Mean binary cross entropy of the discriminator's logits, over the images or crops of the whole batch that count."""
        logits = self.detector.discriminator(image)[-1]
        entropies = binary_cross_entropy_with_logits(logits, torch.full_like(logits, target), reduction="none")
        return summed((entropies.flatten(1).mean(1) * counts).sum()) / summed(counts.sum())

    def _reconstruction(self, image: Tensor, filled: Tensor, hidden: Tensor, counts: Tensor) -> Tensor:
        """Eq. 1, over the images or crops of the whole batch that count."""
        detector, counting = self.detector, counts[:, None, None, None]
        errors = (image - filled).square() * counting
        pixels = counting.expand_as(image[:, :1])
        if detector.loss_region == "hidden":
            errors, pixels = errors * hidden, pixels * hidden
        if detector.loss_reduction == "mean":
            return summed(errors.sum()) / (summed(pixels.sum()).clamp(min=1) * image.shape[1])
        return summed(errors.sum()) / (summed(counts.sum()) * image[0, 0].numel() / detector.patch**2)
