"""Images that are known again: what was learned from held-out images must not judge those same images as if they were new."""

from __future__ import annotations

import hashlib

import numpy as np
from torch import Tensor


def keys_of(images: Tensor) -> np.ndarray:
    """int64 (B,): a number for every image by which it is known again."""
    rows = images.detach().float().cpu().contiguous().numpy()
    return np.array([int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest(), "little", signed=True) for row in rows])
