"""A convolutional autoencoder, and a one-class support vector machine on its code."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.optim import Adam

from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.errors import MedoodError, TrainingError
from medood.core.running.processes import together
from medood.core.types import Fraction, NonNegativeInt, PositiveFloat, PositiveInt
from medood.detectors.one_class.rbf_svm import Choice, Machines, pairs, solve
from medood.nets.dcgan import coder, drawer
from medood.nets.error_maps import absolute_error, squared_error
from medood.nets.images.signed import signed, unsigned


class CAEOneClassSVM(Detector):
    """One-class SVM with an RBF kernel on the code of a convolutional autoencoder that normal images have trained.

    The baseline "CAE-OC-SVM" of Golan and El-Yaniv (NeurIPS 2018). The score is the negative decision function: above 0 outside the
    boundary around the normal images. Takes any range of values, stretched to -1..1 inside, and any size of 8 pixels or more that can be
    halved until the shorter side has 4 to 7 pixels.

    width          channels of the first convolution; they double up to 8 width
    code           numbers between coder and drawer, each in -1..1
    nu             upper bound on the share of training images outside the boundary
    gamma          of the kernel exp(-gamma d^2): "scale" is 1 / (code x variance), "auto" is 1 / code
    other_nus, other_gammas   every pair of these is scored too, as parts, for `hindsight` in a benchmark: the paper took the best pair of
                   nu 0.1 to 0.9 and gamma 2^-7 to 2^2 by the labels of its test
    most           images to fit at most, drawn with `seed`, for an exact machine: time grows with the square of their number
    learning_rate  of Adam
    epochs         200 in the paper

    Parts: "mse" of the reconstruction and the other pairs. `map` is |image - reconstruction|, which the score does not follow.
    """

    vectors_: Tensor  # (vectors, code)
    duals_: Tensor  # (machines, vectors): that of nu and gamma, then the others
    gamma_: Tensor  # (machines,)
    offset_: Tensor  # (machines,)

    def __init__(
        self,
        spec: ImageSpec,
        *,
        width: PositiveInt = 64,
        code: PositiveInt = 256,
        nu: Fraction = 0.1,
        gamma: Literal["scale", "auto"] | PositiveFloat = "scale",
        other_nus: tuple[Fraction, ...] = (),
        other_gammas: tuple[PositiveFloat, ...] = (),
        most: PositiveInt = 10_000,
        learning_rate: PositiveFloat = 1e-3,
        epochs: PositiveInt = 200,
        seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__(spec)
        if 0 in (nu, *other_nus):
            raise MedoodError("CAEOneClassSVM: `nu` is a share above 0: set it to something like 0.1.")
        self.coder, self.drawer = coder(spec, "CAEOneClassSVM", width, code), drawer(spec, "CAEOneClassSVM", width, code)
        self.nu, self.gamma, self.others = nu, gamma, pairs(other_nus, other_gammas)
        self.most, self.seed = most, seed
        self.learning_rate, self.epochs = learning_rate, epochs
        self.fitted_later("vectors_", "duals_", "gamma_", "offset_")

    def phases(self) -> list[Phase]:
        return [_Reconstruction(self), _Fit(self)]

    def code(self, image: Tensor) -> Tensor:
        """(B, code) of images in the range of the spec."""
        return self.coder(signed(image, self.spec)).tanh()

    def solve(self, codes: Tensor) -> None:
        """Fit the machines to codes (n, code)."""
        if len(codes) < 2 or not bool((codes != codes[0]).any()):
            raise TrainingError(
                f"CAEOneClassSVM found {len(codes)} images to fit, or the codes of all are the same: give it different normal images."
            )
        fitted = solve(codes, [(self.nu, self.gamma), *self.others.values()])
        self.vectors_, self.duals_, self.gamma_, self.offset_ = fitted.vectors, fitted.duals, fitted.gammas, fitted.offsets

    def _score(self, image: Tensor) -> Scores:
        code = self.code(image)
        machines = Machines(self.vectors_, self.duals_, self.gamma_, self.offset_)
        scores, *others = machines.decide(code.double() if code.device.type != "mps" else code).float().unbind(1)
        drawn = unsigned(self.drawer(code), self.spec)
        parts = {"mse": squared_error(image, drawn).mean((1, 2, 3)), **dict(zip(self.others, others, strict=True))}
        return Scores(scores, absolute_error(image, drawn), parts=parts)

    def _reconstructions(self, image: Tensor) -> dict[str, Tensor]:
        return {"x' (reconstruction)": unsigned(self.drawer(self.code(image)), self.spec)}


class _Reconstruction(Phase):
    name = "reconstruction"

    def __init__(self, detector: CAEOneClassSVM) -> None:
        self.detector = detector
        self.epochs = detector.epochs
        parameters = [*detector.coder.parameters(), *detector.drawer.parameters()]
        self.optimizers = {"autoencoder": Adam(parameters, detector.learning_rate, fused=True)}

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        loss = self.validate(batch).mean()
        update(loss, "autoencoder")
        return {"loss": loss.detach()}

    def validate(self, batch: Batch) -> Tensor:
        """Mean squared errors where the range is -1..1."""
        drawn = self.detector.drawer(self.detector.code(batch.image))
        return squared_error(signed(batch.image, self.detector.spec), drawn).mean((1, 2, 3))


class _Fit(Phase):
    name = "fit"

    def __init__(self, detector: CAEOneClassSVM) -> None:
        self.detector = detector

    def begin(self) -> None:
        self.choice = Choice(self.detector.most, self.detector.seed)

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        self.choice.offer(together(self.detector.code(batch.image)))
        return {}

    def finish(self) -> None:
        self.detector.solve(self.choice.made())
