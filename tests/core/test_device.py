"""How exactly a device computes."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Barrier, Thread
from typing import Any

import pytest
import torch
from pretend_gpu import convolves_exactly

from medood.core.device import exact_convolutions

BACKEND: Any = torch.backends.cudnn


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    if hasattr(BACKEND, "conv"):
        BACKEND.conv.fp32_precision = "tf32"
    BACKEND.allow_tf32 = True


@pytest.mark.parametrize("allowed", [True, False])
def test_convolutions_are_exact_inside_the_block_and_afterwards_what_the_user_chose(allowed: bool) -> None:
    BACKEND.allow_tf32 = allowed
    with exact_convolutions():
        with exact_convolutions():
            assert convolves_exactly()
        assert convolves_exactly()
        assert BACKEND.allow_tf32 is False, "who asks for torch's old flag gets an answer"
    assert BACKEND.allow_tf32 is allowed


@pytest.mark.skipif(not hasattr(BACKEND, "conv"), reason="before torch 2.9 there is one way to say it")
@pytest.mark.parametrize("chosen", ["ieee", "tf32"])
def test_what_was_chosen_in_the_newer_way_stays_too(chosen: str) -> None:
    BACKEND.rnn.fp32_precision, BACKEND.conv.fp32_precision = "ieee", chosen
    with exact_convolutions():
        assert convolves_exactly()
    assert BACKEND.conv.fp32_precision == chosen
    BACKEND.rnn.fp32_precision = "tf32"


def test_an_error_inside_the_block_puts_the_setting_back() -> None:
    with pytest.raises(KeyError), exact_convolutions():
        raise KeyError
    assert not convolves_exactly()


def test_the_last_thread_that_leaves_puts_the_setting_back() -> None:
    BACKEND.allow_tf32 = True
    entered, left, seen = Barrier(2), Barrier(2), []

    def leave_first() -> None:
        with exact_convolutions():
            entered.wait(10)
        left.wait(10)

    thread = Thread(target=leave_first)
    thread.start()
    with exact_convolutions():
        entered.wait(10)
        left.wait(10)
        seen.append(BACKEND.allow_tf32)
    thread.join()
    assert [*seen, BACKEND.allow_tf32] == [False, True]
