"""The variational autoencoder of "The OOD blind spot of unsupervised anomaly detection"."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam

from medood.core.demands import require_multiple
from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.errors import MedoodError, TrainingError
from medood.core.running.processes import together
from medood.core.tracing import is_written_down
from medood.core.types import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from medood.detectors.combination.image_keys import keys_of
from medood.detectors.reconstruction.blind_spot_normals import JUDGEMENTS, STATISTICS, Normals, judged_by_others, p_values
from medood.detectors.reconstruction.blind_spot_statistics import compressed_bits, eroded, residual_entropy, residual_map
from medood.nets.body import mean_inside, percentile_inside
from medood.nets.dense_vae import STEP, DenseVAE
from medood.nets.densities.gaussian import divergence
from medood.nets.error_maps import absolute_error

_LEAST_HELD_OUT = 20
_COMPRESSES = "complexity", "bits", "dose", "dose_svm"  # scores that rest on how well an image compresses
NORMAL, LESION, SHIFT = 0.0, 1.0, 2.0
"""The values of the part "outcome"."""


class BlindSpotVAE(Detector):
    """VAE of the OOD blind spot: all its usual scores, and a rule that tells a lesion from an image of another kind.

    Heer, Postels, Chen, Konukoglu and Albarqouni, "The OOD blind spot of unsupervised anomaly detection", MIDL 2021: a model of normal
    images calls all that it has never seen a lesion, another sequence, another scanner or a flipped scan. Pipeline and defaults are those
    of the authors' code (github.com/matthaeusheer/uncertify), for T2 and FLAIR, where lesions are bright: the dense VAE of
    `medood/nets/dense_vae.py`; L1 inside the body; a KL weight that rises from 0; as map the residual where the image is brighter than its
    reconstruction, away from the rim of the body, and its median. Takes any range; height and width are multiples of 16, at least 32.

    What the text of the paper leaves open or its code gets wrong follows the theory: the negative ELBO is the sum of both terms;
    reconstructions use the means of the latent variables; entropies are exact; DoSE sums log densities; WAIC is the mean of the negative
    ELBO plus its variance; all densities are of held-out images, which are judged by other patients' images.

    The rule is ours, after the paper's idea. What a shift changes is diffuse: the median error over the body, the divergence, how well the
    image compresses (either tail of each) or the entropy of the residual (high). What a lesion changes is concentrated: the entropy (low)
    or the hottest residual. Both become conformal p-values among held-out normal images. Their rates hold for patients like the held-out
    ones, so hold out several; and a lesion that fills much of a slice is diffuse, and is called another kind of image.

    scale          of the Laplace distribution of a pixel, as a share of the range: 0.07 is about a standard deviation of the brain in
                   `transforms: brats_flair`, the paper's unit
    reduction      "mean": the error per pixel of the body plus the divergence per latent variable, as the authors train; "sum": both in
                   nats, a true ELBO, in which the error weighs many times more, and WAIC's variance too
    beta           weight of the divergence at last. With the reduction "mean" a true ELBO has `latent` divided by the pixels of the body,
                   0.02 or so; the authors' 1 is many times more, and leaves few latent variables in use
    warmup         training steps in which it rises there, in a straight line from 0
    mask_from      training step from which the error counts inside the body alone
    latent         number of latent variables
    width          channels of the first convolution
    ensemble       how many models are trained; the statistics and maps are their means, and from two on there is the part "waic"
    side           what is a residual: the image "higher" than its reconstruction, "lower", or "both"
    erosion        pixels of the body's rim that do not count in the residual
    median         the residual is its median over so many pixels each way, an odd number; 1: as it is
    statistics     what DoSE joins; the authors took rec, kl, elbo and entropy
    nu             share of held-out images that may lie outside the one-class SVM
    shift_rate     share of normal images that the rule may call another kind of image
    lesion_rate    share of normal images that the rule may call abnormal
    score          which part is the image score
    learning_rate  of Adam
    epochs         of each model

    Parts: "rec" L1 and "kl" divergence as trained; "elbo", the negative one; "entropy" of the residual, 0 concentrated to 1 diffuse;
    "gradient", the length of the ELBO's derivative by the image; "complexity", bits by the model minus bits as a PNG, per value of the body
    (Serra et al., ICLR 2020); "bits" as a PNG, per value of the body; "level" and "peak", median of the absolute error and 99th percentile
    of the residual, away from the rim;
    "typicality", distance of the ELBO from its mean (Nalisnick et al., 2019); "dose" and "dose_svm" (Morningstar et al., AISTATS 2021);
    "waic" (Choi et al., 2018); "shift_p" and "lesion_p", p-values, small is suspicious; "outcome" of the rule: 0 in domain and normal,
    1 in domain and abnormal, 2 out of domain.
    """

    steps_: Tensor  # (ensemble,) int64, training steps done
    normal_: Tensor  # (held-out images, STATISTICS)
    judged_: Tensor  # (held-out images, JUDGEMENTS), each by other patients
    keys_: Tensor  # (held-out images,)
    vectors_: Tensor
    duals_: Tensor
    offset_: Tensor

    def __init__(
        self,
        spec: ImageSpec,
        *,
        scale: PositiveFloat = 0.07,
        reduction: Literal["mean", "sum"] = "mean",
        beta: NonNegativeFloat = 1.0,
        warmup: NonNegativeInt = 2000,
        mask_from: NonNegativeInt = 0,
        latent: PositiveInt = 128,
        width: PositiveInt = 32,
        ensemble: PositiveInt = 1,
        side: Literal["higher", "lower", "both"] = "higher",
        erosion: NonNegativeInt = 3,
        median: PositiveInt = 5,
        statistics: tuple[Literal["rec", "kl", "elbo", "entropy", "gradient", "complexity"], ...] = (
            "rec",
            "kl",
            "elbo",
            "entropy",
            "gradient",
            "complexity",
        ),
        nu: Fraction = 0.1,
        shift_rate: Fraction = 0.05,
        lesion_rate: Fraction = 0.05,
        score: Literal["rec", "kl", "elbo", "gradient", "complexity", "bits", "level", "peak", "typicality", "dose", "dose_svm"] = "rec",
        learning_rate: PositiveFloat = 1e-4,
        epochs: PositiveInt = 100,
    ) -> None:
        super().__init__(spec)
        require_multiple(spec, STEP, "BlindSpotVAE", least=2 * STEP)
        _check(median, statistics, nu, shift_rate, lesion_rate)
        self.scale, self.reduction, self.beta, self.warmup, self.mask_from = scale, reduction, beta, warmup, mask_from
        self.side, self.erosion, self.median, self.kind = side, erosion, median, score
        self.statistics, self.nu, self.shift_rate, self.lesion_rate = statistics, nu, shift_rate, lesion_rate
        self.latent, self.learning_rate, self.epochs = latent, learning_rate, epochs
        self.models = nn.ModuleList(DenseVAE(spec, width, latent) for _ in range(ensemble))
        self.register_buffer("steps_", torch.zeros(ensemble, dtype=torch.int64))
        self.fitted_later("normal_", "judged_", "vectors_", "duals_", "offset_")
        self.fitted_later("keys_", dtype=torch.int64)

    @property
    def unit(self) -> float:
        """What counts as one, in the images' units: the scale of the Laplace distribution."""
        return self.scale * (self.spec.high - self.spec.low)

    def phases(self) -> list[Phase]:
        return [*(_Reconstruction(self, number) for number in range(len(self.models))), _Normals(self)]

    def rebuild(self, number: int, image: Tensor) -> tuple[Tensor, Tensor]:
        """What model `number` makes of images (B, C, H, W), and the divergence (B,) in nats of the latent variables from N(0, 1)."""
        middle = (self.spec.low + self.spec.high) / 2
        made, posterior = self.models[number]((image - middle) / self.unit)
        return middle + self.unit * made, divergence(posterior)

    def terms(self, image: Tensor, made: Tensor, divergences: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) each: the error of the images `inside` the body and the divergence, as `reduction` has them."""
        error = absolute_error(image, made) / self.unit
        if self.reduction == "mean":
            return mean_inside(error, inside), divergences / self.latent
        nats = ((error + math.log(2)) * inside).sum((1, 2, 3)) * self.spec.channels
        return nats, divergences

    def loss(self, number: int, image: Tensor, beta: float, masked: bool) -> tuple[Tensor, Tensor, Tensor]:
        """(B,) each: the negative ELBO with this `beta`, its error and its divergence; over the whole image unless `masked`."""
        inside = self.foreground(image)
        rec, kl = self.terms(image, *self.rebuild(number, image), inside if masked else torch.ones_like(inside))
        return rec + beta * kl, rec, kl

    def solve(self, statistics: Tensor, keys: np.ndarray, patients: Tensor) -> None:
        """Keep what held-out images measure, (n, STATISTICS), their keys and patients (n,), and what follows from it."""
        if not bool(statistics.isfinite().all()):
            raise TrainingError("BlindSpotVAE measures what is no number on held-out images: its training diverged. Lower `learning_rate`.")
        rows = statistics.double().cpu().numpy()
        normals = Normals.of(rows, self.statistics, self.nu)
        self.normal_, self.keys_ = statistics, torch.from_numpy(keys).to(statistics.device)
        self.judged_ = statistics.new_tensor(judged_by_others(rows, patients.cpu().numpy(), self.statistics, self.nu))
        self.vectors_, self.duals_, self.offset_ = map(statistics.new_tensor, (normals.vectors, normals.duals, normals.offset))

    def measure(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Statistics (B, STATISTICS), negative ELBOs (B, ensemble) and residual maps (B, 1, H, W) of images (B, C, H, W)."""
        measured = [self._measure(number, image) for number in range(len(self.models))]
        statistics = torch.stack([each[0] for each in measured])
        elbos = statistics[:, :, STATISTICS.index("elbo")].T
        return statistics.mean(0), elbos, torch.stack([heat for _, heat in measured]).mean(0)

    @torch.enable_grad()
    def _measure(self, number: int, image: Tensor) -> tuple[Tensor, Tensor]:
        """The statistics and the residual map by one model."""
        image, inside = image.detach().clone().requires_grad_(), self.foreground(image)
        made, divergences = self.rebuild(number, image)
        rec, kl = self.terms(image, made, divergences, inside)
        elbo = rec + self.beta * kl
        (gradient,) = torch.autograd.grad(elbo.sum(), image)
        with torch.no_grad():
            deep = eroded(inside, self.erosion)
            heat = residual_map(image, made, deep, self.side, self.median)
            error = absolute_error(image, made)
            unseen = is_written_down() and self.kind not in _COMPRESSES  # a PNG encoder has no operations of tensors
            bits = torch.zeros_like(rec) if unseen else compressed_bits(image, self.spec) / self._values(inside)
            found = {
                "rec": rec,
                "kl": kl,
                "elbo": elbo,
                "entropy": residual_entropy(heat, deep),
                "gradient": gradient.flatten(1).norm(dim=1),
                "complexity": self._bits_by_model(error, divergences, inside) - bits,
                "bits": bits,
                "level": percentile_inside(error, deep, 50),
                "peak": percentile_inside(heat, deep, 99),
            }
            return torch.stack([found[name].detach() for name in STATISTICS], 1), heat

    def _bits_by_model(self, error: Tensor, divergences: Tensor, inside: Tensor) -> Tensor:
        """(B,): bits that the model takes per value of the body, of images in 256 levels."""
        nats = mean_inside(error, inside) / self.unit + math.log(2 * self.scale * 255) + divergences / self._values(inside)
        return nats / math.log(2)

    def _values(self, inside: Tensor) -> Tensor:
        return inside.sum((1, 2, 3)).clamp(min=1) * self.spec.channels

    def _score(self, image: Tensor) -> Scores:
        statistics, elbos, heat = self.measure(image)
        parts = dict(zip(STATISTICS, statistics.T, strict=True)) | self._judged(image, statistics)
        if len(self.models) > 1:
            parts["waic"] = elbos.mean(1) + elbos.var(1)
        return Scores(parts[self.kind], heat, parts=parts)

    def _judged(self, image: Tensor, statistics: Tensor) -> dict[str, Tensor]:
        """What the held-out images say of these; of one of themselves, what those of other patients said."""
        normal = (self.normal_, self.vectors_, self.duals_, self.offset_)
        rows, vectors, duals, offset = (values.double().cpu().numpy() for values in normal)
        asked = statistics.double().cpu().numpy()
        found = Normals(rows, self.statistics, vectors, duals, offset).judge(asked).astype(np.float32)
        judged = self.judged_.cpu().numpy()
        same = keys_of(image)[:, None] == self.keys_.cpu().numpy()
        known = same.any(1)
        found[known] = judged[same[known].argmax(1)]
        shift_p, lesion_p = (p_values(found[:, at], judged[:, at]) for at in map(JUDGEMENTS.index, ("shift", "lesion")))
        outcome = np.where(shift_p <= self.shift_rate, SHIFT, np.where(lesion_p <= self.lesion_rate, LESION, NORMAL))
        columns = dict(zip(JUDGEMENTS, found.T, strict=True)) | {"shift_p": shift_p, "lesion_p": lesion_p, "outcome": outcome}
        return {name: statistics.new_tensor(values) for name, values in columns.items()}

    def _reconstructions(self, image: Tensor) -> dict[str, Tensor]:
        made = torch.stack([self.rebuild(number, image)[0] for number in range(len(self.models))]).mean(0)
        return {"x' (reconstruction)": torch.where(self.foreground(image), made, image)}


class _Reconstruction(Phase):
    """One model of the ensemble."""

    def __init__(self, detector: BlindSpotVAE, number: int) -> None:
        self.detector, self.number = detector, number
        self.name = "reconstruction" if len(detector.models) == 1 else f"reconstruction-{number + 1}"
        self.epochs = detector.epochs
        self.optimizers = {"vae": Adam(detector.models[number].parameters(), detector.learning_rate, fused=True)}

    def begin(self) -> None:
        self.detector.steps_[self.number] = 0
        self.steps: int | None = None

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        detector = self.detector
        if self.steps is None:  # after `begin`, a training that goes on has put back how far it was
            self.steps = int(detector.steps_[self.number])
        beta = detector.beta * min(1.0, self.steps / detector.warmup) if detector.warmup else detector.beta
        loss, rec, kl = (each.mean() for each in detector.loss(self.number, batch.image, beta, self.steps >= detector.mask_from))
        update(loss, "vae")
        self.steps += 1
        detector.steps_[self.number] = self.steps
        return {"loss": loss.detach(), "rec": rec.detach(), "kl": kl.detach()}

    def validate(self, batch: Batch) -> Tensor:
        return self.detector.loss(self.number, batch.image, self.detector.beta, masked=True)[0]


class _Normals(Phase):
    """What the trained models measure on held-out images."""

    name = "normals"

    def __init__(self, detector: BlindSpotVAE) -> None:
        self.detector = detector
        self.held_out = max(_LEAST_HELD_OUT, math.ceil(1 / min(detector.shift_rate, detector.lesion_rate) - 1e-9) - 1)

    def begin(self) -> None:
        self.rows: list[Tensor] = []
        self.keys: list[np.ndarray] = []
        self.patients: list[Tensor] = []

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        self.rows.append(together(self.detector.measure(batch.image)[0]))
        self.keys.append(together(torch.from_numpy(keys_of(batch.image))).numpy())
        seen = sum(map(len, self.patients))
        self.patients.append(torch.arange(seen, seen + batch.whole) if batch.patient is None else together(batch.patient.cpu()))
        return {}

    def finish(self) -> None:
        self.detector.solve(torch.cat(self.rows), np.concatenate(self.keys), torch.cat(self.patients))
        del self.rows, self.keys, self.patients


def _check(median: int, statistics: tuple[str, ...], nu: float, shift_rate: float, lesion_rate: float) -> None:
    if median % 2 == 0:
        raise MedoodError(f"BlindSpotVAE: `median` is an odd number of pixels, or 1 for no filter; found {median}.")
    if not statistics:
        raise MedoodError("BlindSpotVAE: `statistics` names none: DoSE joins at least one, such as [rec, kl].")
    for name, value in (("nu", nu), ("shift_rate", shift_rate), ("lesion_rate", lesion_rate)):
        if not 0 < value < 1:
            raise MedoodError(f"BlindSpotVAE: `{name}` is a share between 0 and 1, such as 0.05; found {value:g}.")
