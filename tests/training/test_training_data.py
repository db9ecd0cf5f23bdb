"""Batches: their order, their augmentation, and reading ahead."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from training_toys import SIDE, Pictures, hide

from medood.training.data import Batches, InOrder, batch_numbers, read_ahead
from medood.training.randomness import derived_seed, own_randomness, random_states


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("count", range(1, 16))
def test_batches_hold_every_image_once_and_never_a_single_one(count, size) -> None:
    order = np.random.default_rng(0).permutation(count)
    found = batch_numbers(order, size)
    assert np.concatenate(found).tolist() == order.tolist()
    lengths = [len(batch) for batch in found]
    assert max(lengths) - min(lengths) <= 1
    if size == 1 or count == 1:
        assert set(lengths) == {1}
    else:
        assert min(lengths) >= 2
        assert max(lengths) <= size + (size == 2 and count % 2)
        assert len(lengths) == max(1, -(-count // size) - (size == 2 and count % 2))


def test_order_follows_from_seed_phase_and_epoch_alone() -> None:
    def order(images: int = 50, seed: int = 1, phase: str = "train", epoch: int = 1, size: int = 4) -> list[int]:
        return Batches(Pictures(images), size, seed, phase).order(epoch).tolist()

    assert sorted(order()) == list(range(50))
    torch.manual_seed(99)
    np.random.default_rng(99).random()
    assert order() == order() == order(size=9)
    assert len({tuple(o) for o in (order(), order(seed=2), order(phase="other"), order(epoch=2))}) == 4


def test_derived_seeds_are_the_same_on_every_machine() -> None:
    assert derived_seed(0, "train", 1) == 720_074_985
    assert derived_seed(1, "1") != derived_seed("1", 1) != derived_seed(11)


def test_a_stream_that_starts_later_gives_the_rest_of_the_whole() -> None:
    def stream(first: int) -> list[torch.Tensor]:
        return [torch.cat([b.image, b.hidden.float()], 1) for b in Batches(Pictures(11), 4, 5, "train", hide).stream(first, 3)]

    whole, rest = stream(1), stream(3)
    assert len(whole) == 9
    assert len(rest) == 3
    assert all(torch.equal(a, b) for a, b in zip(whole[6:], rest, strict=True))
    assert not torch.equal(torch.cat(whole[:3]), torch.cat(whole[3:6]))


def test_augmentation_gets_one_image_and_a_seed_of_its_own() -> None:
    images = Pictures(9)
    seeds: list[int] = []

    def augment(sample: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
        seeds.append(seed)
        assert sample["image"].shape == (1, SIDE, SIDE)
        return {"image": sample["image"] + 1, "hidden": sample["image"] > 0.5}

    batches = Batches(images, 4, 7, "train", augment)
    for epoch in (1, 2):
        found = list(batches.stream(epoch, epoch))
        expected = torch.from_numpy(images.values[batches.order(epoch)])
        assert torch.equal(torch.cat([batch.image for batch in found]), expected + 1)
        assert torch.equal(torch.cat([batch.hidden for batch in found]), expected > 0.5)
    assert seeds == [derived_seed(7, "train", epoch, int(number)) for epoch in (1, 2) for number in batches.order(epoch)]
    assert len(set(seeds)) == 18


def test_batches_are_plain_tensors_whatever_augmentation_returns() -> None:
    class Annotated(torch.Tensor):
        pass

    def augment(sample: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
        return {"image": sample["image"].as_subclass(Annotated), "hidden": (sample["image"] > 0).as_subclass(Annotated)}

    for batch in Batches(Pictures(4), 2, 0, "train", augment).stream(1, 1):
        assert type(batch.image) is type(batch.hidden) is torch.Tensor


def test_without_augmentation_nothing_is_hidden() -> None:
    assert all(batch.hidden is None for batch in Batches(Pictures(5), 2, 0, "train").stream(1, 1))


@pytest.mark.parametrize("channels_last", [True, False])
def test_memory_layout(channels_last) -> None:
    class Colours(Pictures):
        def gather(self, numbers: np.ndarray) -> torch.Tensor:
            return super().gather(numbers).expand(-1, 3, -1, -1).contiguous()

    for stream in (
        Batches(Colours(4), 2, 0, "train", channels_last=channels_last).stream(1, 1),
        (batch for _, batch in InOrder(Colours(4), 2, channels_last).stream()),
    ):
        for batch in stream:
            assert batch.image.is_contiguous(memory_format=torch.channels_last) is channels_last
            assert batch.image.is_contiguous() is not channels_last


def test_in_order_reads_every_image_once() -> None:
    images = Pictures(9)
    assert torch.equal(torch.cat([batch.image for _, batch in InOrder(images, 4).stream()]), torch.from_numpy(images.values))
    assert [len(numbers) for numbers in images.asked] == [4, 4, 1]
    assert list(InOrder(Pictures(0), 4).stream()) == []


def test_reading_goes_on_while_the_consumer_computes_but_not_without_bound() -> None:
    made: list[int] = []
    third = threading.Event()

    def make(item: int) -> int:
        made.append(item)
        if item == 2:
            third.set()
        return item * item

    stream = read_ahead(make, range(100), ahead=2)
    assert next(stream) == 0
    assert third.wait(timeout=20)  # nobody has asked for more than the first
    assert next(stream) == 1
    stream.close()
    assert max(made) <= 3
    assert not any(thread.name.startswith("medood-read") for thread in threading.enumerate())


def test_reading_ahead_keeps_order_and_raises_where_the_failure_belongs() -> None:
    assert list(read_ahead(lambda x: x + 1, range(5))) == [1, 2, 3, 4, 5]
    stream = read_ahead(lambda x: 1 // (3 - x), range(6))
    assert [next(stream) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(stream)


def test_own_randomness_leaves_the_generator_as_it_was() -> None:
    device = torch.device("cpu")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with own_randomness(8, device):
        first = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with own_randomness(8, device):
        assert torch.equal(torch.rand(3), first)
    assert random_states(device).keys() == {"cpu"}
