"""One-class support vector machines with an RBF kernel, several settings on the same vectors at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from sklearn.svm import OneClassSVM as Libsvm
from torch import Tensor

Gamma = Literal["scale", "auto"] | float


@dataclass(frozen=True)
class Machines:
    """vectors (v, d) that any machine rests on; duals (m, v), most of them 0; gammas (m,); offsets (m,)"""

    vectors: Tensor
    duals: Tensor
    gammas: Tensor
    offsets: Tensor

    def decide(self, features: Tensor) -> Tensor:
        """(n, m) negative decision functions of features (n, d): above 0 outside the boundary. In the precision of the features."""
        vectors, duals = self.vectors.to(features), self.duals.to(features)
        products = features @ vectors.T
        distances = (features.square().sum(1, keepdim=True) + vectors.square().sum(1) - 2 * products).clamp(min=0)
        machines: dict[float, list[int]] = {}
        for number, gamma in enumerate(self.gammas.tolist()):
            machines.setdefault(gamma, []).append(number)
        scores = [self.offsets[same] - (-gamma * distances).exp() @ duals[same].T for gamma, same in machines.items()]
        order = [number for same in machines.values() for number in same]
        return torch.cat(scores, 1)[:, [order.index(number) for number in range(len(order))]]


def solve(features: Tensor, settings: Sequence[tuple[float, Gamma]]) -> Machines:
    """A machine for every (nu, gamma), fitted to float32 features (n, d) by libsvm; "scale" is 1 / (d x variance), "auto" 1 / d."""
    rows = features.cpu().numpy()
    duals = features.new_zeros((len(settings), len(features)))
    gammas, offsets = features.new_empty(len(settings)), features.new_empty(len(settings))
    for machine, (nu, gamma) in enumerate(settings):
        gammas[machine] = _number(gamma, features)
        svm = Libsvm(nu=nu, gamma=float(gammas[machine]), cache_size=500).fit(rows)
        duals[machine, torch.from_numpy(svm.support_).long()] = features.new_tensor(svm.dual_coef_[0])
        offsets[machine] = float(svm.offset_[0])
    used = (duals != 0).any(0)
    return Machines(features[used], duals[:, used], gammas, offsets)


def _number(gamma: Gamma, features: Tensor) -> float:
    if not isinstance(gamma, str):
        return gamma
    return 1 / (features.shape[1] * (float(features.double().var(correction=0)) if gamma == "scale" else 1.0))


def pairs(nus: Sequence[float], gammas: Sequence[float]) -> dict[str, tuple[float, float]]:
    """Every pair of the two, by the name of the part that it makes."""
    return {f"nu_{nu:g}_gamma_{gamma:g}": (nu, gamma) for nu in nus for gamma in gammas}


class Choice:
    """A uniform random choice of at most `most` rows while they pass in batches."""

    def __init__(self, most: int, seed: int) -> None:
        self.most, self.random = most, torch.Generator().manual_seed(seed)
        self.rows: list[Tensor] = []
        self.tickets: list[Tensor] = []

    def offer(self, rows: Tensor) -> None:
        self.rows.append(rows)
        self.tickets.append(torch.rand(len(rows), generator=self.random).to(rows.device))
        if sum(map(len, self.rows)) > 2 * self.most:
            self.made()

    def made(self) -> Tensor:
        """(n, d) of what has passed so far."""
        rows, tickets = torch.cat(self.rows), torch.cat(self.tickets)
        lowest = tickets.argsort()[: self.most]
        self.rows, self.tickets = [rows[lowest]], [tickets[lowest]]
        return self.rows[0]
