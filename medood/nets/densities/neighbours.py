"""Nearest neighbours and coresets: exact, in chunks, so that memory stays bounded however many rows there are."""

from __future__ import annotations

import torch
from torch import Tensor

_CHUNK = 2**22
"""Distances held at once: 16 MiB."""


def nearest(queries: Tensor, bank: Tensor, k: int = 1) -> Tensor:
    """(n, k) Euclidean distances of queries (n, d) to their k nearest rows of the bank (m, d), rising. Exact up to rounding.

    What it finds and the distances of a chunk have their places from the start: pieces made one by one would lie between the chunks in
    memory, so that no chunk could take the place of the one before.
    """
    squares, size = bank.square().sum(1), max(1, _CHUNK // len(bank))
    found, held = queries.new_empty(len(queries), k), queries.new_empty(min(size, len(queries)), len(bank))
    for part, lowest in zip(queries.split(size), found.split(size), strict=True):
        distances = torch.addmm(squares, part, bank.T, alpha=-2, out=held[: len(part)])  # without the query's square: it changes no order
        lowest.copy_(distances.amin(1, keepdim=True) if k == 1 else distances.topk(k, largest=False).values)
        lowest.add_(part.square().sum(1, keepdim=True)).clamp_(min=0).sqrt_()
    return found


def greedy_coreset(rows: Tensor, number: int, seed: int, *, dimensions: int = 64) -> Tensor:
    """Indices of `number` of the rows (n, d), each next one farthest from all before: few rows to which every row is near.

    Sener and Savarese, ICLR 2018, as PatchCore has it (Roth et al., CVPR 2022, algorithm 1): distances are taken after a random projection
    to `dimensions` numbers. One product of a matrix and a vector for every row chosen; besides `rows` it holds n (dimensions + 2) numbers.
    """
    random = torch.Generator().manual_seed(seed)
    if rows.shape[1] > dimensions:
        rows = rows @ torch.randn(rows.shape[1], dimensions, generator=random).to(rows) / dimensions**0.5
    squares = rows.square().sum(1)
    chosen = torch.empty(min(number, len(rows)), dtype=torch.long)
    farthest = int(torch.randint(len(rows), (), generator=random))
    distances = torch.full_like(squares, torch.inf)
    for place in range(len(chosen)):
        chosen[place] = farthest
        torch.minimum(distances, torch.addmv(squares, rows, rows[farthest], alpha=-2).add_(squares[farthest]), out=distances)
        distances[farthest] = -torch.inf  # never twice, even among rows that are all the same
        farthest = int(distances.argmax())
    return chosen.to(rows.device)


class Reservoir:
    """A uniform random choice of at most `most` rows of all that are added; holds no more than these."""

    def __init__(self, most: int, seed: int) -> None:
        self.most, self.seen = most, 0
        self._random = torch.Generator().manual_seed(seed)
        self._rows: Tensor | None = None

    def add(self, rows: Tensor) -> None:
        """Rows (n, d), each in the place of a random one with the probability that keeps the choice uniform (Vitter 1985, algorithm R)."""
        if self._rows is None:
            self._rows = rows.new_empty(self.most, rows.shape[1])
        numbers = torch.arange(self.seen, self.seen + len(rows))
        drawn = (torch.rand(len(rows), generator=self._random, dtype=torch.float64) * (numbers + 1)).long()
        places = torch.where(numbers < self.most, numbers, drawn)
        last = {int(place): row for row, place in enumerate(places.tolist()) if place < self.most}  # of several for one place the last
        self._rows[torch.tensor(list(last), dtype=torch.long)] = rows[torch.tensor(list(last.values()), dtype=torch.long)]
        self.seen += len(rows)

    @property
    def rows(self) -> Tensor:
        """(m, d)"""
        return torch.empty(0, 0) if self._rows is None else self._rows[: min(self.seen, self.most)]


def scale_of(rows: Tensor, *, apart: bool = False) -> tuple[Tensor, Tensor]:
    """Mean and divisor (d,) that bring the columns of rows (n, d) to mean 0 and deviation 1.

    A column that hardly varies among the rows is not blown up: no divisor is below a tenth of their mean, and none is 0. Not so where the
    columns are `apart`, quantities of different kinds and units: each of those that varies at all has its own deviation.
    """
    deviation = rows.std(0)
    divisor = deviation if apart else deviation.clamp(min=0.1 * float(deviation.mean()))
    return rows.mean(0), torch.where(divisor > 0, divisor, 1.0)
