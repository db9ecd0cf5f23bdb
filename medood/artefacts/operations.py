"""Operations that few formats have, in terms of those that all have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions

from medood.core.errors import MedoodError

_aten = torch.ops.aten


def simpler() -> dict[Any, Callable[..., Any]]:
    """What stands for each operation, for a record of what is computed."""
    return {
        **core_aten_decompositions(),
        _aten.convolution_backward.default: _towards_the_image,
        _aten._cdist_forward.default: _distances,
        _aten.linalg_solve_triangular.default: _substituted,
        _aten.index.Tensor: _by_long_numbers,
        _aten.median.dim: _middle,
        _aten.where.self: _one_or_other,
    }


def _towards_the_image(
    gradient: Tensor,
    image: Tensor,
    weight: Tensor,
    bias_sizes: Any,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
    wanted: Mapping[int, bool],
) -> tuple[Tensor | None, None, None]:
    """The gradient of a convolution by its image as a convolution, which every format has. Nobody asks for that of weights."""
    if wanted[1] or wanted[2]:
        raise MedoodError("This run cannot be exported: its score rests on gradients of weights, which change for every image.")
    if transposed:
        return torch.ops.aten.convolution(gradient, weight, None, stride, padding, dilation, False, [0] * len(stride), groups), None, None
    left = [
        image.shape[2 + axis] - ((gradient.shape[2 + axis] - 1) * step - 2 * edge + wide * (weight.shape[2 + axis] - 1) + 1)
        for axis, (step, edge, wide) in enumerate(zip(stride, padding, dilation, strict=True))
    ]
    return torch.ops.aten.convolution(gradient, weight, None, stride, padding, dilation, True, left, groups), None, None


def _distances(one: Tensor, other: Tensor, norm: float, mode: int | None) -> Tensor:
    """(..., n, m) Euclidean, of rows (..., n, d) and (..., m, d)."""
    return (one[..., :, None, :] - other[..., None, :, :]).square().sum(-1).sqrt() if norm == 2 else NotImplemented


def _substituted(factor: Tensor, right: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """What times a triangular matrix (..., d, d) is `right` (..., d, n), row after row, for few rows."""
    if not left or unitriangular:
        return NotImplemented
    size = factor.shape[-1]
    order = range(size - 1, -1, -1) if upper else range(size)
    found: dict[int, Tensor] = {}
    for row in order:
        known = sum((factor[..., row, at, None] * found[at] for at in found), torch.zeros_like(right[..., row, :]))
        found[row] = (right[..., row, :] - known) / factor[..., row, row, None]
    return torch.stack([found[row] for row in range(size)], -2)


def _by_long_numbers(values: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    """ONNX takes int64 alone for places."""
    if not any(each is not None and each.dtype == torch.int32 for each in indices):
        return NotImplemented
    return _aten.index.Tensor(values, [each.long() if each is not None and each.dtype == torch.int32 else each for each in indices])


def _middle(values: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The lower of the two medians of an even number, as torch has it, and its place."""
    ascending, places = values.sort(dim)
    at = (values.shape[dim] - 1) // 2
    found, place = ascending.select(dim, at), places.select(dim, at)
    return (found.unsqueeze(dim), place.unsqueeze(dim)) if keepdim else (found, place)


def _one_or_other(condition: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """ONNX Runtime chooses between numbers alone."""
    both = one.dtype == other.dtype == torch.bool
    return (condition & one) | (~condition & other) if both else NotImplemented
