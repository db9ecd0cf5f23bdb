"""Several processes that train one detector: each has a part of every batch, and this is how they know what all of it says.

`together`, `summed` and `mean` are for detectors whose training looks at more than one image at a time. With one process, and wherever no
batch is shared, as in scoring, they are what they would be without any other process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from medood.core.errors import ProcessLost


@dataclass
class _Company:
    """This process among `count`; `shared` while the images at hand are its part of a batch, which has `weight` among all parts."""

    rank: int = 0
    count: int = 1
    shared: bool = False
    weight: float = 1.0


_here = _Company()


def join(rank: int, count: int) -> None:
    """Say that this process is number `rank` of `count`; torch.distributed is ready."""
    _here.rank, _here.count = rank, count


def leave() -> None:
    """From now on this process is alone."""
    _here.rank, _here.count = 0, 1


def count() -> int:
    """How many processes train together."""
    return _here.count


def rank() -> int:
    """The number of this process, from 0."""
    return _here.rank


def leads() -> bool:
    """Whether this process writes and speaks for all."""
    return _here.rank == 0


def part(number: int) -> slice:
    """Which of `number` images are this process's part; all of them where there are fewer than processes."""
    if number < _here.count:
        return slice(0, number)
    size, more = divmod(number, _here.count)
    begin = _here.rank * size + min(_here.rank, more)
    return slice(begin, begin + size + (_here.rank < more))


@contextmanager
def sharing(share: float) -> Iterator[None]:
    """Inside the block the images at hand are this `share` of a batch; with 1 every process has all of it, as with one process."""
    before = _here.shared, _here.weight
    _here.shared, _here.weight = share < 1, share if share < 1 else 1 / _here.count
    try:
        yield
    finally:
        _here.shared, _here.weight = before


def weight() -> float:
    """What the losses of this process count for, so that the sum over the processes is the mean over the images of the batch."""
    return _here.weight


def shared() -> bool:
    """Whether the images at hand are a part of a batch."""
    return _here.shared


def together(rows: Tensor) -> Tensor:
    """Rows (b, ...) of this process's images to those of the whole batch (B, ...), in its order; gradients find their way back.

    Every process must call it as often as the others. Their numbers of rows may differ.
    """
    return gathered(rows) if _here.shared else rows


def summed(values: Tensor) -> Tensor:
    """The sum over the processes, elementwise; gradients find their way back, and those of gradients."""
    return _Sum.apply(values) if _here.shared else values


def mean(values: Tensor) -> Tensor:
    """(...): mean of values (b, ...) over the images of the whole batch."""
    return summed(values.sum(0)) / summed(torch.tensor(float(len(values)), device=values.device))


def gathered(rows: Tensor) -> Tensor:
    """As `together`, whether a batch is shared or not."""
    if _here.count == 1:
        return rows
    lengths = torch.zeros(_here.count, dtype=torch.int64, device=rows.device)
    lengths[_here.rank] = len(rows)
    lengths = add_up(lengths)
    begin, total = int(lengths[: _here.rank].sum()), int(lengths.sum())
    placed = rows.new_zeros((total, *rows.shape[1:]))
    placed[begin : begin + len(rows)] = rows
    return _Sum.apply(placed)


def add_up(values: Tensor) -> Tensor:
    """The sum over the processes in a new tensor, whether a batch is shared or not, without gradients."""
    if _here.count == 1:
        return values
    import torch.distributed as dist

    kind = {torch.bool: torch.uint8, torch.bfloat16: torch.float32, torch.float16: torch.float32}.get(values.dtype, values.dtype)
    found = _carried(values.detach().to(kind, copy=True, memory_format=torch.contiguous_format))
    with _company_kept():
        dist.all_reduce(found)
    return found.to(values.device, values.dtype)


def agree(network: nn.Module) -> None:
    """Parameters and buffers as the first process has them."""
    if _here.count == 1:
        return
    import torch.distributed as dist

    state = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    sizes = from_first({name: tuple(value.shape) for name, value in state.items()})
    for name, value in state.items():
        sent = _carried((value if tuple(value.shape) == sizes[name] else value.new_empty(sizes[name])).detach().contiguous())
        with _company_kept():
            dist.broadcast(sent, 0)
        if tuple(value.shape) == sizes[name]:
            value.copy_(sent)
        else:  # a buffer whose size only fitting knows
            owner, _, leaf = name.rpartition(".")
            setattr(network.get_submodule(owner), leaf, sent.to(value.device))


def from_first(value: Any) -> Any:
    """What the first process has here; between processes of one training, and nothing that came from a user."""
    if _here.count == 1:
        return value
    import torch.distributed as dist

    held: list[Any] = [value if leads() else None]
    with _company_kept():
        dist.broadcast_object_list(held, 0)
    return value if leads() else held[0]


def wait_for_all() -> None:
    """Until every process has come here."""
    add_up(torch.zeros(()))


class _Sum(torch.autograd.Function):
    """Sum over the processes. Its gradient is the sum of theirs, as all have what comes of it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return add_up(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Sum.apply(gradients[0])


@contextmanager
def _company_kept() -> Iterator[None]:
    """What is said when another process ends while this one waits for it."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessLost(
            f"One of the {_here.count} processes of this training has ended (killed, or out of memory?), so that the others cannot go on: "
            "what was finished is on disk, and the same command with --resume goes on from there."
        ) from error


def _carried(values: Tensor) -> Tensor:
    """On a device whose tensors the processes can exchange."""
    import torch.distributed as dist

    return values.cuda() if dist.get_backend() == "nccl" and values.device.type == "cpu" else values
