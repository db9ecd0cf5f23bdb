"""A normalizing flow of coupling blocks: densities of vectors, exact, by change of variables."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import AffineTransform, Distribution, Independent, Normal, Transform, constraints
from torch.nn.functional import softplus
from torch.optim import Adam
from zuko.flows import Flow, GeneralCouplingTransform, UnconditionalDistribution, UnconditionalTransform
from zuko.transforms import MonotonicRQSTransform, PermutationTransform

Coupling = Literal["tanh", "scaled_tanh", "spline"]

_CLAMP = 2.0
_UNIT_GAIN = 2 * float(torch.tensor(5.0, dtype=torch.float64).expm1().log())  # 0.1 softplus(this, beta 0.5) = 1
_BINS = 8


class CouplingFlow(nn.Module):
    """Blocks of FrEIA's AllInOneBlock, which paper 002's kind of flows is made of, on zuko.

    A block changes half of the numbers, by what a perceptron makes of the other half; then each number by a learned gain and offset; then
    it permutes them. Halves are changed by

        "tanh"         x exp(2 tanh(0.1 s)) + 0.1 t, as FrEIA did up to 0.2
        "scaled_tanh"  x exp(2 tanh(0.05 s)) + 0.1 t, as it does since 2023
        "spline"       monotonic rational-quadratic splines of 8 bins within -5..5 (Durkan et al., 2019), for few numbers

    A single number has no halves: it is changed as it is, and only splines make anything but a Gaussian of it.

    features  numbers of a vector;  context  further numbers that each density is conditional on;  width  of the perceptron's hidden layer
    """

    def __init__(self, features: int, context: int = 0, *, blocks: int = 8, width: int = 512, coupling: Coupling = "tanh") -> None:
        super().__init__()
        changes = [change for _ in range(blocks) for change in _block(features, context, width, coupling)]
        base = UnconditionalDistribution(_normal, torch.zeros(features), torch.ones(features), buffer=True)
        self.flow = Flow(changes, base)

    def log_density(self, rows: Tensor, context: Tensor | None = None) -> Tensor:
        """(n,) natural logarithms of the density at rows (n, d); in the precision of the weights, whatever else is computed in."""
        kind = next(self.parameters()).dtype
        with torch.autocast(rows.device.type, enabled=False):
            return self.flow(None if context is None else context.to(kind)).log_prob(rows.to(kind))


def _block(features: int, context: int, width: int, coupling: Coupling) -> list[nn.Module]:
    half = torch.arange(features) < (features + 1) // 2  # the ones that stay
    univariate, shapes = _univariate(coupling)
    change = GeneralCouplingTransform(features, context, half, univariate=univariate, shapes=shapes, hidden_features=(width,))
    gain = UnconditionalTransform(_gain, torch.full((features,), _UNIT_GAIN), torch.zeros(features))
    return [change, gain, UnconditionalTransform(PermutationTransform, torch.randperm(features), buffer=True)]


def _univariate(coupling: Coupling) -> tuple[Callable[..., Transform], list[Any]]:
    if coupling == "spline":
        return MonotonicRQSTransform, [(_BINS,), (_BINS,), (_BINS - 1,)]
    return partial(SoftAffine, softness=_CLAMP if coupling == "scaled_tanh" else 1.0), [(), ()]


def _normal(mean: Tensor, deviation: Tensor) -> Distribution:
    """Independent Gaussians, which take what is no number for one: whoever asks looks at the density."""
    return Independent(Normal(mean, deviation, validate_args=False), 1, validate_args=False)


def _gain(raw: Tensor, offset: Tensor) -> Transform:
    return AffineTransform(offset, 0.1 * softplus(raw, beta=0.5), event_dim=1)


class SoftAffine(Transform):
    """x exp(c tanh(0.1 s / softness)) + 0.1 t with c = 2."""

    domain = codomain = constraints.real
    bijective = True
    sign = +1

    def __init__(self, shift: Tensor, scale: Tensor, softness: float = 1.0) -> None:
        super().__init__()
        self.shift, self.log_scale = 0.1 * shift, _CLAMP * torch.tanh(0.1 * scale / softness)

    def _call(self, x: Tensor) -> Tensor:
        return x * self.log_scale.exp() + self.shift

    def _inverse(self, y: Tensor) -> Tensor:
        return (y - self.shift) * (-self.log_scale).exp()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.log_scale.expand(x.shape)


class CarefulAdam(Adam):
    """Adam that scales gradients down to a norm of `clip_norm`, and leaves out a step whose gradients are no finite numbers.

    skipped  whether it left out the last step, 0 or 1
    """

    def __init__(self, parameters: Any, lr: float, *, clip_norm: float = 10.0, **options: Any) -> None:
        super().__init__(parameters, lr, **options)
        self.clip_norm, self.skipped = clip_norm, 0.0

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # nobody gives one
        norm = nn.utils.clip_grad_norm_([p for group in self.param_groups for p in group["params"]], self.clip_norm)
        self.skipped = float(not bool(norm.isfinite()))
        if not self.skipped:
            super().step()
