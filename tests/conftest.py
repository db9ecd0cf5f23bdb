"""For all tests."""

from __future__ import annotations

import pytest
import torch
from seeds import shift_seeds

# The networks in tests are so small that threads gain nothing, and on a machine that others use they cost tenfold.
torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--medood-seed", type=int, default=0, metavar="N", help="Train with other seeds: what tests assert must hold for any.")


def pytest_configure(config: pytest.Config) -> None:
    shift_seeds(config.getoption("--medood-seed"))
