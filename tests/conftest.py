"""For all tests."""

from __future__ import annotations

import os

if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    # Before numpy is there: its threads, and those of commands that tests start, wait for each other as soon as others want the processors.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(max(1, (os.cpu_count() or 1) // workers)))

import pytest
import torch
from seeds import shift_seeds

# The networks in tests are so small that threads gain nothing, and on a machine that others use they cost tenfold.
torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--medood-gpu", action="store_true", help="Let detectors be tried on this machine's GPU, besides the pretended one.")
    parser.addoption("--medood-seed", type=int, default=0, metavar="N", help="Train with other seeds: what tests assert must hold for any.")


def pytest_configure(config: pytest.Config) -> None:
    # On a GPU sums come out in another order: what is held to the last bits, or to a result of few steps, is held to the processor's.
    if not config.getoption("--medood-gpu"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    shift_seeds(config.getoption("--medood-seed"))
