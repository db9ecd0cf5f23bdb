"""A GPU for machines without one: tensors on it say so, are computed on the processor, and refuse what those of a real one refuse.

Convolutions round as those of a real one do where torch lets them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import adam
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

GPU = torch.device("meta")
"""The only kind besides the processor for which every build of torch computes gradients. What asks for the kind of a device takes it for a
GPU that it does not know."""

_OPS = torch.ops.aten
_BETWEEN_DEVICES = {_OPS._to_copy.default, _OPS.copy_.default}
_LOOKS_UP = {_OPS.index.Tensor, _OPS.index_put.default, _OPS.index_put_.default, _OPS._index_put_impl_.default}
"""They take places on the processor for a tensor on the GPU."""
_CONVOLVES = {_OPS.convolution.default: 2, _OPS.convolution_backward.default: 3}
"""And how many of their first arguments are multiplied."""


@contextmanager
def pretend_gpu() -> Iterator[torch.device]:
    """Inside the block there is the device, for tensors that this thread makes."""
    on_processor = torch.autocast
    with pytest.MonkeyPatch.context() as patch, _Gpu():
        patch.setattr(torch, "autocast", lambda kind, *rest, **more: on_processor("cpu", *rest, **more))
        patch.setattr(torch, "get_device_module", lambda device: _Generator)
        patch.setattr(adam, "_device_dtype_check_for_fused", lambda *_: None)
        patch.setattr(torch, "tensor", partial(_of_numbers, torch.tensor))
        patch.setattr(torch, "as_tensor", partial(_of_numbers, torch.as_tensor))
        patch.setattr(Tensor, "new_tensor", _of_numbers_like)
        yield GPU


class OnGpu(Tensor):
    """A tensor on the GPU; its values are `held` on the processor."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnGpu:
        size, stride, start = held.size(), held.stride(), held.storage_offset()
        made = Tensor._make_wrapper_subclass(cls, size, stride, start, dtype=held.dtype, layout=held.layout, device=GPU)  # type: ignore[attr-defined]
        made.held = held.detach()
        return made

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"OnGpu({self.held})"

    def __getitem__(self, places: Any) -> Tensor:
        return super().__getitem__(_in_tensors(places))

    def __setitem__(self, places: Any, values: Any) -> None:
        super().__setitem__(_in_tensors(places), values)

    def tolist(self) -> Any:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(function, args, kwargs or {})


class _Gpu(TorchDispatchMode):
    """Makes tensors on the GPU where one is asked for."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(function, args, kwargs or {})


def _computed(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    there = any(isinstance(each, OnGpu) for each in tensors)
    asked = kwargs.get("device")
    goes = there if asked is None else torch.device(asked) == GPU
    if there and asked is None and function not in _BETWEEN_DEVICES:
        _check_places(function, args, tensors)
    if goes and kwargs.get("generator") is not None:
        raise RuntimeError(f"{function}: the generator is the processor's, the numbers are for the GPU.")
    if any(each.is_meta for each in tensors if not isinstance(each, OnGpu)):
        raise NotImplementedError(f"{function}: the pretence lost the values of a tensor.")
    here = kwargs if asked is None else kwargs | {"device": torch.device("cpu")}
    given = tree_map_only(OnGpu, _held, args)
    if there and function in _CONVOLVES and not convolves_exactly():
        count = _CONVOLVES[function]
        given = (*map(_to_ten_bits, given[:count]), *given[count:])
    found = function(*given, **tree_map_only(OnGpu, _held, here))
    if function is _OPS.copy_.default:
        return args[0]
    if not goes:
        return found
    made = tree_map_only(Tensor, OnGpu, found)
    return return_and_correct_aliasing(function, args, kwargs, made) if there and asked is None else made


def _check_places(function: Any, args: Any, tensors: list[Tensor]) -> None:
    """What takes part lies on one device; numbers, which are tensors without dimensions, may come from the processor."""
    exempt = {id(each) for each in tree_leaves(args[1])} if function in _LOOKS_UP and isinstance(args[0], OnGpu) else set()
    for each in tensors:
        if not isinstance(each, OnGpu) and each.dim() > 0 and id(each) not in exempt:
            raise RuntimeError(f"{function}: tensors of two devices, with {tuple(each.shape)} on the processor.")


def convolves_exactly() -> bool:
    """Whether torch keeps convolutions of float32 from TF32."""
    backend: Any = torch.backends.cudnn
    try:
        return not backend.allow_tf32
    except RuntimeError:
        return backend.conv.fp32_precision == "ieee"


def _to_ten_bits(values: Tensor) -> Tensor:
    """float32 rounded to the ten bits after the leading one that TF32 keeps, to even."""
    if values.dtype != torch.float32:
        return values
    bits = values.contiguous().view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


def _held(tensor: OnGpu) -> Tensor:
    return tensor.held


def _in_tensors(places: Any) -> Any:
    """Lists of numbers as tensors, which torch would make where no mode sees it."""
    if isinstance(places, tuple):
        return tuple(map(_in_tensors, places))
    return torch.tensor(places) if isinstance(places, list) else places


def _of_numbers(make: Callable[..., Tensor], data: Any, *, device: Any = None, **more: Any) -> Tensor:
    """A tensor of Python's numbers, made on the processor first, for the same reason."""
    made = make(data, **more)
    return made if device is None else made.to(device)


def _of_numbers_like(like: Tensor, data: Any, *, dtype: torch.dtype | None = None, device: Any = None) -> Tensor:
    return torch.tensor(data, dtype=dtype or like.dtype).to(device or like.device)


class _Generator:
    """The device's random numbers come from the generator of the processor."""

    @staticmethod
    def get_rng_state(device: torch.device) -> Tensor:
        return torch.get_rng_state()

    @staticmethod
    def set_rng_state(state: Tensor, device: torch.device) -> None:
        torch.set_rng_state(state)
