"""For all tests."""

from __future__ import annotations

import torch

# The networks in tests are so small that threads gain nothing, and on a machine that others use they cost tenfold.
torch.set_num_threads(1)
