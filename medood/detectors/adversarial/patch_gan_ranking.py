"""From logits and errors on a grid of patches to one score per image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot


def rank(errors: Tensor, weights: Sequence[float], rest: float) -> Tensor:
    """(B, N) patch errors to (B,): the largest by the first weight, the next by the second ..., all others by `rest` (eq. 5)."""
    ordered = errors.sort(1, descending=True).values
    factors = torch.full_like(ordered[0], rest)
    count = min(len(weights), len(factors))
    factors[:count] = torch.tensor(weights[:count])
    return ordered @ factors


def top_mean(errors: Tensor, counted: Tensor, k: int) -> Tensor:
    """(B, N) patch errors, 0 where not `counted`, to (B,): the mean of the k largest of those that count."""
    number = counted.sum(1).clamp(1, k)
    return errors.topk(min(k, errors.shape[1]), 1).values.sum(1) / number


class LogitPooling(nn.Module):
    """Means of a PatchGAN's logits over patches: (B, 1, logits down, logits across) to (B, 1, height / patch, width / patch).

    A logit belongs to the patch that its centre lies in; a patch without a centre takes the nearest logit. After n layers of stride 2 and
    two of stride 1 (4 x 4, padding 1), logits lie 2^n pixels apart, the first 1.5 2^n from the border.
    """

    rows: Tensor  # (patches down, logits down)
    columns: Tensor

    def __init__(self, size: tuple[int, int], layers: int, patch: int) -> None:
        super().__init__()
        for name, length in zip(("rows", "columns"), size, strict=True):
            self.register_buffer(name, _pooling(length, 2**layers, patch), persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        return self.rows @ logits @ self.columns.T


def _pooling(length: int, stride: int, patch: int) -> Tensor:
    """(patches, logits) weights along one axis; rows sum to 1."""
    centres = 1.5 * stride + stride * torch.arange(length // stride - 2)
    starts = torch.arange(0, length, patch)[:, None]
    inside = (centres >= starts) & (centres < starts + patch)
    nearest = one_hot((centres - starts - patch / 2).abs().argmin(1), len(centres)).bool()
    chosen = torch.where(inside.any(1, keepdim=True), inside, nearest)
    return chosen / chosen.sum(1, keepdim=True)
