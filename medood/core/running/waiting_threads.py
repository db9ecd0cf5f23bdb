"""How threads wait that libraries keep for their computations."""

from __future__ import annotations

import os

_SETTINGS = {
    "OPENBLAS_NUM_THREADS": "1",  # numpy's products of matrices, which are small here
    "GOMP_SPINCOUNT": "10000",  # a tenth of a millisecond or so in place of several, for threads of torch (GNU OpenMP)
}


def let_waiting_threads_sleep() -> None:
    """Keep threads that wait for more to compute from waiting busily, in this process and in those that it starts, unless the user has
    said otherwise.

    They do so on the very processors that decode images and run networks, and where others want these too, a computation takes many times
    as long. Call it before numpy and torch are imported, in processes of our own only.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
